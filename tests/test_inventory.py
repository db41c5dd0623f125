"""Inventories: files that list hosts, and what is said where one of their lines is wrong."""

from pathlib import Path

import pytest

from ssm_deployer.errors import UsageError
from ssm_deployer.inventory import read_inventory


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "machines.txt"


def hosts(file: Path, text: str | bytes) -> list[str]:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [host.selector for host in read_inventory(str(file))]


def complaint(file: Path, text: str | bytes) -> str:
    with pytest.raises(UsageError) as caught:
        hosts(file, text)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message.replace(f"{file.parent}/", "")


def test_a_line_is_a_host_with_or_without_its_prefix_in_the_order_of_the_file(file: Path) -> None:
    text = "web2\nssh:deploy@web1:2222\n[2001:db8::1]\n10.0.0.5\n"
    assert hosts(file, text) == ["ssh:web2", "ssh:deploy@web1:2222", "ssh:[2001:db8::1]", "ssh:10.0.0.5"]


def test_comments_and_blank_lines_count_for_nothing(file: Path) -> None:
    assert hosts(file, "# all of them\n\n  web1  # the first\n\t\n#web2\nweb3# the last") == ["ssh:web1", "ssh:web3"]


def test_who_stands_there_twice_is_meant_once(file: Path) -> None:
    assert hosts(file, "web1\nssh:web1\n[::1]\n[0::1]\nweb1:022\nweb1:22\n") == ["ssh:web1", "ssh:[::1]", "ssh:web1:22"]


@pytest.mark.parametrize("text", ["\ufeffweb1\r\nweb2\r\n", "web1\nweb2", b"web1\n# caf\xc3\xa9\nweb2\n"])
def test_files_of_other_editors_are_read(file: Path, text: str | bytes) -> None:
    assert hosts(file, text) == ["ssh:web1", "ssh:web2"]


MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "an option": ("web1\n\n-oProxyCommand=id\n", "machines.txt line 3: '-oProxyCommand=id' names no host"),
    "two on a line": ("web1 web2\n", "machines.txt line 1: 'web1 web2' names no host"),
    "a port too high": ("web1\r\nweb2:70000\r\n", "machines.txt line 2: 'web2:70000' names no host"),
    "another kind of target": ("tag:Role=web\n", "machines.txt line 1: 'tag:Role=web' names no host"),
    "a form feed, which ends no line": ("web1\x0cweb2\n", "machines.txt line 1: 'web1\\x0cweb2' names no host"),
    "nothing": ("", "machines.txt names no host"),
    "nothing but comments": ("# web1\n\n", "machines.txt names no host"),
    "another encoding": (b"web\xff\n", "cannot read machines.txt: it is no text in UTF-8"),
}


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.replace(" ", "-"))
def test_a_mistake_is_told_with_its_place(file: Path, case: str) -> None:
    text, words = MISTAKES[case]
    assert complaint(file, text) == words


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for name, words in (("missing", "No such file or directory"), ("", "Is a directory")):
        with pytest.raises(UsageError, match=f"cannot read .*: {words}") as caught:
            read_inventory(str(tmp_path / name))
        assert "file:PATH" in caught.value.hint


def test_a_path_may_begin_at_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    file.write_text("web1\n")
    assert [host.selector for host in read_inventory("~/machines.txt")] == ["ssh:web1"]
