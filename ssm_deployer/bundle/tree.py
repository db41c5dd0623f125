"""A folder read once into a value: what is in it, and what of that cannot be sent."""

import os
import stat
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path

import msgspec

from ssm_deployer.bundle.ignore import IGNORE_FILE, Rules
from ssm_deployer.bundle.links import leads_out
from ssm_deployer.errors import UsageError

MOST_NAMED = 5
UNFIT = {
    stat.S_IFSOCK: "is a socket",
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFBLK: "is a block device",
    stat.S_IFCHR: "is a character device",
}
SPECIAL_BITS = {stat.S_ISUID: "setuid", stat.S_ISGID: "setgid", stat.S_ISVTX: "sticky"}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One file, folder or link, as it was when the tree was read.

    Attributes:
        path: relative to the bundle's folder; raw bytes, as the file system has them.
        mode: type and permissions, as lstat(2) tells them.
        size: of a file, in bytes; 0 for anything else.
        mtime_ns: of a file, to notice a change; it is not sent.
        target: what a link says.
    """

    path: bytes
    mode: int
    size: int = 0
    mtime_ns: int = 0
    target: bytes = b""


class Bundle(msgspec.Struct, frozen=True):
    """What a folder holds for the targets.

    Attributes:
        folder: as the user named it.
        entries: depth first, the names of each folder in the order of their bytes.
        unpacked_size: of all files together, in bytes.
        notes: what is not sent as it is, in lines to show.
    """

    folder: str
    entries: tuple[Entry, ...]
    unpacked_size: int
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many entries there are, folders and links included."""
        return len(self.entries)


def scan(folder: Path) -> Bundle:
    """Read the tree below a folder, without what its ignore files keep out; no file is opened but these.

    Raises:
        UsageError: the folder cannot be read, or holds something that cannot be sent.
    """
    walk = _Walk(folder)
    walk.run()
    unfit = sorted([*walk.unfit, *_escapes(walk.entries)])
    if unfit:
        raise UsageError(
            f"{shown(os.fsencode(folder))} holds what cannot be sent: {_listed([what for _, what in unfit])}",
            f"remove it, or list it in {shown(os.fsencode(folder / os.fsdecode(IGNORE_FILE)))}",
        )
    return Bundle(
        folder=str(folder),
        entries=tuple(walk.entries),
        unpacked_size=sum(entry.size for entry in walk.entries),
        notes=tuple(_dropped(walk.entries)),
    )


def shown(path: bytes) -> str:
    """Spell a path on one line, whatever its bytes."""
    text = path.decode(errors="backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]


class _Walk:
    """The reading of one tree: gathers its entries, and each thing that cannot be sent with the reason."""

    def __init__(self, folder: Path) -> None:
        self.entries: list[Entry] = []
        self.unfit: list[tuple[bytes, str]] = []
        self._root = os.fsencode(folder)
        self._ahead: list[tuple[bytes, os.DirEntry[bytes], Rules]] = []

    def run(self) -> None:
        try:
            self._enter(b"", Rules())
        except FileNotFoundError as error:
            raise UsageError(
                f"there is no folder {shown(self._root)}", "name another one with --files, or give --no-files"
            ) from error
        except NotADirectoryError as error:
            raise UsageError(
                f"{shown(self._root)} is not a folder", "name a folder with --files, or give --no-files"
            ) from error
        except OSError as error:
            raise UsageError(f"{shown(self._root)} cannot be read: {error.strerror}", "see its permissions") from error
        while self._ahead:
            path, found, rules = self._ahead.pop()
            try:
                self._visit(path, found, rules)
            except OSError as error:
                self._refuse(path, f"cannot be read ({error.strerror})")

    def _enter(self, prefix: bytes, rules: Rules) -> None:
        """Queue what is in a folder, the last name first. A stack, since trees may be deeper than Python's own."""
        with os.scandir(self._root + b"/" + prefix) as listing:
            names = sorted(listing, key=attrgetter("name"), reverse=True)
        for found in names:
            if found.name == IGNORE_FILE and found.is_file():
                content = Path(os.fsdecode(found.path)).read_bytes()
                rules = rules.within(prefix, content)
                names.remove(found)
                break
        for found in names:
            path = prefix + found.name
            if not rules.ignore(path, folder=found.is_dir(follow_symlinks=False)):
                self._ahead.append((path, found, rules))

    def _visit(self, path: bytes, found: os.DirEntry[bytes], rules: Rules) -> None:
        status = found.stat(follow_symlinks=False)
        mode = status.st_mode
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFREG:
            if not os.access(found.path, os.R_OK):
                self._refuse(path, "cannot be read (Permission denied)")
            self.entries.append(Entry(path, mode, status.st_size, status.st_mtime_ns))
        elif kind == stat.S_IFDIR:
            self._enter(path + b"/", rules)
            self.entries.append(Entry(path, mode))
        elif kind == stat.S_IFLNK:
            self.entries.append(Entry(path, mode, target=os.readlink(found.path)))  # noqa: PTH115 - Path has no bytes
        else:
            self._refuse(path, UNFIT.get(kind, "is of an unknown kind"))

    def _refuse(self, path: bytes, reason: str) -> None:
        self.unfit.append((path, f"{shown(path)} {reason}"))


def _escapes(entries: Sequence[Entry]) -> Iterator[tuple[bytes, str]]:
    links = {entry.path: entry.target for entry in entries if stat.S_ISLNK(entry.mode)}
    for path, target in links.items():
        if target.startswith(b"/"):
            yield path, f"{shown(path)} is a link to an absolute path ({shown(target)})"
        elif leads_out(path, links):
            yield path, f"{shown(path)} is a link that leads out of the folder ({shown(target)})"


def _dropped(entries: Sequence[Entry]) -> Iterator[str]:
    for bit, name in SPECIAL_BITS.items():
        holders = [shown(entry.path) for entry in entries if entry.mode & bit]
        if holders:
            yield f"{name} bit dropped: {_listed(holders)}"


def _listed(items: Sequence[str]) -> str:
    more = len(items) - MOST_NAMED
    return "; ".join(items[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
