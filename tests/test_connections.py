"""The thread that owns all connections, with a program in the place of `ssh` that does what each test needs."""

import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from ssm_deployer import payload
from ssm_deployer.backends.access import Plain
from ssm_deployer.backends.connection import Connection
from ssm_deployer.backends.connections import Connections
from ssm_deployer.backends.content import Content, Limits
from ssm_deployer.backends.errand import Errand
from ssm_deployer.backends.openssh import Login
from ssm_deployer.backends.ssh import SshBackend
from ssm_deployer.errors import DeployError
from ssm_deployer.model import Invocation, Staged, Status, Target

PATIENCE = 20.0
LIMITS = Limits(script=5, fetch=5, delivery=5, grace=1)
GREETING = f"echo; echo {payload.greeting('run-1')}; echo {payload.greeting('run-1')} >&2\n"
LISTENING = f"echo {payload.listening('run-1')}\n"


class Ground:
    """One `Connections` and what it works with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.news = threading.Event()
        (folder / "content").write_bytes(b"")
        self.content = os.open(folder / "content", os.O_RDONLY)
        self.made: list[Connections] = []

    def ssh(self, script: str) -> None:
        """Have this run in its place."""
        program = self.folder / "bin" / "ssh"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)

    def connections(self, access: Plain | None = None, most: int = 4) -> Connections:
        self.made.append(Connections(most, access or Plain(), self.news.set))
        return self.made[-1]

    def errand(self, **login: str) -> Errand:
        return Errand(
            command="c-1",
            run_id="run-1",
            line=payload.line("true\n"),
            content=self.content,
            content_path=self.folder / "content",
            content_size=0,
            login=Login(**login),  # type: ignore[arg-type]  # words of its own
            limits=LIMITS,
            folder=self.folder,
        )

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline
            self.news.wait(0.01)
            self.news.clear()

    def ends(self, *connections: Connection) -> list[Invocation]:
        self.until(lambda: all(connection.over for connection in connections))
        return [connection.invocation for connection in connections]


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    ground = Ground(tmp_path)
    yield ground
    for each in ground.made:
        each.close()
    os.close(ground.content)


def targets(*names: str) -> Sequence[Target]:
    return [Target(id=f"ssh:{name}", via="ssh", address=name) for name in names]


def test_the_word_to_stop_is_said_again_as_a_full_pipe_may_not_have_taken_it(ground: Ground) -> None:
    ground.ssh(f"{GREETING} {LISTENING} read -r size; read -r cancel; read -r cancel; exit 3\n")
    connections = ground.connections()
    [one] = connections.start(targets("one"), ground.errand())
    ground.until(lambda: one.invocation.word == "running")
    connections.cancel([one])
    [end] = ground.ends(one)
    assert end.detail.endswith("(ssh ended with 3); the script may have run, or still run")


def test_no_content_is_sent_before_the_payload_listens(ground: Ground) -> None:
    got = ground.folder / "got"
    (ground.folder / "content").write_bytes(b"precious")
    read = f"dd bs=1 status=none >>{got}"
    ground.ssh(f"{GREETING} {read} count=6; timeout 0.2 {read} count=1; echo - >>{got}; {LISTENING} {read} count=8\n")
    ground.ends(*ground.connections().start(targets("one"), replace(ground.errand(), content_size=8)))
    assert got.read_bytes() == b"4\ntrue-\nprecious"


class Failing(Plain):
    """Has a bug that only one target meets."""

    def options(self, target: Target) -> Sequence[str]:
        if target.address == "bad":
            raise KeyError("eu-west-1")
        return ()


def test_a_bug_in_what_prepares_a_target_is_that_targets_end_and_no_others(ground: Ground) -> None:
    ground.ssh("exit 3\n")
    bad, good = ground.ends(*ground.connections(Failing()).start(targets("bad", "good"), ground.errand()))
    assert (bad.word, bad.status) == ("NoAccess", Status.UNREACHED)
    assert bad.detail == "internal error: KeyError: 'eu-west-1'; please report it"
    assert good.word == "NoConnection"


def test_who_rests_least_is_the_next_whoever_stands_before(ground: Ground) -> None:
    ground.ssh("exit 3\n")
    connections = ground.connections()
    with _held(connections):
        soon, late = connections.start(targets("soon", "late"), ground.errand())
        soon.resting_until, late.resting_until = time.monotonic() + 0.1, time.monotonic() + 1000
    ground.ends(soon)
    assert not late.over


class _held:  # noqa: N801 - reads as what it does
    """Keep the thread from everything for a while."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._ends = os.pipe()
        self._reached, self._free = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        self._connections.watch(self._ends[0], selectors.EVENT_READ, self._hold)
        os.write(self._ends[1], b"x")
        assert self._reached.wait(PATIENCE)

    def __exit__(self, *_: object) -> None:
        self._free.set()

    def _hold(self) -> None:
        self._reached.set()
        self._free.wait(PATIENCE)
        self._connections.forget(self._ends[0])
        for end in self._ends:
            os.close(end)


def test_news_of_a_file_that_was_closed_do_not_reach_whoever_has_its_number_now(ground: Ground) -> None:
    ground.ssh("exit 3\n")
    connections = ground.connections()
    pipes = [os.pipe(), os.pipe()]
    called: list[str] = []
    new = os.pipe()

    def first(number: int) -> Callable[[], None]:
        other = pipes[1 - number][0]

        def ready() -> None:
            called.append("old")
            for each in (pipes[number][0], other):
                connections.forget(each)
            os.dup2(new[0], other)
            connections.watch(other, selectors.EVENT_READ, lambda: called.append("new"))

        return ready

    with _held(connections):
        for number, (reader, writer) in enumerate(pipes):
            connections.watch(reader, selectors.EVENT_READ, first(number))
            os.write(writer, b"x")
    [one] = connections.start(targets("one"), ground.errand())
    ground.ends(one)
    connections.close()
    assert called == ["old"]
    for descriptor in (*pipes[0], *pipes[1], *new):
        os.close(descriptor)


def test_a_client_that_is_gone_when_a_shared_connection_is_to_be_closed_changes_no_verdict(ground: Ground) -> None:
    ground.ssh(
        'for word; do case $word in ControlPath=/*) : >"${word#*=}" ;; esac; done; rm "$0"; '
        "echo 'ssh: Could not resolve hostname one: unknown' >&2; exit 255\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(ground.folder / "bin"))
        (ground.folder / "bin" / "rm").symlink_to("/bin/rm")
        [end] = ground.ends(*ground.connections().start(targets("one"), ground.errand(transfer="scp")))
    assert end.word == "NoSuchName"


def test_a_bug_in_the_thread_ends_the_run_and_every_connection(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.ssh(f"echo $$ >>{ground.folder}/pids; exec sleep 1000\n")
    monkeypatch.setattr("tempfile.tempdir", str(ground.folder))
    backend = SshBackend("run-1", Content(script=b"true\n"), LIMITS, Login(connections=4), Plain())

    def started() -> bool:
        pids = ground.folder / "pids"
        return pids.exists() and pids.read_text().endswith("\n")

    def wake() -> None:
        if started():
            raise ValueError("a bug")

    backend.heed(wake)
    handle = backend.start(targets("one"), _staged(backend))
    ground.until(started)
    backend.cancel(handle)  # news
    with pytest.raises(DeployError, match=r"internal error: ValueError: a bug \(test_connections.py:\d+\)"):
        ground.until(lambda: not backend.observe(handle))
    backend.cancel(handle)
    assert backend.clean() == []
    [pid] = (ground.folder / "pids").read_text().split()
    ground.until(lambda: not _runs(int(pid)))


def _staged(backend: SshBackend) -> Staged:
    transfer = backend.stage()
    while True:
        try:
            next(transfer)
        except StopIteration as end:
            staged: Staged = end.value
            return staged


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_login_may_print_more_than_is_kept_before_it_greets(ground: Ground) -> None:
    ground.ssh(f"head -c 600000 /dev/zero | tr '\\0' x\n{GREETING} {LISTENING} head -c 6; exit 3\n")
    [end] = ground.ends(*ground.connections().start(targets("one"), ground.errand()))
    assert end.word == "Disconnected"


def test_what_a_login_prints_without_end_is_neither_kept_nor_shown_whole(ground: Ground) -> None:
    ground.ssh("head -c 600000 /dev/zero | tr '\\0' x; echo the end; exit 3\n")
    [end] = ground.ends(*ground.connections().start(targets("one"), ground.errand()))
    assert end.word == "NoConnection"
    assert end.stdout.endswith("xxxthe end\n")
    assert len(end.stdout) < 30_000
