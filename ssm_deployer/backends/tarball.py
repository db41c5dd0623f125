"""What goes to a target by SSH, as one tar: the script, its inputs and the packed bundle, written in one pass."""

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

from ssm_deployer.errors import DeployError, Interrupted

LARGE_BLOCK = 1 << 16

T = TypeVar("T")


class Tarball:
    """A tar file while it is written, by one thread, and watched by another.

    Args:
        path: of a file that is made anew.

    Raises:
        DeployError: it cannot be written to, for want of room for example.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._ended = False

    def add(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Add a member."""
        self._put(_header(name, len(content), mode) + content)
        self._pad()

    def stream(self, name: str, write: Callable[["Tarball"], T]) -> T:
        """Add a member that `write` writes; how long it is becomes known, and is put before it, afterwards."""
        start = self.size
        self._put(_header(name))
        written = write(self)
        length = self.size - start - tarfile.BLOCKSIZE
        self._pad()
        with self._told():
            self._file.seek(start)
            self._file.write(_header(name, length))
            self._file.seek(self.size)
        return written

    def finish(self) -> None:
        """Write the end of the tar, so that a large one can be read in large blocks."""
        self._put(bytes(2 * tarfile.BLOCKSIZE))
        if self.size > LARGE_BLOCK:
            self._put(bytes(-self.size % LARGE_BLOCK))
        with self._told():
            self._file.flush()

    def write(self, content: bytes | memoryview) -> int:
        """Add to the member that is being streamed."""
        return self._put(content)

    def end(self) -> None:
        """Make the next write fail; without effect on a tar that is finished."""
        self._ended = True

    def _pad(self) -> None:
        self._put(bytes(-self.size % tarfile.BLOCKSIZE))

    def _put(self, content: bytes | memoryview) -> int:
        if self._ended:
            raise Interrupted("the packing was ended")
        with self._told():
            self._file.write(content)
        self.size += len(content)
        return len(content)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in the user's words what cannot be written."""
        try:
            yield
        except OSError as error:
            raise DeployError(f"cannot write {self.path}: {error.strerror}", "free some room, or set TMPDIR") from error

    def __enter__(self) -> Self:
        with self._told():
            self._file = open(self.path, "wb", buffering=1 << 20, opener=_private)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of what an error has left unwritten; else all of it is written by now
            self._file.close()


def _private(path: str, flags: int) -> int:
    """Open for this user alone: scp gives the copy the same mode, and arguments and environment are in it."""
    return os.open(path, flags, 0o600)


def _header(name: str, size: int = 0, mode: int = 0o600) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    return member.tobuf(format=tarfile.GNU_FORMAT)
