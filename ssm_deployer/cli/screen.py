"""The consoles that commands write to."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPE_COLUMNS = 1000  # no line is broken for a reader that is no terminal


def console(*, stderr: bool = False) -> "Console":
    """A console that leaves lines whole and colours nothing by guessing."""
    from rich.console import Console  # noqa: PLC0415 - 40 ms that only what is looked at needs

    found = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not found.is_terminal:
        found.width = PIPE_COLUMNS
    return found
