"""Packing 200 MiB in 15,000 files, side by side with what a user would take instead.

Run it as `python benchmarks/bundle.py [ROUNDS [MIB]]`. Every contestant is a whole process that writes to /dev/null;
rounds alternate, so that what else the machine does hits all of them alike.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

FILES = 15_000
MIB = 1024 * 1024
OURS = "ssm_deployer.bundle"
IMPORT = "import sys; from pathlib import Path; from ssm_deployer.bundle import pack, scan\n"
PACK = IMPORT + "with open('/dev/null', 'wb') as sink: pack(scan(Path(sys.argv[1])), sink)"
TARFILE = "import sys, tarfile\nwith tarfile.open('/dev/null', %r) as archive: archive.add(sys.argv[1], '.')"
CONTESTANTS = {
    OURS: [sys.executable, "-c", PACK, "TREE"],
    "tarfile, uncompressed": [sys.executable, "-c", TARFILE % "w", "TREE"],
    "tarfile, its default gzip": [sys.executable, "-c", TARFILE % "w:gz", "TREE"],
    "tar | pigz -6": ["sh", "-c", "tar -cf - -C TREE . | pigz -6 > /dev/null"],
    "tar | gzip": ["sh", "-c", "tar -cf - -C TREE . | gzip > /dev/null"],
}


def main() -> None:
    rounds, mib = (int(argument) for argument in (*sys.argv[1:], *("3", "200")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "files")
        make(tree, mib * MIB)
        contestants = dict(CONTESTANTS)
        if not shutil.which("pigz"):
            print("pigz is not installed, so it does not take part")
            del contestants["tar | pigz -6"]
        seconds = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, command in contestants.items():
                seconds[name].append(measured(command, tree)[0])
        show(seconds)
        start = measured([sys.executable, "-c", IMPORT], tree)[1]
        print(f"peak memory over start-up: {(measured(CONTESTANTS[OURS], tree)[1] - start) / 1024:.1f} MiB")


def make(tree: Path, size: int) -> None:
    """Fill a tree with pieces of Python's own library, of which few are large and most are small."""
    chance = random.Random(1)
    library = b"".join(path.read_bytes() for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")))
    weights = [chance.lognormvariate(0, 1) for _ in range(FILES)]
    for number, weight in enumerate(weights):
        folder = tree / str(number // 1000) / str(number // 50 % 20)
        folder.mkdir(parents=True, exist_ok=True)
        missing = round(size * weight / sum(weights)) if number else size // 100
        with (folder / f"file-{number}.txt").open("wb") as stream:
            while missing > 0:
                start = chance.randrange(len(library) - 65536)
                missing -= stream.write(library[start : start + min(missing, 65536)])


def measured(command: list[str], tree: Path) -> tuple[float, int]:
    """Seconds and peak memory (KiB) of a command."""
    begin = time.perf_counter()
    process = subprocess.Popen([argument.replace("TREE", str(tree)) for argument in command])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss


def show(seconds: dict[str, list[float]]) -> None:
    print(f"{'':<28}{'median':>9}{'least':>9}{'most':>9}{'times ours':>12}{'spread':>16}")
    for name, taken in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(taken, seconds[OURS], strict=True)]
        print(
            f"{name:<28}{statistics.median(taken):>7.2f} s{min(taken):>7.2f} s{max(taken):>7.2f} s"
            f"{statistics.median(ratios):>11.2f}x{f'{min(ratios):.2f}-{max(ratios):.2f}x':>16}"
        )


if __name__ == "__main__":
    main()
