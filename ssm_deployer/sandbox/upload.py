"""The agent's upload of a command's output: only plain files, and only those that lie in the instance's own folder."""

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path


def upload(root: Path, folder: Path, put: Callable[[str, bytes], None], appended: tuple[bytes, bytes]) -> None:
    """Give `put` the name and the content of each stream in `folder`, a path below `root`, that is not empty.

    `appended` are the agent's own sentences, which come behind the streams.
    """
    for name, sentence in zip(("stdout", "stderr"), appended, strict=True):
        with contextlib.suppress(OSError):
            if body := read(root, folder / name) + sentence:
                put(name, body)


def read(root: Path, path: Path) -> bytes:
    """Return what stands in `path` below `root`. Raises OSError unless that is a plain file, reached without a link.

    A script may have put anything there: a link to a file of the host, or a FIFO that nobody ever writes.
    """
    with contextlib.ExitStack() as held:
        place = _opened(held, root, os.O_DIRECTORY, None)
        for part in path.parent.parts:
            place = _opened(held, part, os.O_DIRECTORY, place)
        file = _opened(held, path.name, os.O_NONBLOCK, place)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(f"{path} is no plain file")
        with open(file, "rb", closefd=False) as stream:
            return stream.read()


def _opened(held: contextlib.ExitStack, name: Path | str, flags: int, parent: int | None) -> int:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=parent)
    held.callback(os.close, fd)
    return fd
