"""The one thread that owns all ssh processes: it starts them, a bounded number at a time, and hears them."""

import os
import resource
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from ssm_deployer.backends.access import Access
from ssm_deployer.backends.connection import Connection
from ssm_deployer.backends.errand import Errand
from ssm_deployer.errors import DeployError
from ssm_deployer.model import Target

HANDS = 8  # how many targets' access may be prepared at once, which may take a call to a service each
FILES_EACH = 8  # a child's pipes, what it is watched by, and what starting it takes for a moment
FILES_APART = 64


class Connections:
    """Implements `child.Watch` for its connections.

    Args:
        most: how many there may be at once.
        access: how each target is reached.
        on_change: called, by the thread, when some connection has news.
    """

    def __init__(self, most: int, access: Access, on_change: Callable[[], None]) -> None:
        self._most = min(most, _affordable(most))
        self._access = access
        self._on_change = on_change
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._woken, selectors.EVENT_READ, self._drain)
        self._asked: deque[Callable[[], object]] = deque()
        self._waiting: deque[Connection] = deque()
        self._live: set[Connection] = set()
        self._number = 0
        self._closing = False
        self._closed = False
        self._hands = ThreadPoolExecutor(HANDS, "access")
        self._thread = ThreadPoolExecutor(1, "connections")
        self._working = self._thread.submit(self._work)
        self._working.add_done_callback(lambda _: on_change())

    # -- for other threads

    def start(self, targets: Sequence[Target], errand: Errand) -> list[Connection]:
        """Connect to these targets as soon as it is their turn."""
        made = [self._connection(target, errand) for target in targets]
        self._ask(lambda: self._waiting.extend(made))
        return made

    def cancel(self, connections: Sequence[Connection]) -> None:
        """Stop what these do."""
        for connection in connections:
            self._ask(connection.cancel)

    @property
    def failure(self) -> BaseException | None:
        """The bug that ended the thread, if one did: nothing more will come."""
        return self._working.exception() if self._working.done() else None

    def close(self) -> None:
        """End every process and the thread; may be repeated."""
        if self._closed:
            return
        self._ask(self._abandon)
        self._thread.shutdown()
        self._closed = True
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    def _ask(self, step: Callable[[], object]) -> None:
        self._asked.append(step)
        with suppress(BlockingIOError):  # then it is awake anyway
            os.write(self._wake, b"\0")

    # -- for the connections (child.Watch)

    def watch(self, descriptor: int, event: int, ready: Callable[[], object]) -> None:
        """Call `ready` whenever `descriptor` is."""
        self._selector.register(descriptor, event, ready)

    def forget(self, descriptor: int) -> None:
        """Call no more."""
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    # -- the thread

    def _work(self) -> None:
        try:
            while not (self._closing and not self._live):
                self._turn()
        finally:  # nothing is live here, unless a bug has ended this
            for connection in self._live:
                connection.discard()
            self._hands.shutdown(cancel_futures=True)

    def _turn(self) -> None:
        self._start_more()
        for key, _ in self._selector.select(self._pause()):
            if self._selector.get_map().get(key.fd) is key:  # an earlier one may have ended it, and a new file be it
                key.data()
        self._tick()

    def _pause(self) -> float | None:
        due = [connection.due for connection in self._live]
        if len(self._live) < self._most:
            due += [connection.resting_until for connection in self._waiting]
        nearest = min(due, default=float("inf"))
        return None if nearest == float("inf") else max(nearest - time.monotonic(), 0.0)

    def _drain(self) -> None:
        os.read(self._woken, 4096)
        while self._asked:
            self._asked.popleft()()

    def _start_more(self) -> None:
        """Fill the free places, with those first that need not rest."""
        while self._waiting and len(self._live) < self._most and not self._closing:
            connection = self._waiting.popleft()
            if connection.over:
                continue
            if connection.resting_until > time.monotonic():
                self._waiting.append(connection)
                if all(each.resting_until > time.monotonic() for each in self._waiting):
                    return
                continue
            self._live.add(connection)
            self._hands.submit(self._access.options, connection.target).add_done_callback(
                partial(self._prepared, connection)
            )

    def _prepared(self, connection: Connection, access: Future[Sequence[str]]) -> None:
        self._ask(lambda: self._begin(connection, access))

    def _begin(self, connection: Connection, access: Future[Sequence[str]]) -> None:
        if connection.over or self._closing:
            self._leave(connection)
            return
        match access.exception():
            case None:
                connection.begin(access.result())
            case DeployError() as error:
                connection.fail("NoAccess", f"{error.message}; {error.hint}" if error.hint else error.message)
            case bug:
                detail = f"internal error: {type(bug).__name__}: {bug}; please report it"
                connection.fail("NoAccess", detail)

    def _connection(self, target: Target, errand: Errand) -> Connection:
        self._number += 1
        made: list[Connection] = []
        made.append(
            Connection(
                target,
                errand,
                self._number,
                self,
                time.monotonic,
                on_change=lambda: self._changed(made[0]),
            )
        )
        return made[0]

    def _changed(self, connection: Connection) -> None:
        if connection.over:
            self._leave(connection)
        elif connection.resting_until > time.monotonic() and connection in self._live:
            self._leave(connection)
            self._waiting.append(connection)
        self._on_change()

    def _leave(self, connection: Connection) -> None:
        self._live.discard(connection)

    def _tick(self) -> None:
        now = time.monotonic()
        for connection in [each for each in self._live if each.due <= now]:
            connection.tick()

    def _abandon(self) -> None:
        self._closing = True
        for connection in list(self._live):
            connection.abandon()


def _affordable(connections: int) -> int:
    """How many connections the limit on open files allows, after raising it as far as one may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * FILES_EACH + FILES_APART
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max((soft - FILES_APART) // FILES_EACH, 1)
