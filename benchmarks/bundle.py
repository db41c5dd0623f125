"""Packing 15,000 files, beside what a user would take instead and beside what the machine can do.

Every packer is a whole process that writes to /dev/null.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import (
    MIB,
    Aim,
    Row,
    added,
    alone,
    compared,
    contestant,
    interleaved,
    megabytes,
    peak,
    run,
    seconds,
    times,
    told,
)

SMALL = "200 MiB"
SIZES = {SMALL: 200 * MIB, "2 GiB": 2048 * MIB}
WHAT = "pack 200 MiB in 15,000 files"
LIMITS = {"read": "reading the tree", "sha256": "its sha256", "gzip": "its gzip, on all cores", "write": "writing it"}
RIVALS = {
    "tarfile, its default gzip": ("tarfile", "w:gz", Aim(8, at_least=True)),
    "tar piped to pigz -6": ("pigz", "", Aim(2, at_least=True)),
    "tarfile, uncompressed": ("tarfile", "w", Aim(1.2)),
}

Peaks = dict[str, list[float]]


def rows(rounds: int) -> Iterator[Row]:
    peaks = {}
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder, "files")
            run(contestant("tree", tree, size))
            if name == SMALL:
                yield from _times(tree, rounds)
            peaks[name] = _peaks(tree, rounds)
    yield from _memory(peaks)


def _times(tree: Path, rounds: int) -> Iterator[Row]:
    limits = [told(contestant("limits", tree)) for _ in range(rounds)]  # first, since it also fills the caches
    there = {name: rival for name, rival in RIVALS.items() if rival[0] != "pigz" or shutil.which("pigz")}
    contestants = {name: partial(run, _packer(program, tree, mode)) for name, (program, mode, _) in there.items()}
    costs = interleaved({"ours": partial(run, contestant("pack", tree)), **contestants}, rounds)
    walls = {name: [cost.wall for cost in taken] for name, taken in costs.items()}
    for name, (_, _, aim) in RIVALS.items():
        if name in there:
            yield compared(WHAT, walls["ours"], name, walls[name], seconds, aim)
        else:
            yield Row(WHAT, rival=name, ratio_unit=times, aim=aim, missing="pigz is not installed")
    yield from _limits(walls["ours"], limits)
    yield from _levels([told(contestant("levels", tree)) for _ in range(rounds)])


def _packer(program: str, tree: Path, mode: str) -> list[str]:
    if program == "pigz":
        return ["sh", "-c", 'tar -cf - -C "$0" . | pigz -6 > /dev/null', str(tree)]
    return contestant(program, tree, mode)


def _limits(ours: list[float], limits: list[dict[str, float]]) -> Iterator[Row]:
    for name, words in LIMITS.items():
        yield compared(WHAT, ours, f"the machine: {words}", [each[name] for each in limits], seconds)
    cores = os.cpu_count() or 1
    sums = [(each["read"] + each["sha256"]) / cores + each["gzip"] for each in limits]
    yield compared(WHAT, ours, "the machine: the first three, shared by its cores", sums, seconds)


def _levels(measured: list[dict[str, dict[str, float]]]) -> Iterator[Row]:
    for rival in ("isal's level 3", "zlib's level 6"):
        for kind, words, unit in (("seconds", "one thread", seconds), ("bytes", "size", megabytes)):
            ours, theirs = ([each[name][kind] for each in measured] for name in ("ours", rival))
            yield compared(f"gzip of 200 MiB at isal's level 2, {words}", ours, rival, theirs, unit)


def _peaks(tree: Path, rounds: int) -> Peaks:
    contestants = {name: partial(peak, contestant(name, tree)) for name in ("pack", "start_up")}
    return interleaved(contestants | {"staging": partial(told, contestant("staging_peak", tree))}, rounds)


def _memory(peaks: dict[str, Peaks]) -> Iterator[Row]:
    aim = Aim(80e6)
    for size, taken in peaks.items():
        what = f"peak memory of packing {size}"
        yield added(what, taken["pack"], "its start-up", taken["start_up"], megabytes, aim)
    for size, taken in peaks.items():
        what = f"peak memory of packing {size} into the upload, over start-up"
        yield alone(what, taken["staging"], megabytes, aim)
