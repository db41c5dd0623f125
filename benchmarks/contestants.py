"""What the benchmarks run in processes of their own: `python -m benchmarks.contestants NAME ARGUMENT…`.

Each contestant imports what it needs, and only that. Those that measure within themselves tell it as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any


def tree(folder: str, size: str) -> None:
    from benchmarks.trees import make

    make(Path(folder), int(size))


def start_up(_tree: str) -> None:
    from ssm_deployer.bundle import pack, scan  # noqa: F401 - its import is what is measured


def pack(tree: str) -> None:
    from ssm_deployer.bundle import pack, scan

    with Path("/dev/null").open("wb") as sink:
        pack(scan(Path(tree)), sink)


def tarfile(tree: str, mode: Any) -> None:
    from tarfile import open as opened

    with opened("/dev/null", mode) as archive:
        archive.add(tree, ".")


def limits(tree: str) -> dict[str, float]:
    """Seconds that the parts of packing take alone."""
    from benchmarks.limits import of

    return of(Path(tree))


def levels(tree: str) -> dict[str, dict[str, float]]:
    """What levels of compression cost and give."""
    from benchmarks.limits import levels

    return levels(Path(tree))


def staging(tree: str, rounds: str) -> Any:
    """What packing and uploading take, alone and together."""
    from benchmarks.transfers import of

    return of(Path(tree), int(rounds))


def staging_peak(tree: str) -> int:
    """Bytes of memory for packing into the upload."""
    from benchmarks.transfers import peak

    return peak(Path(tree))


def fleet(files: str, size: str, view: str) -> Any:
    """What a deployment to a canned fleet takes."""
    from benchmarks.deployments import of

    return of(Path(files), int(size), view)


def sandbox(size: str) -> Any:
    """What starting a sandbox takes."""
    from benchmarks.sandboxes import of

    return of(int(size))


def example(started: str) -> dict[str, float]:
    """The moments of `make demo`."""
    from benchmarks.rehearsal import of

    return of(float(started))


def moto(size: str) -> None:
    """What of that is moto's."""
    from benchmarks.accounts import start

    start(int(size))


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    if (answer := globals()[name](*arguments)) is not None:
        print(json.dumps(answer))
