"""The one thread that owns processes, their sockets and the timers of Run Command."""

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

MAX_WAIT = 3_600.0
"""Seconds; epoll takes no more than 24.8 days (epoll_wait(2): milliseconds in an int)."""

HANDS = 8
"""How many things at once may be done beside the loop."""

Tick = Callable[[], float | None]


class Loop:
    """Calls back, under one lock, when a watched socket has something, and ticks whenever that or a deadline is due.

    Processes must be started here: a parent-death signal follows the *thread* that started the child (prctl(2)), and
    this thread lives as long as the server.
    """

    def __init__(self, lock: threading.RLock, tick: Tick, clock: Callable[[], float] = time.time) -> None:
        self._lock = lock
        self._tick = tick
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._inner, self._outer = socket.socketpair()
        self._inner.settimeout(0)
        self._outer.settimeout(0)
        self._selector.register(self._inner, selectors.EVENT_READ, self._drain)
        self._stopping = False
        self._hands = ThreadPoolExecutor(HANDS, "hands")
        self._done: deque[Callable[[], None]] = deque()

    def watch(self, source: socket.socket, readable: Callable[[], None]) -> None:
        """Call `readable` when `source` has something, until `forget`."""
        self._selector.register(source, selectors.EVENT_READ, readable)

    def forget(self, source: socket.socket) -> None:
        """Stop watching `source`."""
        self._selector.unregister(source)

    def aside(self, work: Callable[[], object], then: Callable[[], None]) -> None:
        """Do `work` in another thread, without the lock, and afterwards call `then` as the loop calls everything."""

        def done(_: object) -> None:
            self._done.append(then)
            self.wake()

        self._hands.submit(work).add_done_callback(done)

    def wake(self) -> None:
        """Have the loop tick now. Safe from any thread."""
        try:
            self._outer.send(b"\0")
        except BlockingIOError:
            return  # it is being woken already

    def stop(self) -> None:
        """Have `run` return. Safe from any thread."""
        self._stopping = True
        self.wake()

    def settle(self) -> None:
        """Wait for what is done aside; no more of it is taken."""
        self._hands.shutdown()

    def close(self) -> None:
        """Give back what the loop holds, once `run` has returned."""
        self.settle()
        self._selector.close()
        self._inner.close()
        self._outer.close()

    def run(self) -> None:
        """Work until `stop`."""
        while not self._stopping:
            with self._lock:
                while self._done:
                    self._done.popleft()()
                due = self._tick()
            wait = None if due is None else min(max(0.0, due - self._clock()), MAX_WAIT)
            for key, _ in self._selector.select(wait):
                with self._lock:
                    # One callback may have made another's source go away.
                    if key.fd in self._selector.get_map():
                        key.data()

    def _drain(self) -> None:
        try:
            self._inner.recv(4096)
        except BlockingIOError:
            return
