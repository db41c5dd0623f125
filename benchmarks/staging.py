"""Packing into the upload, beside packing alone and uploading alone.

The S3 is the sandbox's, so packer, uploader and server share the cores: where these are busy, nothing can overlap.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import MIB, Aim, Row, compared, contestant, run, seconds, told

SIZE = 200 * MIB
WHAT = "pack 200 MiB and upload it meanwhile"
SLOW = f"{WHAT}, S3 taking 0.5 s a part"
SLOWER = "the slower of the two alone"


def rows(rounds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "files")
        run(contestant("tree", tree, SIZE))
        taken = told(contestant("staging", tree, rounds))
    fast, slow = ({name: _of(each, "wall") for name, each in taken[pace].items()} for pace in ("fast", "slow"))
    yield compared(WHAT, fast["both"], SLOWER, _slower(fast), seconds, Aim(1.25))
    yield compared(WHAT, fast["both"], "both, one after the other", _sum(fast), seconds)
    cpu = _sum({name: _of(each, "cpu") for name, each in taken["fast"].items()})
    cores = os.cpu_count() or 1
    yield compared(WHAT, fast["both"], "the CPU of both, shared by the cores", [each / cores for each in cpu], seconds)
    yield compared(SLOW, slow["both"], SLOWER, _slower(slow), seconds, Aim(1.25))


def _of(rounds: list[dict[str, float]], kind: str) -> list[float]:
    return [each[kind] for each in rounds]


def _slower(taken: dict[str, list[float]]) -> list[float]:
    return [max(pair) for pair in zip(taken["pack"], taken["upload"], strict=True)]


def _sum(taken: dict[str, list[float]]) -> list[float]:
    return [sum(pair) for pair in zip(taken["pack"], taken["upload"], strict=True)]
