"""Carry out a plan in front of the user: events to the view, then the report, then the exit code.

rich takes 40 ms to import, which programs that read JSON do not wait for.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import click

from ssm_deployer.cli.screen import console
from ssm_deployer.cli.stop import Interrupts
from ssm_deployer.cli.unbroken import unbroken
from ssm_deployer.errors import ExitCode
from ssm_deployer.events import Event, Run, RunStarted, apply, begin, exit_status
from ssm_deployer.model import Plan
from ssm_deployer.runner import Backend, deploy
from ssm_deployer.views.leaving import aftermath, left_at_once
from ssm_deployer.views.lines import JsonView, PlainView
from ssm_deployer.views.words import has_marks

if TYPE_CHECKING:
    from ssm_deployer.views.live import LiveView

    View = LiveView | PlainView | JsonView


def drive(plan: Plan, backends: Mapping[str, Backend], output: str, aws: str) -> int:
    """Deploy, show, report; returns the exit code.

    Args:
        plan: what to do.
        backends: how, by `Target.via`.
        output: `auto`, `plain` or `json`.
        aws: the command that shows and stops by hand what a run leaves; empty where it can leave nothing.
    """
    runs: list[Run] = []
    view: View | None = None

    def leave() -> str:
        with suppress(RuntimeError):  # the signal may have come while something was written to the screen
            if view is not None:
                view.__exit__(None, None, None)
        lines = left_at_once(runs[0], aws) if runs else ["left before anything was sent"]
        return "".join(f"{line}\n" for line in lines)

    with unbroken(), Interrupts(leave) as interrupts:
        view = _view(output, interrupts)
        # Closed here if the view fails: what wakes the clock must have ended before the clock has.
        with view, closing(deploy(plan, backends, interrupts, interrupts)) as events:
            for event in events:
                runs[:] = [_after(runs, event)]
                view.show(event, runs[0])
        run = runs[0]
        if output != "json":
            _report(run)
        _complain(run, aws)
    return exit_status(run)


def _view(output: str, interrupts: Interrupts) -> "View":
    if output == "json":
        return JsonView(_write_line)
    screen = console()
    drawable = screen.is_terminal and os.environ.get("TERM") != "dumb" and has_marks(screen.encoding)
    if output == "plain" or not drawable:
        return PlainView(_write_line)
    from ssm_deployer.views.live import LiveView  # noqa: PLC0415 - see above

    return LiveView(screen, interrupts.now)


def _report(run: Run) -> None:
    from ssm_deployer.views.report import report  # noqa: PLC0415 - see above

    screen = console()
    for line in report(run):
        screen.print(line)


def _write_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()  # a reader of our pipe follows the run as it happens


def _after(runs: list[Run], event: Event) -> Run:
    if isinstance(event, RunStarted):
        return begin(event)
    return apply(runs[0], event)


def _complain(run: Run, aws: str) -> None:
    if run.aborted is not None:
        if run.aborted.exit_code == ExitCode.INTERRUPTED:
            return
        click.echo(f"error: {run.aborted.message}", err=True)
    for line in aftermath(run, aws):
        click.echo(line, err=True)
