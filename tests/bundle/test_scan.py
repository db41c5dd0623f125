"""Reading a folder: what is in it, and what of that is refused."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bundle.trees import Tree, file, folder, link, make

from ssm_deployer.bundle import Bundle, scan
from ssm_deployer.errors import UsageError


def refusal(root: Path) -> str:
    with pytest.raises(UsageError) as raised:
        scan(root)
    assert raised.value.hint
    return raised.value.message


def names(bundle: Bundle) -> list[bytes]:
    return [entry.path for entry in bundle.entries]


def test_a_tree_is_listed_depth_first_in_the_order_of_its_bytes(tmp_path: Path) -> None:
    make(tmp_path, {b"b/2": file(), b"b-c": file(), b"b/1/x": file(), b"B": file(), b"\xff": file(), b"b": folder()})
    assert names(scan(tmp_path)) == [b"B", b"b", b"b/1", b"b/1/x", b"b/2", b"b-c", b"\xff"]


def test_sizes_and_entries_are_counted(tmp_path: Path) -> None:
    make(tmp_path, {b"a": file(b"12345"), b"d/b": file(b"678"), b"empty": folder(), b"l": link(b"a")})
    bundle = scan(tmp_path)
    assert (bundle.count, bundle.unpacked_size, bundle.folder) == (5, 8, str(tmp_path))


def test_an_empty_folder_is_an_empty_bundle(tmp_path: Path) -> None:
    assert scan(tmp_path) == Bundle(folder=str(tmp_path), entries=(), unpacked_size=0)


def test_a_folder_may_be_named_through_a_link(tmp_path: Path) -> None:
    make(tmp_path / "real", {b"a": file()})
    (tmp_path / "files").symlink_to("real")
    assert names(scan(tmp_path / "files")) == [b"a"]


def test_a_tree_deeper_than_pythons_stack_is_read(tmp_path: Path) -> None:
    levels = [tmp_path.joinpath(*["d"] * depth) for depth in range(1, 1051)]
    for level in levels:
        level.mkdir()
    assert scan(tmp_path).count == len(levels)
    for level in reversed(levels):  # pytest cannot
        level.rmdir()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone") == f"there is no folder {tmp_path}/gone"


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    make(tmp_path, {b"f": file()})
    assert refusal(tmp_path / "f") == f"{tmp_path}/f is not a folder"


def test_special_bits_are_noted_in_one_line_each(tmp_path: Path) -> None:
    make(tmp_path, {b"bin/%d" % n: file(mode=0o4755) for n in range(7)} | {b"tmp": folder(0o3777)})
    assert scan(tmp_path).notes == (
        "setuid bit dropped: bin/0; bin/1; bin/2; bin/3; bin/4; and 2 more",
        "setgid bit dropped: tmp",
        "sticky bit dropped: tmp",
    )


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for the address of a socket."""
    with tempfile.TemporaryDirectory(prefix="b") as path:
        yield Path(path)


def test_a_socket_is_refused(short_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short_path / "run.sock"))
        assert "run.sock is a socket" in refusal(short_path)


def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "queue")
    assert "queue is a named pipe" in refusal(tmp_path)


def test_a_device_is_refused() -> None:
    assert "is a character device" in refusal(Path("/dev"))


def test_the_first_five_offenders_are_named_and_the_rest_is_counted(tmp_path: Path) -> None:
    for number in range(8):
        os.mkfifo(tmp_path / f"p{number}")
    message = refusal(tmp_path)
    assert message.endswith("p3 is a named pipe; p4 is a named pipe; and 3 more")
    assert "p5" not in message
    for number in range(6, 8):
        (tmp_path / f"p{number}").unlink()
    assert refusal(tmp_path).endswith("; and 1 more")


def test_an_odd_name_is_refused_on_one_line(tmp_path: Path) -> None:
    os.mkfifo(os.fsencode(tmp_path) + b"/\x1b[2J\nna\xffme")
    assert "\\x1b[2J\\nna" in refusal(tmp_path)
    assert refusal(tmp_path).isprintable()


def test_an_absolute_link_is_refused_even_into_the_tree(tmp_path: Path) -> None:
    make(tmp_path, {b"a": file(), b"l": link(os.fsencode(tmp_path) + b"/a")})
    assert f"l is a link to an absolute path ({tmp_path}/a)" in refusal(tmp_path)


def test_each_link_that_ends_at_an_absolute_one_is_named(tmp_path: Path) -> None:
    make(tmp_path, {b"etc": link(b"/etc"), b"l": link(b"etc/passwd")})
    message = refusal(tmp_path)
    assert "etc is a link to an absolute path (/etc); l is a link that leads out of the folder (etc/passwd)" in message


ESCAPES: dict[str, Tree] = {
    "up from the root": {b"l": link(b"..")},
    "up and back in": {b"l": link(b"../%s/a" % b"files"), b"a": file()},
    "down and up": {b"a/l": link(b"../b/../../x"), b"b": folder()},
    "through a link to a folder": {b"deep/er/l": link(b"../../up/../x"), b"up": link(b"a/.."), b"a/b": folder()},
    "by way of a link that itself leads out": {b"out": link(b"../x"), b"l": link(b"out/y")},
    "past a name that is not there": {b"l": link(b"gone/../../x")},
    "with empty steps": {b"a/l": link(b".//..//./..")},
}


@pytest.mark.parametrize("tree", ESCAPES.values(), ids=ESCAPES)
def test_a_link_that_leads_out_is_refused(tmp_path: Path, tree: Tree) -> None:
    make(tmp_path / "files", tree)
    assert "is a link that leads out of the folder" in refusal(tmp_path / "files")


INSIDE: dict[str, Tree] = {
    "to a sibling": {b"l": link(b"a"), b"a": file()},
    "to the root": {b"a/l": link(b"..")},
    "dangling": {b"l": link(b"not/here")},
    "to itself": {b"l": link(b"l")},
    "in a circle": {b"a": link(b"b"), b"b": link(b"a/x/../../../..")},
    "up as far as a linked folder is deep": {b"l": link(b"s/../../x"), b"s": link(b"d/e/f"), b"d/e/f": folder()},
}


@pytest.mark.parametrize("tree", INSIDE.values(), ids=INSIDE)
def test_a_link_that_stays_inside_is_taken(tmp_path: Path, tree: Tree) -> None:
    make(tmp_path, tree)
    assert set(names(scan(tmp_path))) >= set(tree)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user whom permissions apply to, if root runs the tests."""
    privileged = os.geteuid() == 0
    if privileged:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if privileged:
            os.setresuid(0, 0, 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which nobody can be in even where the folders above are closed."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return Path()


def test_what_may_not_be_read_is_refused_before_anything_is_sent(here: Path) -> None:
    make(here, {b"secret": file(), b"closed/a": file(), b"listed/only": file()})
    modes = {"secret": 0, "closed": 0, "listed": 0o444}
    for name, mode in modes.items():
        (here / name).chmod(mode)
    with as_nobody():
        message = refusal(here)
    for name in modes:
        (here / name).chmod(0o755)
    for name in ("secret", "closed", "listed/only"):
        assert f"{name} cannot be read (Permission denied)" in message


def test_a_folder_that_may_not_be_read_is_named(here: Path) -> None:
    files = make(here / "files", {b"a": file()})
    files.chmod(0)
    with as_nobody():
        message = refusal(files)
    files.chmod(0o755)
    assert message == "files cannot be read: Permission denied"
