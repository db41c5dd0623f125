"""The tar that goes to a target by SSH."""

import tarfile
from pathlib import Path

import pytest

from ssm_deployer.backends.tarball import Tarball
from ssm_deployer.errors import DeployError, Interrupted


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 100_000])
def test_members_come_out_as_they_went_in(tmp_path: Path, size: int) -> None:
    content = b"x" * size

    def write(sink: Tarball) -> str:
        sink.write(content)
        sink.write(memoryview(b"end"))
        return "what it returned"

    with Tarball(tmp_path / "content") as tar:
        tar.add("script", content)
        assert tar.stream("bundle", write) == "what it returned"
        tar.add("last", b"")
        tar.finish()
        assert tar.size == (tmp_path / "content").stat().st_size
    assert members(tmp_path / "content") == {"script": content, "bundle": content + b"end", "last": b""}


def test_nobody_else_can_read_it_here_or_where_it_is_copied_with_its_mode(tmp_path: Path) -> None:
    with Tarball(tmp_path / "content"):
        assert (tmp_path / "content").stat().st_mode & 0o777 == 0o600


def test_a_program_can_be_executed(tmp_path: Path) -> None:
    with Tarball(tmp_path / "content") as tar:
        tar.add("script", b"x", mode=0o700)
        tar.add("inputs", b"x")
        tar.finish()
    with tarfile.open(tmp_path / "content") as content:
        assert [(member.name, member.mode) for member in content] == [("script", 0o700), ("inputs", 0o600)]


def test_a_member_beyond_8_gib_has_its_size(tmp_path: Path) -> None:
    size = 9 * 2**30

    class Hole(bytes):
        """What is as long as 9 GiB to whoever asks, and takes no room."""

        def __len__(self) -> int:
            return size

    with Tarball(tmp_path / "content") as tar:
        tar.stream("bundle", lambda sink: sink.write(Hole()))
    with (tmp_path / "content").open("rb") as file:
        assert tarfile.TarInfo.frombuf(file.read(512), "utf-8", "strict").size == size


def test_packing_that_is_ended_stops_at_its_next_write(tmp_path: Path) -> None:
    with Tarball(tmp_path / "content") as tar:
        tar.end()
        with pytest.raises(Interrupted):
            tar.add("script", b"x")


@pytest.mark.parametrize("size", [1, 2**21])
def test_a_full_disk_is_told_in_one_line(size: int) -> None:
    with pytest.raises(DeployError, match=r"cannot write /dev/full: No space left on device"):
        _write(Path("/dev/full"), b"x" * size)


def _write(path: Path, content: bytes) -> None:
    with Tarball(path) as tar:
        tar.add("script", content)
        tar.finish()


def test_a_disk_that_is_full_before_a_streamed_members_end_is_told_likewise() -> None:
    with pytest.raises(DeployError, match=r"cannot write /dev/full"), Tarball(Path("/dev/full")) as tar:
        tar.stream("bundle", lambda sink: sink.write(b"x"))
