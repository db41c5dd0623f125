"""Waiting for what other processes do."""

import time
from collections.abc import Callable


def until(true: Callable[[], object], seconds: float = 20) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
