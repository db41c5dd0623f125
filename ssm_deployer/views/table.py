"""The table of a plan: who is meant, how each is reached, and what will be done."""

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ssm_deployer.model import Plan, Target
from ssm_deployer.selector import Host
from ssm_deployer.views.words import count, duration, one_line, run_line, size

UNBOUNDED = 10_000


class TargetsTable:
    """One row a target: id, name, state, platform, and how it is reached or why not.

    Where a row has no room for all of that, its last column says it in several lines, so that nothing is cut.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        # The region is worth a column where it tells targets apart.
        several = len({target.region for target in targets} - {""}) > 1
        self._facts = ("name", *(["region"] if several else []), "state", "platform")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it as wide as the screen allows."""
        wide = self._wide()
        fits = Measurement.get(console, options.update(max_width=UNBOUNDED), wide).maximum <= options.max_width
        yield wide if fits else self._narrow()

    def _wide(self) -> Table:
        table = _table("target", *self._facts, "reached by")
        for target in self._targets:
            facts = (_cell(getattr(target, fact)) for fact in self._facts)
            table.add_row(Text(target.id), *facts, _reach(target))
        return table

    def _narrow(self) -> Table:
        table = _table("target", "reached by")
        table.columns[0].no_wrap = True
        for target in self._targets:
            known = _cell(", ".join(filter(None, (getattr(target, fact) for fact in self._facts))))
            table.add_row(Text(target.id), Text("\n").join(part for part in (known, _reach(target)) if part))
        return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cell(text: str) -> Text:
    return Text(one_line(text))  # a str would be taken for markup


def _reach(target: Target) -> Text:
    if not target.reachable:
        return Text(f"not reached: {target.reason}", style="yellow")
    if target.via != "ssh":
        return Text(target.via)
    login = f"ssh {one_line(Host(target.address, target.user, target.port).login)}"
    return Text(f"{login}; not ssm: {target.why}" if target.why else login)


def plan_view(plan: Plan) -> RenderableType:
    """What `--dry-run` shows."""
    parts: list[RenderableType] = [
        Text(run_line(plan), style="bold"),
        Text(f"script: {', '.join(_script(plan))}"),
        Text(f"files: {files_line(plan)}"),
    ]
    if plan.staging:
        parts.append(Text(f"staging: {plan.staging} (emptied when the run ends)"))
    if plan.wave:
        parts.append(Text(f"waves: {', '.join(_waves(plan))}"))
    parts += [Text(f"note: {one_line(note)}", style="yellow") for note in plan.notes]
    reachable = sum(target.reachable for target in plan.targets)
    parts += [Text(f"targets: {reachable} of {count(len(plan.targets), 'target')} can be reached"), Text()]
    parts.append(TargetsTable(plan.targets))
    if plan.left_out:
        parts += [Text(), Text("left out of `all`:"), TargetsTable(plan.left_out)]
    return Group(*parts)


def _script(plan: Plan) -> Iterator[str]:
    yield one_line(plan.script)
    given = {"argument": plan.argument_count, "variable": plan.variable_count}
    if any(given.values()):
        yield f"with {' and '.join(count(number, noun) for noun, number in given.items() if number)}"
    if plan.run_as:
        yield f"as {one_line(plan.run_as)}"
    if plan.timeout:
        yield f"for at most {duration(plan.timeout)}"


def _waves(plan: Plan) -> Iterator[str]:
    yield f"{count(plan.wave, 'target')} at a time"
    if plan.max_failures is not None:
        yield f"and no further one after more than {count(plan.max_failures, 'failure')}"


def files_line(plan: Plan) -> str:
    """The folder that goes along, with its size."""
    if not plan.files:
        return "none"
    entries = f"{plan.file_count} entries" if plan.file_count != 1 else "1 entry"
    return f"{one_line(plan.files)} ({entries}, {size(plan.file_bytes)})"
