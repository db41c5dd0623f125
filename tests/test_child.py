"""Children whose pipes never block, run for real."""

import os
import selectors
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssm_deployer.backends.child import Child, File, Text


class Loop:
    """Implements `child.Watch`, and runs until a child has ended."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.stdout = b""
        self.stderr = b""
        self.ended: list[int] = []

    def watch(self, descriptor: int, event: int, ready: Callable[[], object]) -> None:
        self.selector.register(descriptor, event, ready)

    def forget(self, descriptor: int) -> None:
        if descriptor in self.selector.get_map():
            self.selector.unregister(descriptor)

    def start(self, script: str) -> Child:
        return Child(["sh", "-c", script], self, on_stdout=self._out, on_stderr=self._err, on_end=self.ended.append)

    def run(self) -> int:
        while not self.ended:
            self.turn()
        return self.ended[0]

    def turn(self) -> None:
        for key, _ in self.selector.select(20):
            if key.fd in self.selector.get_map():
                key.data()

    def _out(self, chunk: bytes) -> None:
        self.stdout += chunk

    def _err(self, chunk: bytes) -> None:
        self.stderr += chunk


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def file() -> Iterator[int]:
    with tempfile.TemporaryFile() as opened:
        opened.write(b"0123456789" * 100_000)
        opened.flush()
        yield opened.fileno()


def test_all_output_has_come_when_the_end_is_told(loop: Loop) -> None:
    loop.start("seq 100000; echo oops >&2; exit 7")
    assert loop.run() == 7
    assert loop.stdout.endswith(b"\n100000\n")
    assert loop.stderr == b"oops\n"
    assert loop.selector.get_map() == {}


def test_head_and_file_arrive_whole_and_standard_input_stays_open(loop: Loop, file: int) -> None:
    fed: list[bool] = []
    child = loop.start("dd bs=1000005 count=1 iflag=fullblock | tail -c 8; read -r word; echo $word")
    child.feed(Text(b"head "), lambda: None)
    child.feed(File(file, 1_000_000), lambda: fed.append(True))
    while b"23456789" not in loop.stdout:
        loop.turn()
    assert fed
    child.say(b"stop\n")
    assert loop.run() == 0
    assert loop.stdout == b"23456789stop\n"


def test_several_are_fed_from_one_file_at_once(file: int) -> None:
    loops = [Loop() for _ in range(3)]
    for loop in loops:
        loop.start("head -c 1000000 | cksum").feed(File(file, 1_000_000), lambda: None)
    assert [loop.run() for loop in loops] == [0, 0, 0]
    assert len({loop.stdout for loop in loops}) == 1


def test_one_that_reads_nothing_blocks_nobody_and_ends_as_it_would(loop: Loop, file: int) -> None:
    loop.start("exec 0<&-; exit 3").feed(File(file, 1_000_000), lambda: pytest.fail("it was not fed"))
    assert loop.run() == 3


def test_what_it_left_running_with_its_output_does_not_delay_its_end(loop: Loop) -> None:
    loop.start("sleep 60 & echo $!")
    assert loop.run() == 0
    os.kill(int(loop.stdout), 9)


def test_a_killed_one_takes_what_it_started_along(loop: Loop) -> None:
    child = loop.start("sleep 61 & echo $!; wait")
    while not loop.stdout:
        loop.turn()
    child.kill()
    assert loop.run() == -9
    deadline = time.monotonic() + 10  # a kill takes effect when the killed one next runs
    while state(int(loop.stdout)) not in "ZX":
        assert time.monotonic() < deadline
        time.sleep(0.001)


def state(pid: int) -> str:
    """As in the third field of /proc/PID/stat; `X` for what is no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def test_a_program_that_is_not_there_is_an_os_error(loop: Loop) -> None:
    with pytest.raises(FileNotFoundError):
        Child(["/no/such/ssh"], loop, on_stdout=loop._out, on_stderr=loop._err, on_end=loop.ended.append)


def children() -> list[str]:
    return [child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Full(Loop):
    """Cannot take a third file."""

    def watch(self, descriptor: int, event: int, ready: Callable[[], object]) -> None:
        if len(self.selector.get_map()) == 2:
            raise OSError("no room")
        super().watch(descriptor, event, ready)


def test_one_that_cannot_be_watched_is_no_more() -> None:
    loop, before, others = Full(), open_files(), children()
    with pytest.raises(OSError, match="no room"):
        loop.start("sleep 1000")
    assert not [child for child in children() if child not in others]
    assert loop.selector.get_map() == {}
    assert open_files() == before


def test_one_whose_content_cannot_be_read_is_ended(loop: Loop, file: int) -> None:
    fed: list[bool] = []
    loop.start("head -c 2000000 >/dev/null").feed(File(file, 1_000_001), lambda: fed.append(True))
    assert loop.run() == -9
    assert not fed
