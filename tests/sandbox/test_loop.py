import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from ssm_deployer.sandbox.loop import Loop


@dataclass
class Bench:
    """A loop in a thread, whose ticks are counted and say when the next one is due."""

    due: float | None = None
    ticks: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.loop = Loop(self.lock, self.tick)
        self.thread = threading.Thread(target=self.loop.run)

    def tick(self) -> float | None:
        self.ticks += 1
        due, self.due = self.due, None
        return due


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.thread.start()
    until(lambda: bench.ticks == 1)
    yield bench
    bench.loop.stop()
    bench.thread.join(5)
    assert not bench.thread.is_alive()
    bench.loop.close()


def test_it_ticks_when_it_is_woken_and_not_otherwise(bench: Bench) -> None:
    threading.Event().wait(0.05)
    assert bench.ticks == 1
    bench.loop.wake()
    until(lambda: bench.ticks == 2)


def test_it_ticks_at_the_deadline_of_the_last_tick(bench: Bench) -> None:
    bench.due = time.time() + 0.05
    bench.loop.wake()
    until(lambda: bench.ticks == 3)


def test_a_watched_socket_calls_back_under_the_lock_until_it_is_forgotten(bench: Bench) -> None:
    ours, theirs = socket.socketpair()
    got: list[bytes] = []

    def readable() -> None:
        got.append(ours.recv(10))
        bench.loop.forget(ours)

    with ours, theirs:
        bench.loop.watch(ours, readable)
        with bench.lock:
            theirs.send(b"one")
            threading.Event().wait(0.05)
            assert got == []
        until(lambda: got == [b"one"])
        theirs.send(b"two")
        bench.loop.wake()
        until(lambda: bench.ticks >= 3)
        assert got == [b"one"]


def test_waking_it_many_times_never_blocks(bench: Bench) -> None:
    with bench.lock:
        for _ in range(100_000):
            bench.loop.wake()


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        threading.Event().wait(0.005)


@pytest.mark.parametrize("seconds", [30 * 86_400, 1e308, float("inf")])
def test_a_deadline_that_is_far_away_does_not_end_it(bench: Bench, seconds: float) -> None:
    bench.due = time.time() + seconds
    bench.loop.wake()
    until(lambda: bench.ticks == 2)
    threading.Event().wait(0.05)
    bench.loop.wake()
    until(lambda: bench.ticks == 3)


def test_what_is_done_aside_keeps_nobody_waiting_and_its_end_is_told_under_the_lock(bench: Bench) -> None:
    release, told = threading.Event(), threading.Event()
    bench.loop.aside(lambda: release.wait(10), told.set)
    bench.loop.wake()
    until(lambda: bench.ticks == 2)
    assert not told.is_set()
    with bench.lock:
        release.set()
        assert not told.wait(0.05)
    assert told.wait(10)


def test_what_fails_aside_has_ended_too(bench: Bench) -> None:
    told = threading.Event()
    bench.loop.aside(lambda: 1 // 0, told.set)
    assert told.wait(10)
