"""Output that nobody takes any more, which must not end a run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


@contextmanager
def unbroken() -> Iterator[None]:
    """Keep a run going when whoever reads its output goes away (`| head`, a closed terminal) or takes no more."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Unbroken(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Unbroken:
    """A stream that goes nowhere from the first failed write on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        # What the stream still holds must go somewhere, too: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if self._stream is sys.__stdout__:
            print("what the run tells cannot be written any more; it goes on", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)
