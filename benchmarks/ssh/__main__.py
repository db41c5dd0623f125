"""`make bench-ssh`: for `N=` targets, in `ROUNDS=` rounds, all contestants and parts or those of `ONLY=`."""

import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator

from benchmarks import table
from benchmarks.ssh import comparison
from benchmarks.ssh.field import FIELD, OURS, chosen
from benchmarks.ssh.ground import Ground
from benchmarks.ssh.job import LARGE, SMALL
from benchmarks.ssh.ours import PARTS

TARGETS = "1,20,100"
ROUNDS = 3


def main() -> None:
    rounds = int(os.environ.get("ROUNDS") or ROUNDS)
    numbers = [int(number) for number in (os.environ.get("N") or TARGETS).split(",")]
    known = [*(each.name for each in FIELD), *PARTS]
    only = os.environ["ONLY"].split(",") if os.environ.get("ONLY") else known
    if unknown := {*only} - {*known}:
        raise SystemExit(f"no such contestant or part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {ssh}, Python {platform.python_version()}"
    print(f"At most {rounds} rounds on {machine}; {comparison.limits()}.")
    for number in numbers:
        for line in _compared(number, only, rounds):
            print(line, flush=True)
    for line in _alone(only, rounds):
        print(line, flush=True)


def _compared(number: int, only: Collection[str], rounds: int) -> Iterator[str]:
    if not (field := chosen(only, os.environ.get("WIDTH") or "")):
        return
    with Ground(number) as ground:
        for payload in (SMALL, LARGE):
            what = f"{payload.name}, {number} target{'' if number == 1 else 's'}"
            print(f"measuring {what} …", file=sys.stderr)
            entries = comparison.compare(field, ground, ground.job(payload), rounds)
            title = f"### {what} ({comparison.rounds(entries)} rounds)"
            yield from ("", title, "", *comparison.lines(field, entries))


def _alone(only: Collection[str], rounds: int) -> Iterator[str]:
    if parts := [part for name, part in PARTS.items() if name in only]:
        print(f"measuring {OURS} alone …", file=sys.stderr)
        rows = [row for part in parts for row in part(rounds)]
        yield from ("", f"### {OURS} alone", "", *table.lines(rows))


if __name__ == "__main__":
    main()
