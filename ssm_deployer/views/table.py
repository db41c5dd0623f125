"""The table of a plan: who is meant, how each is reached, and what will be done."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ssm_deployer.model import Plan, Target
from ssm_deployer.views.words import count, one_line, size


def targets_table(targets: Iterable[Target]) -> Table:
    """One row a target: id, name, state, platform, and how it is reached or why not."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in ("target", "name", "state", "platform"):
        table.add_column(column, no_wrap=True)
    table.add_column("reached by", overflow="fold")
    for target in targets:
        cells = (target.id, target.name, target.state, target.platform)
        reach = Text(target.via) if target.reachable else Text(f"not reached: {target.reason}", style="yellow")
        table.add_row(*(Text(one_line(cell)) for cell in cells), reach)  # a str would be taken for markup
    return table


def plan_view(plan: Plan) -> RenderableType:
    """What `--dry-run` shows."""
    parts: list[RenderableType] = [
        Text(f"run {plan.run_id} in {plan.region}", style="bold"),
        Text(f"script: {one_line(plan.script)}"),
        Text(f"files: {files_line(plan)}"),
    ]
    if plan.staging:
        parts.append(Text(f"staging: {plan.staging} (emptied when the run ends)"))
    parts += [Text(f"note: {one_line(note)}", style="yellow") for note in plan.notes]
    reachable = sum(target.reachable for target in plan.targets)
    parts += [Text(f"targets: {reachable} of {count(len(plan.targets), 'target')} can be reached"), Text()]
    parts.append(targets_table(plan.targets))
    if plan.left_out:
        parts += [Text(), Text("left out of `all`:"), targets_table(plan.left_out)]
    return Group(*parts)


def files_line(plan: Plan) -> str:
    """The folder that goes along, with its size."""
    if not plan.files:
        return "none"
    entries = f"{plan.file_count} entries" if plan.file_count != 1 else "1 entry"
    return f"{one_line(plan.files)} ({entries}, {size(plan.file_bytes)})"
