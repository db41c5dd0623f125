"""What comes from a target: both streams, within bounds, and the lines of the payload that are waited for in them."""

from collections import deque
from collections.abc import Callable, Iterable

MOST_STDOUT = 1 << 18  # bytes; record and extract have 30 kB at the most
MOST_NOISE = 1 << 14  # of what comes before the greeting, which may be anything
MOST_STDERR = 1 << 16


class Transcript:
    """What one connection has brought so far.

    Args:
        greeting: the line, with its end, after which the payload speaks, on both streams.
        cues: lines of standard output, with their ends, and what each is answered by; they are waited for one after
            the other. The first is the greeting.
    """

    def __init__(self, greeting: bytes, cues: Iterable[tuple[bytes, Callable[[], None]]]) -> None:
        self._greeting = greeting
        self._cues = deque(cues)
        self._greeted = False
        self._stdout = bytearray()
        self._stderr = bytearray()

    def take_stdout(self, chunk: bytes) -> None:
        """Hear what is in it, and answer."""
        self._stdout += chunk
        while self._cues and self._hear():
            pass
        if self._greeted:
            del self._stdout[MOST_STDOUT:]
        else:
            del self._stdout[:-MOST_NOISE]

    def take_stderr(self, chunk: bytes) -> None:
        """Keep the end of it."""
        self._stderr += chunk
        del self._stderr[:-MOST_STDERR]

    def stop_listening(self) -> None:
        """Answer nothing any more."""
        self._cues.clear()

    @property
    def stdout(self) -> str:
        """What came after the last cue that was heard; before there is one, the end of all that came."""
        return self._stdout.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What came after the greeting, before which are banners and what profile files print; else the end of all."""
        _, greeting, since = self._stderr.partition(self._greeting)
        return (since if greeting else self._stderr).decode(errors="replace")

    def _hear(self) -> bool:
        """Answer the line that is waited for, if it has come, and forget it and what was before it."""
        cue, answer = self._cues[0]
        _, found, rest = self._stdout.partition(cue)
        if found:
            self._greeted = True
            self._cues.popleft()
            self._stdout = rest
            answer()
        return bool(found)
