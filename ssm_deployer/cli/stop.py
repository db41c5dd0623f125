"""Ctrl-C, SIGTERM and the clock that wakes for them."""

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Implements `runner.Stop` and `runner.Clock`: the first signal asks the run to stop, the second leaves at once.

    Args:
        leave: gives what to tell before the process ends at the second signal: what still runs.
    """

    def __init__(self, leave: Callable[[], str]) -> None:
        self._leave = leave
        self._asked = False
        self._before: dict[signal.Signals, object] = {}
        self._began = time.time() - _uptime()

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._asked

    def now(self) -> float:
        """Seconds since the epoch, by the wall clock as it was in the beginning; who sets it later changes nothing."""
        return self._began + _uptime()

    def wait(self, seconds: float) -> None:
        """Sleep; a signal and `wake` end it."""
        if select.select([self._woken], [], [], seconds)[0]:
            os.read(self._woken, 4096)

    def wake(self) -> None:
        """End the present or the next sleep; safe from any thread."""
        with suppress(BlockingIOError):  # full of wakes already
            os.write(self._wake, b"\0")

    def __enter__(self) -> Self:
        # Python runs a handler only between two of its own steps, so one that arrives just before a sleep would wait
        # for its end. What the interpreter writes here at once, in the signal itself, is what ends the sleep.
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        # What is ignored stays so: nohup, and shells for what they start in the background, mean it.
        heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
        self._before = {each: signal.signal(each, self._receive) for each in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]  # what signal.signal itself returned
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._woken)
        os.close(self._wake)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        if not self._asked:
            self._asked = True
            return
        try:
            # Not by print: what it interrupts may be a print, and a buffer takes no second writer meanwhile.
            os.write(sys.stderr.fileno(), self._leave().encode(errors="replace"))
        finally:
            os._exit(130)  # at once: no thread, no transfer and no clean-up is waited for


def _uptime() -> float:
    """Seconds since the machine was started, with those that it slept where the system tells them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
