import binascii
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from ssm_deployer.sandbox import container, supervisor


class Bench:
    """A supervisor in plain directories, and the server's end of its socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server, theirs = socket.socketpair()
        self.server.settimeout(10)
        with theirs:
            self.process = subprocess.Popen(
                [os.path.realpath(sys.executable), "-I", "-S", container.SUPERVISOR, str(theirs.fileno()), "plain"],
                pass_fds=(theirs.fileno(),),
                umask=0o077,
            )
        self._lines = self.server.makefile("rb")

    def send(self, **request: Any) -> None:
        self.server.sendall(json.dumps(request).encode() + b"\n")

    def start(self, script: str, key: str = "k", **more: Any) -> None:
        env = {"PATH": os.environ["PATH"]}
        folder = self.folder / key
        request = {"run": key, "script": script, "folder": str(folder), "shell": "/bin/sh", "cwd": "/", "env": env}
        self.send(**(request | more))

    def reply(self) -> dict[str, Any]:
        return dict(json.loads(self._lines.readline()))

    def run(self, script: str, **more: Any) -> dict[str, Any]:
        self.start(script, **more)
        return self.reply()

    def close(self) -> None:
        self._lines.close()
        self.server.close()
        assert self.process.wait(10) == 0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def text(reply: dict[str, Any], stream: str = "stdout") -> bytes:
    return binascii.a2b_base64(reply[stream])


@pytest.mark.parametrize(
    ("script", "code", "signal"),
    [("exit 0", 0, 0), ("exit 7", 7, 0), ("exit 255", 255, 0), ("kill -9 $PPID", 0, 9), ("kill -15 $PPID", 0, 15)],
)
def test_the_end_of_the_shell_is_told(bench: Bench, script: str, code: int, signal: int) -> None:
    reply = bench.run(f"{script}\n:")
    assert (reply["code"], reply["signal"], reply["killed"]) == (code, signal, False)


def test_streams_arrive_apart_by_their_heads_and_whole_in_files(bench: Bench) -> None:
    reply = bench.run("head -c 200000 /dev/zero; printf '\\377' >&2")
    assert len(text(reply)) == supervisor.HEAD
    assert text(reply, "stderr") == b"\xff"
    assert (bench.folder / "k" / "stdout").stat().st_size == 200_000


@pytest.mark.parametrize(("script", "alone"), [("true", True), ("setsid sleep 4743 >/dev/null 2>&1 &", False)])
def test_it_tells_whether_any_process_is_left(bench: Bench, script: str, alone: bool) -> None:
    assert bench.run(script)["alone"] is alone


def test_a_second_run_in_the_same_folder_appends(bench: Bench) -> None:
    bench.run("echo one")
    assert text(bench.run("echo two")) == b"one\ntwo\n"


def test_kill_ends_the_group_and_tells_what_was_printed(bench: Bench) -> None:
    bench.start("echo begun; (sleep 4741; echo child) & sleep 4741; echo never")
    wait_for(bench, "begun")
    bench.send(kill="k")
    reply = bench.reply()
    assert reply["killed"]
    assert text(reply) == b"begun\n"
    assert until(lambda: "sleep 4741" not in processes())


def test_a_child_that_left_the_group_gets_a_broken_pipe_after_the_kill(bench: Bench) -> None:
    marker = bench.folder / "ended"
    inner = f"trap '' TERM; while echo more 2>/dev/null; do sleep 0.02; done; touch {marker}"
    bench.start(f'echo begun; setsid sh -c "{inner}" & wait')
    wait_for(bench, "more")
    bench.send(kill="k")
    assert bench.reply()["killed"]
    assert until(lambda: marker.exists() or "while echo more" not in processes())


def test_scripts_have_the_agents_umask_whatever_the_users_is(bench: Bench) -> None:
    assert text(bench.run("umask")) == b"0022\n"


def test_killing_what_is_unknown_or_over_is_harmless(bench: Bench) -> None:
    bench.send(kill="nothing")
    bench.run("true")
    bench.send(kill="k")
    assert bench.run("exit 3", key="l")["code"] == 3


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"cwd": "/nowhere"}, "failed to run commands: fork/exec /bin/sh: no such file or directory"),
        ({"shell": "/nowhere/sh"}, "failed to run commands: fork/exec /nowhere/sh: no such file or directory"),
        ({"folder": "/proc/nowhere"}, "failed to create script file. no such file or directory"),
    ],
)
def test_what_cannot_start_is_told_in_the_agents_words(bench: Bench, more: dict[str, str], error: str) -> None:
    assert bench.run("true", **more) == {"ended": "k", "error": error}
    assert bench.run("exit 4", key="l")["code"] == 4


def test_text_of_any_kind_reaches_the_shell(bench: Bench) -> None:
    # With a #! line: dash takes a file with such bytes and none for a foreign binary.
    assert text(bench.run("#!/bin/sh\nprintf %s 'é\x01\ud800'\n")) == "é\x01\ud800".encode("utf-8", "surrogatepass")


def test_many_run_side_by_side_and_no_zombie_stays(bench: Bench) -> None:
    for number in range(20):
        bench.start(f"(sleep 0.01 &) ; exit {number}", key=f"k{number}")
    codes = sorted(bench.reply()["code"] for _ in range(20))
    assert codes == list(range(20))
    children = Path(f"/proc/{bench.process.pid}/task/{bench.process.pid}/children")
    assert until(lambda: not children.read_text().strip())


def test_the_end_of_the_socket_ends_every_descendant(bench: Bench) -> None:
    bench.start("setsid sleep 4742 & (setsid sleep 4742 &) ; echo begun; sleep 4742")
    wait_for(bench, "begun")
    bench.server.shutdown(socket.SHUT_RDWR)
    assert bench.process.wait(10) == 0
    assert until(lambda: "sleep 4742" not in processes())


def wait_for(bench: Bench, printed: str, key: str = "k") -> None:
    stdout = bench.folder / key / "stdout"
    assert until(lambda: stdout.exists() and printed in stdout.read_text())


def processes() -> str:
    return subprocess.run(["ps", "ax", "-o", "args="], capture_output=True, text=True, check=True).stdout


def test_a_flood_of_output_is_read_as_slowly_as_the_agent_reads_it_and_can_be_killed(bench: Bench) -> None:
    stdout = bench.folder / "k" / "stdout"
    began = time.monotonic()
    bench.start("yes")
    assert until(lambda: stdout.exists() and stdout.stat().st_size >= supervisor.FREE)
    time.sleep(1)
    size = stdout.stat().st_size
    assert size < supervisor.FREE + (time.monotonic() - began + 2) * supervisor.RATE
    bench.send(kill="k")
    assert bench.reply()["killed"]


def test_output_a_little_longer_arrives_whole(bench: Bench) -> None:
    size = supervisor.FREE + 100_000
    assert bench.run(f"head -c {size} /dev/zero; echo end >&2")["code"] == 0
    assert (bench.folder / "k" / "stdout").stat().st_size == size


def test_the_file_of_a_stream_has_a_limit_and_reading_has_none(tmp_path: Path) -> None:
    stream = supervisor.Stream(str(tmp_path / "stdout"), kept=5)
    for text in (b"abc", b"def", b"ghi"):
        os.write(stream.sink, text)
        assert stream.read()
    os.close(stream.sink)
    assert not stream.read()
    stream.close()
    assert (bytes(stream.head), (tmp_path / "stdout").read_bytes()) == (b"abcdefghi", b"abcde")
