"""Output that nobody takes any more: the end of a command, but not of a run."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ssm_deployer.errors import DeployError


@contextmanager
def ending() -> Iterator[None]:
    """End a command whose output cannot be written.

    Raises:
        DeployError: what the output goes to takes no more.
        BrokenPipeError: whoever read the output has gone, and needs no words.
    """
    with _watched(_end):
        yield


@contextmanager
def unbroken() -> Iterator[None]:
    """Keep a run going when whoever reads its output goes away (`| head`, a closed terminal) or takes no more."""
    with _watched(_go_on):
        yield


def open_closed() -> None:
    """Give those streams that came closed (`>&-`) something to be, so that everybody may use them."""
    # In the order of their numbers: each gets the lowest that is free.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - it stays open to the end


@contextmanager
def _watched(lost: Callable[[OSError], None]) -> Iterator[None]:
    before = sys.stdout, sys.stderr
    sys.stdout = _Watched(_bare(sys.stdout), lost)
    sys.stderr = _Watched(_bare(sys.stderr), _say_nothing)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _end(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise error
    raise DeployError(f"cannot write the output: {error.strerror}", "make room, or send it somewhere else") from error


def _go_on(_: OSError) -> None:
    print("what the run tells cannot be written any more; it goes on", file=sys.stderr)


def _say_nothing(_: OSError) -> None:
    """There is nowhere left to say it."""


class _Watched:
    """A stream that goes nowhere from the first failed write on, which `lost` hears of."""

    def __init__(self, bare: TextIO, lost: Callable[[OSError], None]) -> None:
        self.bare = bare
        self._lost = lost

    def write(self, text: str) -> int:
        if text == "":  # as click does to see whether it may, and swallows the answer
            return 0
        try:
            return self.bare.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self.bare.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # What the stream still holds must go somewhere, too: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.bare.fileno())
        os.close(nowhere)
        self._lost(error)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self.bare, name)


def _bare(stream: TextIO) -> TextIO:
    return stream.bare if isinstance(stream, _Watched) else stream
