"""`make bench`: every theme, or those of `ONLY=`, in `ROUNDS=` rounds, as one table."""

import os
import platform
import sys
from importlib import import_module

from benchmarks import table

# In this order: the first measures memory, for which this process must be small (see `measure.run`).
THEMES = ("bundle", "staging", "start", "payload", "fleet", "sandbox", "example")
ROUNDS = 5


def main() -> None:
    rounds = int(os.environ.get("ROUNDS") or ROUNDS)
    chosen = (os.environ.get("ONLY") or ",".join(THEMES)).split(",")
    if unknown := set(chosen) - set(THEMES):
        raise SystemExit(f"no such theme: {', '.join(sorted(unknown))}; there are {', '.join(THEMES)}")
    rows = []
    for theme in chosen:
        print(f"measuring {theme} …", file=sys.stderr)
        rows += import_module(f"benchmarks.{theme}").rows(rounds)
    print(f"{rounds} rounds on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}\n")
    print("\n".join(table.lines(rows)))


if __name__ == "__main__":
    main()
