"""A process whose pipes never block whoever holds them."""

import contextlib
import os
import selectors
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

CHUNK = 1 << 16  # what a pipe holds
DRAINED = 16  # chunks that are read from one at the end


class Watch(Protocol):
    """Whoever waits for files to be ready, and calls back."""

    def watch(self, descriptor: int, event: int, ready: Callable[[], object]) -> None:
        """Call `ready` whenever `descriptor` is, for `selectors.EVENT_READ` or `EVENT_WRITE`."""

    def forget(self, descriptor: int) -> None:
        """Call no more; may be repeated."""


class Food(Protocol):
    """What a child is fed."""

    def pass_on(self, pipe: int) -> None:
        """Write all that is left.

        Raises:
            BlockingIOError: the pipe is full.
            OSError: nobody reads it any more.
        """


class Text:
    """Some bytes."""

    def __init__(self, text: bytes) -> None:
        self._left = memoryview(text)

    def pass_on(self, pipe: int) -> None:  # noqa: D102 - Food says it, here and below
        while self._left:
            self._left = self._left[os.write(pipe, self._left) :]


class File:
    """The whole of a file, which many children may be fed from at once."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._offset = 0

    def pass_on(self, pipe: int) -> None:  # noqa: D102
        while self._offset < self._size:
            passed = os.sendfile(pipe, self._descriptor, self._offset, self._size - self._offset)
            if not passed:
                raise OSError("the staged content has become shorter")
            self._offset += passed


class Child:
    """A process and its pipes.

    Args:
        command: program and arguments.
        environment: what it finds; None for what this process has.
        watch: whoever calls back; all that is here must be called by its thread.
        on_stdout: gets what it writes, as it comes.
        on_stderr: likewise.
        on_end: gets its exit code, negative for a signal, once all that it wrote has been passed on.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        watch: Watch,
        *,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_end: Callable[[int], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C at the terminal is for us to answer, and nothing may be asked there.
        self._process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=environment,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: S101, PT018 - as asked for
        self._watch = watch
        self._on_end = on_end
        self._meals: deque[tuple[Food, Callable[[], None]]] = deque()
        self._pidfd = -1
        self._stdin = self._process.stdin.fileno()
        self._readers = {self._process.stdout.fileno(): on_stdout, self._process.stderr.fileno(): on_stderr}
        try:
            self._begin()
        except OSError:
            self.discard()
            raise

    def _begin(self) -> None:
        for descriptor in (self._stdin, *self._readers):
            os.set_blocking(descriptor, False)
        # Not the end of its output: what it left running may hold that open.
        self._pidfd = os.pidfd_open(self._process.pid)
        for descriptor in self._readers:
            self._watch.watch(descriptor, selectors.EVENT_READ, partial(self._read, descriptor))
        self._watch.watch(self._pidfd, selectors.EVENT_READ, self._exited)

    def feed(self, food: Food, on_fed: Callable[[], None]) -> None:
        """Write `food` as fast as it is taken, after what came before, then call `on_fed`; its stdin stays open."""
        self._meals.append((food, on_fed))
        if len(self._meals) == 1:
            self._watch.watch(self._stdin, selectors.EVENT_WRITE, self._serve)

    def _serve(self) -> None:
        food, on_fed = self._meals[0]
        try:
            food.pass_on(self._stdin)
        except BlockingIOError:
            return
        except OSError as error:
            self._watch.forget(self._stdin)
            if not isinstance(error, BrokenPipeError):  # that it has ended is told by itself; else it lacks content
                self.kill()
            return
        self._meals.popleft()
        if not self._meals:
            self._watch.forget(self._stdin)
        on_fed()

    def say(self, text: bytes) -> None:
        """Write a few bytes, if they are taken at once."""
        with contextlib.suppress(OSError):
            os.write(self._stdin, text)

    def kill(self) -> None:
        """End it, and what it has started to reach its peer; `on_end` will be told."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def discard(self) -> None:
        """End it, and tell nobody."""
        self.kill()
        self._close()

    def _read(self, descriptor: int) -> bool:
        """Pass on one chunk; returns whether there may be more."""
        try:
            chunk = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._watch.forget(descriptor)
            return False
        self._readers[descriptor](chunk)
        return True

    def _exited(self) -> None:
        for descriptor in self._readers:  # what is in the pipe; who still has it open may write for ever
            for _ in range(DRAINED):
                if not self._read(descriptor):
                    break
        self._on_end(self._close())

    def _close(self) -> int:
        """Let go of all that it took, and tell its exit code; it has ended, or will at once."""
        for descriptor in (self._pidfd, self._stdin, *self._readers):
            self._watch.forget(descriptor)
        if self._pidfd >= 0:
            os.close(self._pidfd)
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe  # noqa: S101 - as asked for
            pipe.close()
        return code
