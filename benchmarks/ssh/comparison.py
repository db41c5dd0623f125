"""All contestants against each other, round by round, and the table of what that came to."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks import table
from benchmarks.measure import Spread, interleaved, seconds, times
from benchmarks.ssh.field import OURS, Contestant
from benchmarks.ssh.ground import EXCHANGES, Ground
from benchmarks.ssh.job import Job
from benchmarks.ssh.turn import LIMIT, Outcome, take
from benchmarks.ssh.usage import Usage

SLOW = 20.0  # seconds; who takes longer takes part in one round
BUDGET = float(os.environ.get("BUDGET") or 240)  # seconds that the rounds of one table may take, but for the first
HEAD = ("contestant", "key exchange", "by the clock", "CPU of the client", "clock, times ours", "CPU, times ours", "")


@dataclass
class Entry:
    """A contestant with one setting of the algorithms, and what its turns came to."""

    contestant: Contestant
    exchange: str
    taken: list[Usage] = field(default_factory=list)
    wrong: str = ""

    def turn(self, ground: Ground, job: Job) -> None:
        if self.wrong or self.slow:
            return
        print(f"  {self.contestant.name}, {self.exchange}", file=sys.stderr)
        outcome: Outcome = take(self.contestant, ground, job, self.exchange)
        self.wrong = outcome.wrong
        self.taken.append(outcome.usage)

    @property
    def slow(self) -> bool:
        return bool(self.taken) and self.taken[0].wall > SLOW

    def spread(self, kind: str) -> str:
        return table.spread(Spread.of([getattr(each, kind) for each in self.taken]), seconds)

    def times(self, ours: "Entry | None", kind: str) -> str:
        """How many times ours, round by round."""
        if ours is None or ours.wrong or ours is self:
            return ""
        pairs = zip(self.taken, ours.taken, strict=False)
        return table.spread(Spread.of([getattr(a, kind) / getattr(b, kind) for a, b in pairs]), times)


def compare(field: Sequence[Contestant], ground: Ground, job: Job, most: int) -> list[Entry]:
    """Let all take turns for the `most` rounds, or as many as fit into the time for one table, one at the least."""
    entries = [
        Entry(each, exchange)
        for each in field
        if each.there()
        for exchange in (EXCHANGES if each.openssh else ["default"])
    ]
    turns = {f"{each.contestant.name} {each.exchange}": partial(each.turn, ground, job) for each in entries}
    begin, taken = time.monotonic(), 0.0
    for _ in range(most):
        if time.monotonic() - begin + taken > BUDGET:
            break
        since = time.monotonic()
        interleaved(turns, 1)
        taken = time.monotonic() - since
    return entries


def rounds(entries: Sequence[Entry]) -> int:
    return max((len(each.taken) for each in entries), default=0)


def lines(field: Sequence[Contestant], entries: Sequence[Entry]) -> Iterator[str]:
    absent = [(each.words, "", "", "", "", "", "not installed") for each in field if not each.there()]
    return table.grid([HEAD, *(_cells(each, entries) for each in entries), *absent])


def _cells(entry: Entry, entries: Sequence[Entry]) -> tuple[str, ...]:
    exchange = entry.exchange if entry.contestant.openssh else "its own"
    if entry.wrong:
        return (entry.contestant.words, exchange, "", "", "", "", f"failed: {entry.wrong}")
    ours = next((e for e in entries if e.contestant.name == OURS and e.exchange == entry.exchange), None)
    notes = [f"{entry.contestant.width} at once"]
    if entry.contestant.by_hand and entry is _best(entry.exchange, entries):
        notes.append("the best by hand")
    if len(entry.taken) < rounds(entries):
        notes.append("1 round")
    if left := max(each.left for each in entry.taken):
        notes.append(f"leaves {left} processes, ended by us")
    words = [entry.spread("wall"), entry.spread("cpu"), entry.times(ours, "wall"), entry.times(ours, "cpu")]
    return (entry.contestant.words, exchange, *words, "; ".join(notes))


def _best(exchange: str, entries: Sequence[Entry]) -> Entry | None:
    able = [each for each in entries if each.contestant.by_hand and each.exchange == exchange and not each.wrong]
    return min(able, key=lambda each: Spread.of([usage.wall for usage in each.taken]).median, default=None)


def limits() -> str:
    return (
        f"{BUDGET:.0f} s for the rounds of a table, {LIMIT:.0f} s for a turn; who takes more than {SLOW:.0f} s has one"
    )
