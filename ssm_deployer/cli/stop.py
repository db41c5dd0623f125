"""Ctrl-C, SIGTERM and the clock that wakes for them."""

import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Implements `runner.Stop` and `runner.Clock`: the first signal asks the run to stop, the second leaves at once.

    Args:
        leave: is called before the process ends at the second signal; it says what still runs.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._asked = False
        # A threading.Event would do but for its lock: the handler runs in the very thread that waits, and might find
        # it taken, for ever.
        self._woken, self._wake = os.pipe()
        self._before: dict[signal.Signals, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._asked

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Sleep; the first signal wakes."""
        if self._asked:
            time.sleep(seconds)
        else:
            select.select([self._woken], [], [], seconds)

    def __enter__(self) -> Self:
        self._before = {each: signal.signal(each, self._receive) for each in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]  # what signal.signal itself returned
        os.close(self._woken)
        os.close(self._wake)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        if not self._asked:
            self._asked = True
            os.write(self._wake, b"!")
            return
        try:
            self._leave()
        finally:
            os._exit(130)  # at once: no thread, no transfer and no clean-up is waited for
