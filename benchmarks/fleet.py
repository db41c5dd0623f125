"""A thousand targets: what the client spends on each, whether that grows with their number, and how often it calls."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.measure import ROOT, Row, alone, compared, contestant, interleaved, milliseconds, number, told

FEW, MANY = 1_000, 4_000
FILES = ROOT / "files"
CONTESTANTS = (("plain", FEW), ("plain", MANY), ("live", FEW), ("live", MANY))


def rows(rounds: int) -> Iterator[Row]:
    runs = {f"{view} {size}": partial(told, contestant("fleet", FILES, size, view)) for view, size in CONTESTANTS}
    told_by = interleaved(runs, rounds)
    for view in ("plain", "live"):
        few, many = (_per_target(told_by[f"{view} {size}"], size) for size in (FEW, MANY))
        yield alone(f"CPU of the client per target, {FEW:,} targets, {view} view", few, milliseconds)
        yield compared(f"the same, {MANY:,} targets", many, f"{FEW:,} targets", few, milliseconds)
    frames = [each["frame"] for each in told_by[f"live {FEW}"]]
    yield alone(f"CPU of a frame of the live view (8 a second), {FEW:,} targets", frames, milliseconds)
    calls = told_by[f"plain {FEW}"][0]["calls"]
    for operation in sorted(name for name in calls if not name.startswith("s3:")):
        yield alone(f"calls of {operation}, {FEW:,} targets", [calls[operation]], number)
    s3 = sum(made for name, made in calls.items() if name.startswith("s3:"))
    yield alone(f"calls of S3, {FEW:,} targets", [s3], number)


def _per_target(runs: list[dict[str, Any]], size: int) -> list[float]:
    return [each["cpu"] / size for each in runs]
