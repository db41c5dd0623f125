"""`make bench-ssh`: for `N=` targets, in `ROUNDS=` rounds, all contestants or those of `ONLY=`."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.ssh import comparison
from benchmarks.ssh.field import FIELD, chosen
from benchmarks.ssh.ground import Ground
from benchmarks.ssh.job import LARGE, SMALL

TARGETS = "1,20,100"
ROUNDS = 3


def main() -> None:
    rounds = int(os.environ.get("ROUNDS") or ROUNDS)
    numbers = [int(number) for number in (os.environ.get("N") or TARGETS).split(",")]
    only = os.environ.get("ONLY") or ""
    known = {each.name for each in FIELD}
    if unknown := {*filter(None, only.split(","))} - known:
        raise SystemExit(f"no such contestant: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {ssh}, Python {platform.python_version()}"
    print(f"{rounds} rounds on {machine}; {comparison.limits()}")
    for number in numbers:
        for line in _compared(number, only, rounds):
            print(line, flush=True)


def _compared(number: int, only: str, rounds: int) -> Iterator[str]:
    field = chosen(only, os.environ.get("WIDTH") or "")
    with Ground(number) as ground:
        for payload in (SMALL, LARGE):
            what = f"{payload.name}, {number} target{'' if number == 1 else 's'}"
            print(f"measuring {what} …", file=sys.stderr)
            entries = comparison.compare(field, ground, ground.job(payload), rounds)
            yield from ("", f"**{what}**", "", *comparison.lines(field, entries, rounds))


if __name__ == "__main__":
    main()
