"""A gzip stream made by several threads, with its digest."""

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Self

from isal import isal_zlib

LEVEL = 2  # of isal's 0 to 3: within 4% of the size that 3 gives, in 0.6 of the time (docs/performance.md)
WINDOW = 32 * 1024  # as far as deflate looks back
WORKERS = min(os.cpu_count() or 1, 4)  # four outrun reading and hashing, which one thread does
HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"  # no name, no time, no system
LAST_BLOCK = b"\x03\x00"  # an empty one, marked as final


class GzipWriter:
    """Compresses blocks at the same time and writes them in order; use it in a `with` statement.

    What leaves it is whole only after `finish`: where that is not reached, the stream has no end.

    Args:
        sink: anything with `write`, a pipe too; it is not closed.
    """

    def __init__(self, sink: BinaryIO) -> None:
        self.size = 0
        self._sink = sink
        self._digest = hashlib.sha256()
        self._crc = 0
        self._length = 0
        self._before = memoryview(b"")
        self._pool = ThreadPoolExecutor(WORKERS, "gzip")
        self._waiting: deque[Future[bytes]] = deque()

    def __enter__(self) -> Self:
        self._send(HEADER)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def sha256(self) -> str:
        """Of all bytes written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, block: memoryview) -> None:
        """Take a block, which must not change any more; the larger, the better it compresses."""
        self._crc = isal_zlib.crc32(block, self._crc)
        self._length += len(block)
        self._waiting.append(self._pool.submit(_deflated, block, self._before))
        self._before = block[-WINDOW:]
        # Two for each thread keep all of them busy, and no more are held in memory.
        while len(self._waiting) > 2 * WORKERS:
            self._send(self._waiting.popleft().result())

    def finish(self) -> None:
        """Write what is still being compressed, and the end."""
        while self._waiting:
            self._send(self._waiting.popleft().result())
        length = self._length & 0xFFFFFFFF
        self._send(LAST_BLOCK + self._crc.to_bytes(4, "little") + length.to_bytes(4, "little"))

    def _send(self, piece: bytes) -> None:
        self._digest.update(piece)
        self.size += len(piece)
        unsent = memoryview(piece)
        while unsent:  # a raw stream may take less than it is given
            unsent = unsent[self._sink.write(unsent) :]


def _deflated(block: memoryview, before: memoryview) -> bytes:
    """Compress a block so that it can stand right after `before`, which it may refer to."""
    stream = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS, zdict=before)
    content: bytes = stream.compress(block) + stream.flush(isal_zlib.Z_SYNC_FLUSH)
    return content
