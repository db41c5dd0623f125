"""Trees as values: made on disk, read back, packed and unpacked, so that two of them can be compared."""

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from ssm_deployer.bundle import pack, scan

# Without being root, a test can neither read what forbids it nor take it away.
READABLE = 0 if os.geteuid() == 0 else 0o700


class Node(msgspec.Struct, frozen=True):
    """What stands under one path: a file (content), a link (target) or, with neither, a folder."""

    mode: int = 0o755
    content: bytes | None = None
    target: bytes | None = None


Tree = Mapping[bytes, Node]


def file(content: bytes = b"", mode: int = 0o644) -> Node:
    return Node(mode=mode | READABLE, content=content)


def folder(mode: int = 0o755) -> Node:
    return Node(mode=mode | READABLE)


def link(target: bytes) -> Node:
    return Node(mode=0o777, target=target)


def at(root: Path, path: bytes) -> Path:
    return root / os.fsdecode(path)


def make(root: Path, tree: Tree, order: Iterable[bytes] = ()) -> Path:
    """Make a tree on disk, its paths in the given order as far as one is given."""
    root.mkdir(parents=True, exist_ok=True)
    for path in dict.fromkeys([*order, *tree]):
        _make(at(root, path), tree[path])
    for path in sorted(tree, reverse=True):
        if tree[path].target is None:
            at(root, path).chmod(tree[path].mode)
    return root


def _make(place: Path, node: Node) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if node.target is not None:
        place.symlink_to(os.fsdecode(node.target))
    elif node.content is not None:
        place.write_bytes(node.content)
    else:
        place.mkdir(exist_ok=True)


def read(root: Path) -> dict[bytes, Node]:
    """Read a tree from disk."""
    top = os.fsencode(root)
    return {
        os.path.relpath(os.fsencode(place), top): _node(place)
        for where, folders, files in os.walk(root)
        for place in [Path(where, name) for name in folders + files]
    }


def _node(place: Path) -> Node:
    mode = stat.S_IMODE(place.lstat().st_mode)
    if place.is_symlink():
        return link(os.readlink(os.fsencode(place)))  # noqa: PTH115 - a Path would tidy what the link says
    return Node(mode=mode, content=place.read_bytes() if place.is_file() else None)


def packed(root: Path) -> bytes:
    """The tar.gz of a folder."""
    sink = io.BytesIO()
    pack(scan(root), sink)
    return sink.getvalue()


def with_gnu_tar(archive: bytes, target: Path) -> None:
    _piped(["tar", "-xzpof", "-", "-C", str(target)], archive)


def with_busybox(archive: bytes, target: Path) -> None:
    _piped(["busybox", "tar", "-xzpof", "-", "-C", str(target)], archive)


def with_python(archive: bytes, target: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as stream:
        stream.extractall(target, filter="fully_trusted")  # noqa: S202 - of our own making; other filters change modes


def _piped(command: list[str], archive: bytes) -> None:
    done = subprocess.run(command, input=archive, capture_output=True, check=False, umask=0o077)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


UNPACKERS: tuple[Callable[[bytes, Path], None], ...] = (with_gnu_tar, with_busybox, with_python)
