"""The sandbox's start, of which most is moto's, and what many instances add."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.measure import (
    Aim,
    Cost,
    Row,
    added,
    alone,
    compared,
    contestant,
    interleaved,
    megabytes,
    number,
    run,
    seconds,
    told,
)

FEW, MANY = 3, 200
MOTO = "moto alone: interpreter, import, account, first answers"


def rows(rounds: int) -> Iterator[Row]:
    measured: dict[str, list[Any]] = interleaved(
        {
            "few": partial(told, contestant("sandbox", FEW)),
            "many": partial(told, contestant("sandbox", MANY)),
            "moto": partial(run, contestant("moto", FEW)),
        },
        rounds,
    )
    yield from _start(measured["few"], measured["many"], measured["moto"])
    yield from _size(measured["few"], measured["many"])


def _start(few: list[dict[str, float]], many: list[dict[str, float]], moto: list[Cost]) -> Iterator[Row]:
    to_first = f"sandbox of {FEW}: start to the end of the first command"
    whole, walls = _first(few), [cost.wall for cost in moto]
    yield added(to_first, whole, MOTO, walls, seconds, Aim(2))
    yield alone("  of that: from ready to the end of the command", _of(few, "first"), seconds)
    yield added(f"sandbox of {MANY}: the same", _first(many), f"a sandbox of {FEW}", whole, seconds, Aim(1.2))
    yield compared(f"a command to all {MANY}", _of(many, "all"), f"to all {FEW}", _of(few, "all"), seconds)


def _size(few: list[dict[str, float]], many: list[dict[str, float]]) -> Iterator[Row]:
    for kind, unit in (("memory", megabytes), ("processes", number)):
        for when, words in (("idle", "after one command"), ("after", "after a command to all")):
            name = f"{kind} {when}"
            what = f"{kind} of a sandbox of {MANY}, {words}"
            yield compared(what, _of(many, name), f"a sandbox of {FEW}", _of(few, name), unit)


def _first(told_by: list[dict[str, float]]) -> list[float]:
    return [each["ready"] + each["first"] for each in told_by]


def _of(told_by: list[dict[str, float]], name: str) -> list[float]:
    return [each[name] for each in told_by]
