"""A tar stream in GNU's format, made in large blocks and the same for the same content.

The format is GNU's, because busybox passes over the pax headers in which POSIX tars keep long names and large sizes.
"""

import errno
import os
import stat
from collections.abc import Callable

from ssm_deployer.bundle.tree import Entry, shown
from ssm_deployer.errors import UsageError

BLOCK = 1024 * 1024
RECORD = 512
NAME_FIELD = 100
LARGEST_OCTAL = 8**11 - 1
# One moment for all: 1980-01-02. Older GNU tars warn at each member dated 0 (check_time in their src/extract.c), and
# zip files, which a script may make of the content, begin with 1980 in local time.
MTIME = b"%011o\0" % 315_619_200
OWNER = b"0000000\0" * 2
TAIL = b"ustar  \0" + b"root".ljust(32, b"\0") * 2 + bytes(183)  # no device, no prefix
FLAGS = {stat.S_IFREG: b"0", stat.S_IFLNK: b"2", stat.S_IFDIR: b"5"}
GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}  # or something else has taken its place
CHANGED_HINT = "deploy again when nothing writes there, or list it in .deployignore"


def heading(entry: Entry) -> bytes:
    """What stands before an entry's content: one record, or several where a name is long."""
    kind = stat.S_IFMT(entry.mode)
    # bsdtar takes `C:` for a drive and drops it, unless something stands before it.
    name = b"./" + entry.path + b"/" * (kind == stat.S_IFDIR)
    # Of a link, systems disagree about the permissions, and nobody looks at them.
    mode = 0o777 if kind == stat.S_IFLNK else entry.mode & 0o777
    return (
        _long(b"K", entry.target)
        + _long(b"L", name)
        + _record(name, mode, entry.size, FLAGS[kind], target=entry.target)
    )


def _long(flag: bytes, name: bytes) -> bytes:
    if len(name) <= NAME_FIELD:
        return b""
    content = name + b"\0"
    return _record(b"././@LongLink", 0o644, len(content), flag) + content + bytes(-len(content) % RECORD)


def _record(name: bytes, mode: int, size: int, flag: bytes, *, target: bytes = b"") -> bytes:
    before = _field(name) + b"%07o\0" % mode + OWNER + _number(size) + MTIME
    after = flag + _field(target) + TAIL
    checksum = sum(before) + sum(after) + 8 * ord(" ")  # its own eight bytes count as spaces
    return before + b"%06o\0 " % checksum + after


def _field(name: bytes) -> bytes:
    return name[:NAME_FIELD].ljust(NAME_FIELD, b"\0")


def _number(size: int) -> bytes:
    return b"%011o\0" % size if size <= LARGEST_OCTAL else b"\x80" + size.to_bytes(11, "big")


class TarWriter:
    """Turns entries into blocks of a tar stream.

    Args:
        folder: the entries' paths begin there.
        emit: is handed each block, in order; all but the last have `BLOCK` bytes. They are not written to again.
    """

    def __init__(self, folder: str, emit: Callable[[memoryview], object]) -> None:
        self._root = os.fsencode(folder) + b"/"
        self._emit = emit
        self._block = memoryview(bytearray(BLOCK))
        self._filled = 0

    def add(self, entry: Entry) -> None:
        """Append an entry, and the content of a file.

        Raises:
            UsageError: the file is no longer what it was when the tree was read.
        """
        self._put(heading(entry))
        if stat.S_ISREG(entry.mode):
            self._append(entry)
            self._skip(-entry.size % RECORD)

    def finish(self) -> None:
        """Append the end mark and hand over the rest."""
        self._skip(2 * RECORD)
        self._emit(self._block[: self._filled])

    def _append(self, entry: Entry) -> None:
        descriptor = _open(self._root, entry)
        try:
            _check(entry, descriptor)
            missing = entry.size
            while missing:
                count = _read(entry, descriptor, self._room()[:missing])
                self._filled += count
                missing -= count
            _check(entry, descriptor)
        finally:
            os.close(descriptor)

    def _put(self, piece: bytes) -> None:
        while piece:
            room = self._room()
            count = min(len(room), len(piece))
            room[:count] = piece[:count]
            self._filled += count
            piece = piece[count:]

    def _skip(self, count: int) -> None:
        """Leave zeros, which is what a block is made of."""
        while count:
            step = min(len(self._room()), count)
            self._filled += step
            count -= step

    def _room(self) -> memoryview:
        """The free part of the block; never empty."""
        if self._filled == BLOCK:
            self._emit(self._block)
            self._block = memoryview(bytearray(BLOCK))
            self._filled = 0
        return self._block[self._filled :]


def _open(root: bytes, entry: Entry) -> int:
    try:
        # What has become a pipe or a link since must neither block nor lead elsewhere.
        return os.open(root + entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise (_changed(entry) if error.errno in GONE else _unreadable(entry, error)) from error


def _read(entry: Entry, descriptor: int, room: memoryview) -> int:
    try:
        count = os.readv(descriptor, [room])
    except OSError as error:
        raise _unreadable(entry, error) from error
    if not count:
        raise _changed(entry)
    return count


def _check(entry: Entry, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if (status.st_size, status.st_mtime_ns, status.st_mode) != (entry.size, entry.mtime_ns, entry.mode):
        raise _changed(entry)


def _changed(entry: Entry) -> UsageError:
    return UsageError(f"{shown(entry.path)} changed while it was packed", CHANGED_HINT)


def _unreadable(entry: Entry, error: OSError) -> UsageError:
    return UsageError(f"{shown(entry.path)} cannot be read: {error.strerror}", CHANGED_HINT)
