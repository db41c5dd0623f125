"""A run as lines: in words where there is no terminal, and as JSON for programs."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Self

from ssm_deployer.events import (
    CancelRequested,
    Cleaned,
    Event,
    InvocationChanged,
    Noted,
    Run,
    RunStarted,
    SendIntended,
    StagingFinished,
    to_json,
)
from ssm_deployer.model import Status
from ssm_deployer.views.words import called, count, last_line, one_line, run_line, size


class PlainView:
    """Writes a line of words for every event worth one."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._told: dict[str, str] = {}  # the last line of each target: not all that changes shows

    def show(self, event: Event, run: Run) -> None:
        """Write the lines of one event; `run` already knows of it."""
        stamp = datetime.fromtimestamp(event.time, tz=UTC).strftime("%H:%M:%SZ")
        for line in _lines(event, run):
            if not isinstance(event, InvocationChanged) or self._is_news(event.invocation.target, line):
                self._write(f"{stamp} {line}")

    def _is_news(self, target: str, line: str) -> bool:
        before, self._told[target] = self._told.get(target, ""), line
        return line != before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""


class JsonView:
    """Writes every event as one line of JSON."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def show(self, event: Event, run: Run) -> None:  # noqa: ARG002 - the events say it all
        """Write one event."""
        self._write(to_json(event).decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""


def _lines(event: Event, run: Run) -> Iterator[str]:
    match event:
        case RunStarted():
            yield f"{run_line(run.plan)}: {count(len(run.plan.targets), 'target')}"
            yield from (f"note: {one_line(note)}" for note in run.plan.notes)
        case StagingFinished():
            yield f"staged {size(event.size)}" + (f" in {event.location}" if event.location else "")
        case SendIntended():
            yield f"sending to {count(len(event.targets), 'target')}"
        case InvocationChanged(invocation=invocation):
            why = one_line(invocation.detail) or last_line(invocation)
            stands = invocation.word if invocation.status is Status.PENDING else invocation.status
            yield f"{called(run, invocation.target)}: {stands}" + (f" ({why})" if why else "")
        case CancelRequested():
            yield "cancelling; interrupt once more to leave at once"
        case Noted():
            yield f"note: {one_line(event.message)}"
        case Cleaned():
            yield "staging emptied" if not event.leftovers else f"left behind: {one_line('; '.join(event.leftovers))}"
        case _:
            pass
