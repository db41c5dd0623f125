"""What this machine can do with the bytes of a tree: read, digest, compress and write them."""

import hashlib
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from isal import isal_zlib

from ssm_deployer.bundle.deflate import LEVEL
from ssm_deployer.bundle.tar import BLOCK

T = TypeVar("T")


def of(tree: Path) -> dict[str, float]:
    """Seconds for each, after one reading that fills the caches."""
    _read(tree)
    read, content = _timed(lambda: _read(tree))
    blocks = [content[first : first + BLOCK] for first in range(0, len(content), BLOCK)]
    sha256, _ = _timed(lambda: hashlib.sha256(content).digest())
    gzip, packed = _timed(lambda: _gzip(blocks))
    write, _ = _timed(lambda: _write(packed))
    return {"read": read, "sha256": sha256, "gzip": gzip, "write": write}


def levels(tree: Path) -> dict[str, dict[str, float]]:
    """Seconds of one thread and bytes, with the level that is used and what could be used instead."""
    content = _read(tree)
    contenders = {
        "ours": lambda: isal_zlib.compress(content, LEVEL),
        "isal's level 3": lambda: isal_zlib.compress(content, 3),
        "zlib's level 6": lambda: zlib.compress(content, 6),
    }
    taken = {name: _timed(compress) for name, compress in contenders.items()}
    return {name: {"seconds": seconds, "bytes": len(packed)} for name, (seconds, packed) in taken.items()}


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    begin = time.perf_counter()
    done = work()
    return time.perf_counter() - begin, done


def _read(tree: Path) -> bytes:
    content = bytearray()
    for folder, _, names in os.walk(tree):
        for name in names:
            descriptor = os.open(f"{folder}/{name}", os.O_RDONLY)
            while piece := os.read(descriptor, BLOCK):
                content += piece
            os.close(descriptor)
    return bytes(content)


def _gzip(blocks: list[bytes]) -> list[bytes]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda block: isal_zlib.compress(block, LEVEL), blocks))


def _write(packed: list[bytes]) -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        for piece in packed:
            file.write(piece)
        os.fsync(file.fileno())
