"""Ours alone: how many connections serve best, what it holds for a thousand targets, what a key exchange costs."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from benchmarks.measure import Cost, Row, alone, compared, interleaved, megabytes, milliseconds, number, run, seconds
from benchmarks.ssh.field import FIELD
from benchmarks.ssh.ground import EXCHANGES, HOST, Ground
from benchmarks.ssh.job import SMALL
from benchmarks.ssh.turn import Outcome, take
from benchmarks.ssh.usage import Usage

OURS = FIELD[-1]
CONNECTIONS = (4, 8, 16, 32, 64, 100)
WORK = 2  # seconds
FLEETS = (100, 500, 1000, 2000)
LOOK = 0.005  # seconds
PATIENCE = 600.0  # seconds that a thousand targets may take
TURNS = 10  # in each round: these are short


def connections(rounds: int) -> Iterator[Row]:
    """To targets whose script is done at once, and to those that have work to do."""
    usual = str(OURS.width)
    with Ground(CONNECTIONS[-1]) as ground:
        for work in (0, WORK):
            job = ground.job(SMALL, work)
            widths = {
                f"{width}": partial(take, replace(OURS, width=width), ground, job, "default") for width in CONNECTIONS
            }
            taken = interleaved(widths, rounds)
            figures = {width: [_right(each).wall for each in outcomes] for width, outcomes in taken.items()}
            for width, figure in figures.items():
                what = f"100 targets with {work} s of work, {width} connections"
                yield compared(what, figure, f"{usual} connections", figures[usual], seconds)


def thousand(_rounds: int) -> Iterator[Row]:
    """Once: it takes minutes, and memory varies little."""
    for size in FLEETS:
        with Ground(size, lean=True) as ground:
            usage = _right(take(OURS, ground, ground.job(SMALL), "curve25519", LOOK, PATIENCE))
        what = f"{size:,} targets, {OURS.width} connections"
        yield alone(f"{what}, by the clock", [usage.wall], seconds)
        yield alone(f"{what}, CPU of the client per target", [usage.cpu / size], milliseconds)
        yield alone(f"{what}, peak memory without ssh's", [usage.look.memory], megabytes)
        yield alone(f"{what}, processes of ssh at the most", [usage.look.ssh], number)
        yield alone(f"{what}, descriptors at the most", [usage.look.most], number)
        before, after = ([usage.look.before], [usage.look.after])
        yield compared(f"{what}, descriptors after the last ssh", after, "before the first", before, number)
        yield alone(f"{what}, processes left", [usage.left], number)


def exchange(rounds: int) -> Iterator[Row]:
    """`ssh true`, which connects, logs in and leaves."""
    with Ground(1) as ground:
        port = str(ground.servers[0].port)
        commands = {
            name: partial(run, ["ssh", "-F", str(ground.folder / f"config.{name}"), "-p", port, HOST, "true"])
            for name in EXCHANGES
        }
        costs: dict[str, list[Cost]] = interleaved(commands, rounds * TURNS)
    for kind, words in (("cpu", "CPU of the client"), ("wall", "by the clock")):
        figures = [[getattr(cost, kind) for cost in costs[name]] for name in ("curve25519", "default")]
        what = f"a connection with curve25519, {words}"
        yield compared(what, figures[0], "OpenSSH's own key exchange", figures[1], milliseconds)


PARTS = {"connections": connections, "thousand": thousand, "exchange": exchange}


def _right(outcome: Outcome) -> Usage:
    if outcome.wrong:
        raise SystemExit(f"ours: {outcome.wrong}")
    return outcome.usage
