"""How things are measured, and what a comparison comes to.

Contestants take turns, round by round, so that whatever else the machine does hits all of them alike; a ratio is taken
within each round, and its median and spread are what counts.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

ROOT = Path(__file__).parent.parent
MIB = 1024 * 1024

T = TypeVar("T")
Unit = Callable[[float], str]


@dataclass(frozen=True)
class Cost:
    """What one process took: seconds by the clock, seconds of CPU, bytes of memory at the most."""

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Spread:
    """What several rounds came to."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Aim:
    """The bound that a figure is to keep."""

    bound: float
    at_least: bool = False

    def reached(self, figure: float) -> bool:
        return figure >= self.bound if self.at_least else figure <= self.bound


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: is measured.
        ours: what it came to.
        unit: shows `ours` and `theirs`.
        rival: what stands beside it.
        theirs: what that came to.
        ratio: what the aim speaks of, where it is not `ours` itself; or a difference, in a unit of its own.
        ratio_unit: shows `ratio` and the aim.
        aim: none for a row that only tells.
        missing: why the rival did not take part.
    """

    what: str
    ours: Spread | None = None
    unit: Unit = str
    rival: str = ""
    theirs: Spread | None = None
    ratio: Spread | None = None
    ratio_unit: Unit = str
    aim: Aim | None = None
    missing: str = ""


def run(command: Sequence[str], **settings: Any) -> Cost:
    """Run a command to its end, without input.

    Of its memory, what this very process holds cannot be told apart (Linux counts the copy that `exec` replaces), so
    the themes keep what needs much of it in processes of its own.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=ROOT, **settings)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def peak(command: Sequence[str]) -> float:
    """Bytes of memory that a command takes at the most."""
    measured = run(command).peak
    if measured <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024:
        raise SystemExit(f"{command} takes less memory than its measurer, so how much cannot be told")
    return measured


def told(command: Sequence[str]) -> Any:
    """What a command tells as JSON."""
    return json.loads(subprocess.run(command, stdin=subprocess.DEVNULL, stdout=-1, cwd=ROOT, check=True).stdout)


def contestant(name: str, *arguments: object) -> list[str]:
    """The command that runs a function of `benchmarks.contestants`."""
    return [sys.executable, "-m", "benchmarks.contestants", name, *map(str, arguments)]


def interleaved(contestants: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Let contestants take turns; the results of each, one a round."""
    results: dict[str, list[T]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            results[name].append(measure())
    return results


def compared(
    what: str,
    ours: Sequence[float],
    rival: str,
    theirs: Sequence[float],
    unit: Unit,
    aim: Aim | None = None,
) -> Row:
    """How many times theirs is ours; or, if the aim is a least, how many times ours goes into theirs."""
    pairs = zip(ours, theirs, strict=True)
    ratios = [b / a if aim and aim.at_least else a / b for a, b in pairs]
    return Row(what, Spread.of(ours), unit, rival, Spread.of(theirs), Spread.of(ratios), times, aim)


def added(
    what: str,
    ours: Sequence[float],
    rival: str,
    theirs: Sequence[float],
    unit: Unit,
    aim: Aim | None = None,
) -> Row:
    """How much more than theirs ours is."""
    more = [a - b for a, b in zip(ours, theirs, strict=True)]

    def signed(value: float) -> str:
        return f"{'-' if value < 0 else '+'}{unit(abs(value))}"

    return Row(what, Spread.of(ours), unit, rival, Spread.of(theirs), Spread.of(more), signed, aim)


def alone(what: str, ours: Sequence[float], unit: Unit, aim: Aim | None = None) -> Row:
    """A figure with nothing beside it."""
    return Row(what, Spread.of(ours), unit, aim=aim, ratio_unit=unit)


def times(value: float) -> str:
    return f"{value:.2f}x"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if abs(value) >= 1 else f"{value * 1000:.0f} ms"


def milliseconds(value: float) -> str:
    return f"{value * 1000:.2f} ms"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.1f} MB"


def number(value: float) -> str:
    return f"{value:,.0f}"
