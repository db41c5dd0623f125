"""The end of a run in words: failures first with the tail of their output, equal outputs folded, one line of sum."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from rich.text import Text

from ssm_deployer.events import Run
from ssm_deployer.model import Invocation, Status
from ssm_deployer.views.words import MARKS, URGENCY, called, count, duration, elapsed, one_line, printable, size

TAIL_LINES = 20
WHOLE_LINES = 60
SHOWN_TARGETS = 8

_ORDER = list(Status)
_LEFT_OUT = re.compile(r"\[\.\.\. (\d{1,18}) bytes left out\]")  # payload/run.sh puts it in their place


def report(run: Run) -> Iterator[Text]:
    """The lines of the report, styled."""
    groups = _groups(run)
    for group in groups:
        yield from _group_lines(run, group)
    for note in run.notes:  # those of the plan were told when it began
        yield Text(f"noted on the way: {one_line(note)}", style="yellow")
    for leftover in run.leftovers:
        yield Text(f"left behind: {one_line(leftover)}", style="red")
    yield _summary(run)


def _groups(run: Run) -> list[list[Invocation]]:
    """Invocations with the same end and the same output, the most urgent first, then the largest groups."""
    folded: dict[object, list[Invocation]] = defaultdict(list)
    for invocation in run.invocations.values():
        folded[_sameness(invocation)].append(invocation)
    return sorted(folded.values(), key=lambda group: (URGENCY.index(group[0].status), -len(group), group[0].target))


def _sameness(invocation: Invocation) -> object:
    record = invocation.record
    if record is None or not record.stdout_sha256 or not record.stderr_sha256:
        return invocation.status, invocation.detail, invocation.stdout, invocation.stderr
    return invocation.status, invocation.detail, record.stdout_sha256, record.stderr_sha256


def _group_lines(run: Run, group: Sequence[Invocation]) -> Iterator[Text]:
    # Among equals the one whose extract is whole says the most.
    best = min(group, key=lambda invocation: invocation.partial)
    mark, style = MARKS[best.status]
    detail = f": {one_line(best.detail)}" if best.detail else ""
    yield Text(f"{mark} {_names(run, group)} {best.status}{detail}{_timing(run, group)}", style=style)
    failed = best.status is not Status.SUCCEEDED
    if best.stderr.strip():
        yield from _extract("stderr", best.stderr, TAIL_LINES)
    if best.stdout.strip():
        yield from _extract("stdout", best.stdout, TAIL_LINES if failed else WHOLE_LINES)
    if best.partial:
        yield Text("  (the end of this output was cut on its way)", style="dim")
    yield Text()


def _names(run: Run, group: Sequence[Invocation]) -> str:
    names = [called(run, invocation.target) for invocation in group[:SHOWN_TARGETS]]
    if len(group) == 1:
        return names[0]
    more = f" and {len(group) - SHOWN_TARGETS} more" if len(group) > SHOWN_TARGETS else ""
    return f"{count(len(group), 'target')} alike ({', '.join(names)}{more})"


def _timing(run: Run, group: Sequence[Invocation]) -> str:
    spans = [span for each in group if (span := elapsed(run, each.target, run.ended or run.started)) is not None]
    if not spans:
        return ""
    low, high = duration(min(spans)), duration(max(spans))
    return f" ({low})" if low == high else f" ({low} to {high})"


def _extract(name: str, text: str, limit: int) -> Iterator[Text]:
    left_out, lines = _lines(text)
    hidden = len(lines) - limit
    above = [count(hidden, "line")] if hidden > 0 else []
    above += [size(left_out)] if left_out else []
    if above:
        yield Text(f"  {name} ┊ … {' and '.join(above)} above", style="dim")
    for line in lines[-limit:]:
        yield Text.assemble((f"  {name} │ ", "dim"), line)


def _lines(text: str) -> tuple[int, list[str]]:
    """How many bytes the payload left out of what a script wrote, and the lines that it did not."""
    lines = printable(text).splitlines()
    cut = _LEFT_OUT.fullmatch(lines[0]) if lines else None
    return (int(cut[1]), lines[1:]) if cut else (0, lines)


def _summary(run: Run) -> Text:
    counts = Counter(invocation.status for invocation in run.invocations.values())
    parts = [f"{counts[status]} {status}" for status in _ORDER if counts[status]]
    all_good = run.invocations and counts[Status.SUCCEEDED] == len(run.invocations) and run.aborted is None
    took = duration((run.ended or run.started) - run.started)
    staged = f" · {size(run.staged_bytes)} staged" if run.staged_bytes else ""
    line = f"{', '.join(parts) or 'no target'} of {count(len(run.invocations), 'target')} · {took}{staged}"
    return Text(f"{line} · run {run.plan.run_id}", style="bold green" if all_good else "bold red")
