"""The live screen: a pure function of the run, drawn again and again by rich."""

from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ssm_deployer.events import Event, Run, RunStarted, begin
from ssm_deployer.model import Invocation
from ssm_deployer.views.words import MARKS, URGENCY, called, duration, elapsed, last_line, one_line, run_line, size

FRAMES_PER_SECOND = 8
SPARE_COLUMNS = len("^C")  # which a terminal shows behind the last line: in the next it would put rich out of step
SPARE_LINES = 5  # for the head, the sum and the prompt: a table higher than the screen would scroll it


def render(run: Run, now: float, height: int) -> RenderableType:
    """The screen at the moment `now` (seconds since the epoch), in at most `height` lines."""
    room = max(height - SPARE_LINES, 1)
    shown = list(run.invocations.values())
    if len(shown) > room:
        shown.sort(key=lambda invocation: URGENCY.index(invocation.status))
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    for column in ("mark", "target", "status", "elapsed"):
        table.add_column(column, no_wrap=True)
    table.add_column("last line", no_wrap=True, overflow="ellipsis", ratio=1)  # what the others leave
    for invocation in shown[:room]:
        _add_row(table, run, invocation, now)
    parts: list[RenderableType] = [_head(run, now), table]
    if len(shown) > room:
        counts = Counter(str(invocation.status) for invocation in shown[room:])
        rest = ", ".join(f"{number} {status}" for status, number in counts.most_common())
        parts.append(_line(f"  and {len(shown) - room} more: {rest}", "dim"))
    return Group(*parts)


def _head(run: Run, now: float) -> Text:
    spent = duration((run.ended or now) - run.started)
    if run.aborted is not None:
        doing = "stopped"
    elif run.cancelled:
        doing = "cancelling; Ctrl-C again leaves at once"
    elif not run.staged:
        doing = f"staging the files, {size(run.staged_bytes)} sent"
    elif run.cleaned:
        doing = "reading longer output"
    elif not run.open:
        doing = "cleaning up"
    else:
        done = len(run.invocations) - len(run.open)
        doing = f"{done} of {len(run.invocations)} done"
    return _line(f"{doing} · {spent} · {run_line(run.plan)}", "bold")


def _line(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _add_row(table: Table, run: Run, invocation: Invocation, now: float) -> None:
    mark, style = MARKS[invocation.status]
    spent = elapsed(run, invocation.target, now)
    table.add_row(
        Text(mark, style=style),
        Text(called(run, invocation.target)),  # a str would be taken for markup
        Text(str(invocation.status), style=style),
        "" if spent is None else duration(spent),
        Text(one_line(invocation.detail) or last_line(invocation), style="dim"),
    )


class LiveView:
    """Shows a run on a terminal while it happens.

    Args:
        console: the terminal.
        now: the clock that drew the events' times.
    """

    def __init__(self, console: Console, now: Callable[[], float]) -> None:
        self._console = console
        self._now = now
        self._run: Run | None = None
        self._live = Live(
            console=console, get_renderable=self._frame, refresh_per_second=FRAMES_PER_SECOND, transient=True
        )

    def show(self, event: Event, run: Run) -> None:
        """Take note of the run as it is after `event`."""
        self._run = run if not isinstance(event, RunStarted) else begin(event)
        if isinstance(event, RunStarted):  # above the table, where they stay
            for note in event.plan.notes:
                self._console.print(Text(f"note: {one_line(note)}", style="yellow"))

    def _frame(self) -> RenderableType:
        run = self._run  # drawn by rich's thread; the value is immutable, so one look at it is consistent
        if run is None:
            return Text()
        console = self._console
        return Constrain(render(run, self._now(), console.height), console.width - SPARE_COLUMNS)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
