"""Packing: the same bytes for the same content, whatever else differs, and never a broken archive for a whole one."""

import gzip
import hashlib
import io
import os
import random
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle.trees import Tree, at, file, folder, link, make
from hypothesis import given, settings
from hypothesis import strategies as st

from ssm_deployer.bundle import pack, scan
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Packed

MIB = 1024 * 1024
TREE: Tree = {
    b"a/b/c": file(b"c" * 5000),
    b"a/b": folder(0o711),
    b"a/b-": file(b"", 0o600),
    b"a": folder(0o750),
    b"z": folder(0o700),
    b"l": link(b"a/b"),
    b"\xff": file(b"x", 0o755),
}


class Hook(io.BytesIO):
    """A sink that does something when it is written to for the nth time, the first before any file is read."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        super().__init__()
        self._left = at
        self._act = act

    def write(self, piece: Any, /) -> int:
        self._left -= 1
        if self._left == 0:
            self._act()
        return super().write(piece)


class Sipping(io.BytesIO):
    """A sink that takes little at a time, as a raw pipe may."""

    def write(self, piece: Any, /) -> int:
        return super().write(memoryview(piece)[:100])


def digest(root: Path) -> Packed:
    return pack(scan(root), io.BytesIO())


def test_what_is_told_is_what_was_written(tmp_path: Path) -> None:
    sink = io.BytesIO()
    told = pack(scan(make(tmp_path, TREE)), sink)
    sent = sink.getvalue()
    assert told == Packed(
        size=len(sent),
        sha256=hashlib.sha256(sent).hexdigest(),
        content_sha256=hashlib.sha256(gzip.decompress(sent)).hexdigest(),
        unpacked_size=5001,
    )


def test_the_content_has_one_name_for_ever(tmp_path: Path) -> None:
    make(
        tmp_path,
        {b"bin/run": file(b"#!/bin/sh\n", 0o755), b"bin": folder(), b"n" * 120: file(b"x"), b"l": link(b"bin")},
    )
    assert digest(tmp_path).content_sha256 == "532cfb00d05c94abec2536f4dcf9bd3cd10ab0a27f0ad32bdc1d9a5a00d7784e"


def test_the_gzip_header_tells_neither_name_nor_time(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pack(scan(tmp_path), sink)
    assert sink.getvalue()[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(sorted(TREE)), mtime=st.integers(0, 2**33), umask=st.sampled_from([0, 0o22, 0o77]))
def test_order_times_owners_and_umask_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, order: list[bytes], mtime: int, umask: int
) -> None:
    plain = make(tmp_path_factory.mktemp("plain"), TREE)
    before = os.umask(umask)
    try:
        other = make(tmp_path_factory.mktemp("other"), TREE, order)
        for path in TREE:
            place = at(other, path)
            os.utime(place, (mtime, mtime), follow_symlinks=False)
            if os.geteuid() == 0:
                os.chown(place, 1234, 4321, follow_symlinks=False)
        assert digest(other) == digest(plain)
    finally:
        os.umask(before)


def test_content_modes_names_and_targets_do_matter(tmp_path: Path) -> None:
    changes: list[Tree] = [
        {**TREE, b"\xff": file(b"y", 0o755)},
        {**TREE, b"\xff": file(b"x", 0o750)},
        {**TREE, b"l": link(b"a")},
        {**TREE, b"new": folder()},
        {path: node for path, node in TREE.items() if path != b"z"},
    ]
    digests = {digest(make(tmp_path / str(n), tree)).content_sha256 for n, tree in enumerate([TREE, *changes])}
    assert len(digests) == 1 + len(changes)


PRINT_DIGEST = """
import io, sys; from pathlib import Path; from ssm_deployer.bundle import pack, scan
print(pack(scan(Path(sys.argv[1])), io.BytesIO()).content_sha256)
"""


@pytest.mark.slow
def test_the_locale_does_not_matter(tmp_path: Path) -> None:
    names = [b"\xc3\xa9.tmp", b"e\xcc\x81.tmp", b"\xff.tmp", b"x.tmp", b"\xe2\x82\xac"]
    make(tmp_path, {name: file() for name in names} | {b".deployignore": file(b"?.tmp")})
    answers = set()
    for locale in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"}):
        command = [sys.executable, "-c", PRINT_DIGEST, str(tmp_path)]
        environment = {"PATH": os.environ["PATH"], **locale}
        answers.add(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    assert answers == {digest(tmp_path).content_sha256 + "\n"}


def rewrite(path: Path) -> None:
    path.write_bytes(b"other"[: path.stat().st_size])
    os.utime(path, ns=(0, 1))


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_link_to_itself(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("moved")))


def replace_by_socket(path: Path) -> None:
    path.unlink()
    os.mknod(path, stat.S_IFSOCK | 0o644)


def replace_its_folder_by_a_file(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.touch()


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def grow(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1)


def shrink(path: Path) -> None:
    os.truncate(path, 1)


CHANGES = [
    grow,
    shrink,
    rewrite,
    replace_by_pipe,
    replace_by_link_to_itself,
    replace_by_socket,
    replace_its_folder_by_a_file,
    replace_by_folder,
    Path.unlink,
    lambda path: path.chmod(0o600),
    lambda path: path.parent.rename(path.parent.with_name("moved")),
]


def assert_refused(root: Path, sink: io.BytesIO) -> None:
    with pytest.raises(UsageError, match=r"^d/victim changed while it was packed$"):
        pack(scan(root), sink)
    with pytest.raises(EOFError):
        gzip.decompress(sink.getvalue())


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_it_was_listed_is_refused(tmp_path: Path, change: Callable[[Path], object]) -> None:
    make(tmp_path, {b"a": file(b"x"), b"d/victim": file(b"first"), b"e": file()})
    assert_refused(tmp_path, Hook(1, lambda: change(tmp_path / "d/victim")))


@pytest.mark.parametrize("change", [grow, shrink])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: Callable[[Path], object]) -> None:
    make(tmp_path, {b"d/victim": file()})
    os.truncate(tmp_path / "d/victim", 40 * MIB)
    assert_refused(tmp_path, Hook(3, lambda: change(tmp_path / "d/victim")))


def test_a_pipe_will_do(tmp_path: Path) -> None:
    bundle = scan(make(tmp_path, {**TREE, b"big": file(os.urandom(3 * MIB))}))
    reading, writing = os.pipe()
    received = io.BytesIO()

    def receive() -> None:
        with os.fdopen(reading, "rb") as stream:
            received.write(stream.read())

    thread = threading.Thread(target=receive)
    thread.start()
    with os.fdopen(writing, "wb", buffering=0) as sink:
        told = pack(bundle, sink)
    thread.join()
    assert hashlib.sha256(received.getvalue()).hexdigest() == told.sha256


def test_a_sink_may_take_less_than_it_is_given(tmp_path: Path) -> None:
    sink = Sipping()
    told = pack(scan(make(tmp_path, TREE)), sink)
    assert hashlib.sha256(sink.getvalue()).hexdigest() == told.sha256


def test_a_sink_that_refuses_ends_the_packing_and_its_threads(tmp_path: Path) -> None:
    make(tmp_path, {b"big": file(os.urandom(20 * MIB))})
    before = threading.active_count()

    def refuse() -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        pack(scan(tmp_path), Hook(3, refuse))
    assert threading.active_count() <= before  # a server of an earlier test may end meanwhile


def test_random_content_does_not_grow_by_more_than_a_hundredth(tmp_path: Path) -> None:
    make(tmp_path, {b"random": file(os.urandom(5 * MIB))})
    assert digest(tmp_path).size < 5.05 * MIB


def test_a_block_may_refer_to_the_one_before(tmp_path: Path) -> None:
    make(tmp_path, {b"repeated": file(random.Random(1).randbytes(4096) * 1536)})  # noqa: S311 - the same each time
    assert digest(tmp_path).size < 70_000  # 55,000, and 87,000 where each of the six blocks begins anew


MEASURE = """
import resource, sys; from pathlib import Path; from ssm_deployer.bundle import pack, scan
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
with open("/dev/null", "wb") as sink: pack(scan(Path(sys.argv[1])), sink)
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_content(tmp_path: Path) -> None:
    for name, size in {"small": 64 * MIB, "large": 512 * MIB}.items():
        make(tmp_path / name, {b"sparse": file()})
        os.truncate(tmp_path / name / "sparse", size)
    small, large = (
        int(
            subprocess.run(
                [sys.executable, "-c", MEASURE, str(tmp_path / name)], check=True, capture_output=True
            ).stdout
        )
        for name in ("small", "large")
    )
    assert large < 40 * 1024  # KiB
    assert large < small + 8 * 1024
