"""The archive as others unpack it."""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle.trees import READABLE, UNPACKERS, Node, file, folder, link, make, packed, read
from hypothesis import given, settings
from hypothesis import strategies as st

from ssm_deployer.bundle import Entry
from ssm_deployer.bundle.tar import heading

Unpack = Callable[[bytes, Path], None]
each_unpacker = pytest.mark.parametrize("unpack", UNPACKERS)

LONG = b"n" * 255
ODD = [
    b"two\nlines",
    b"\n",
    b" ",
    b"-rf",
    b"--checkpoint-action=exec=sh x",
    b'it\'s "quoted" `x` $(x)',
    b"back\\slash\\n",
    b"*",
    b"...",
    b"..b",
    b"\xff\xfe\x80",
    b"\xc3\xa9",
    b"e\xcc\x81",
    b"\xf0\x9f\x9a\x80",
    b"\x01\x1b[2J\x7f",
    b"{{ssm:x}}",
    b"~",
    b"C:",
    b"host:path",
    b"././@LongLink"[-9:],
    LONG,
    LONG[:-1] + b"\xff",
]


def unpacked(archive: bytes, unpack: Unpack, root: Path) -> dict[bytes, Node]:
    target = root / "target"
    target.mkdir()
    unpack(archive, target)
    return read(target)


@each_unpacker
def test_odd_names_arrive(tmp_path: Path, unpack: Unpack) -> None:
    tree = {b"odd": folder(), b"links": folder()}
    for number, name in enumerate(ODD):
        tree |= {b"odd/" + name: file(name), b"links/%d" % number: link(name), name: folder(0o711)}
    archive = packed(make(tmp_path / "files", tree))
    assert unpacked(archive, unpack, tmp_path) == tree


@each_unpacker
def test_names_and_targets_around_every_limit_arrive(tmp_path: Path, unpack: Unpack) -> None:
    tree: dict[bytes, Node] = {}
    for length in [*range(96, 104), *range(153, 158), *range(253, 259), 511, 512, 513, 1500]:
        # The slash wanders over the hundredth byte, where the field of a name ends.
        for cut in [b"s/", *(b"d" * count + b"/" for count in range(95, 100))]:
            path = bytearray(cut + b"f" * length)[:length]
            for place in range(length - 2, 110, -100):
                path[place] = ord("/")
            tree |= {bytes(path).rstrip(b"/") + b"!": file(b"x")}
        tree[b"l%d" % length] = link(b"t" * length)
        tree[b"D" * min(length, 255)] = folder()
    files = make(tmp_path / "files", tree)
    assert unpacked(packed(files), unpack, tmp_path) == read(files)


@each_unpacker
@pytest.mark.parametrize("umask", [0, 0o077])
def test_every_permission_arrives_without_the_special_bits(tmp_path: Path, unpack: Unpack, umask: int) -> None:
    modes = [0o000, 0o111, 0o222, 0o400, 0o444, 0o600, 0o640, 0o755, 0o777, 0o2755, 0o1777, 0o4711, 0o7777]
    tree = {b"f%o" % mode: file(b"x", mode) for mode in modes}
    tree |= {b"d%o/inner" % mode: file() for mode in modes} | {b"d%o" % mode: folder(mode) for mode in modes}
    files = make(tmp_path / "files", tree)
    before = os.umask(umask)
    try:
        found = unpacked(packed(files), unpack, tmp_path)
    finally:
        os.umask(before)
    assert found == {path: Node(node.mode & 0o777, node.content) for path, node in tree.items()}


@each_unpacker
def test_links_arrive_as_they_are(tmp_path: Path, unpack: Unpack) -> None:
    tree = {
        b"real/file": file(b"x"),
        b"real": folder(),
        b"to-file": link(b"real/file"),
        b"to-folder": link(b"real"),
        b"real/up": link(b"../to-folder/file"),
        b"dangling": link(b"no/where"),
        b"circle": link(b"circle"),
    }
    assert unpacked(packed(make(tmp_path / "files", tree)), unpack, tmp_path) == tree


@each_unpacker
def test_hard_links_arrive_as_copies(tmp_path: Path, unpack: Unpack) -> None:
    files = make(tmp_path / "files", {b"a": file(b"same")})
    (files / "b").hardlink_to(files / "a")
    assert unpacked(packed(files), unpack, tmp_path) == {b"a": file(b"same"), b"b": file(b"same")}


@each_unpacker
def test_an_empty_bundle_unpacks_to_nothing(tmp_path: Path, unpack: Unpack) -> None:
    files = make(tmp_path / "files", {})
    assert unpacked(packed(files), unpack, tmp_path) == {}


@each_unpacker
def test_content_around_the_limits_of_records_and_blocks_arrives(tmp_path: Path, unpack: Unpack) -> None:
    sizes = [0, 1, 511, 512, 513, 2**20 - 512, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20 + 7]
    tree = {b"%d" % size: file(os.urandom(size)) for size in sizes}
    assert unpacked(packed(make(tmp_path / "files", tree)), unpack, tmp_path) == tree


@each_unpacker
def test_the_target_folder_keeps_its_own_mode(tmp_path: Path, unpack: Unpack) -> None:
    files = make(tmp_path / "files", {b"a": file()})
    files.chmod(0o777)
    target = tmp_path / "private"
    target.mkdir(mode=0o700)
    unpack(packed(files), target)
    assert target.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 40 * 2**40])
@pytest.mark.parametrize("tar", [["tar"], ["busybox", "tar"]], ids=["gnu", "busybox"])
def test_sizes_beyond_eight_gibibytes_can_be_told(size: int, tar: list[str]) -> None:
    head = heading(Entry(b"huge", 0o100644, size))
    listed = subprocess.run([*tar, "-tvf", "-"], input=head, capture_output=True, check=False).stdout
    assert str(size) in listed.decode().split()


def test_the_permissions_that_a_system_gives_its_links_do_not_matter() -> None:
    assert heading(Entry(b"l", 0o120755, target=b"a")) == heading(Entry(b"l", 0o120777, target=b"a"))


names = st.binary(min_size=1, max_size=40).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in {b".", b".."}
)
modes = st.integers(0, 0o777)
leaves = st.one_of(
    st.builds(file, st.binary(max_size=2000), modes),
    st.builds(folder, modes),
    st.builds(link, st.lists(names, min_size=1, max_size=12).map(b"/".join)),
)


@st.composite
def trees(draw: st.DrawFn) -> dict[bytes, Node]:
    tree: dict[bytes, Node] = {}
    parents = [b""]
    for name, node in draw(st.lists(st.tuples(names, leaves), max_size=12)):
        parent = draw(st.sampled_from(parents))
        path = parent + name
        if path in tree or name == b".deployignore":
            continue
        up = b"../" if parent and node.target is not None and draw(st.booleans()) else b""
        tree[path] = link(up + node.target) if node.target is not None else node
        if node.target is None and node.content is None:
            parents.append(path + b"/")
    return tree


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(tree=trees())
def test_any_tree_arrives_as_it_was(tree: dict[bytes, Node]) -> None:
    with tempfile.TemporaryDirectory() as place:
        archive = packed(make(Path(place, "files"), tree))
        for unpack in UNPACKERS:
            root = Path(place, unpack.__name__)
            root.mkdir()
            assert unpacked(archive, unpack, root) == tree, unpack.__name__


def test_the_suite_may_make_files_that_nobody_may_read() -> None:
    assert (READABLE == 0) == (os.geteuid() == 0)
