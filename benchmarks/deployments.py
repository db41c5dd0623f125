"""A whole deployment to a canned fleet (`tests/canned.py`), and the client's CPU for it."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from canned import CannedAws, Fleet, recorded
from fakes import RUN_ID, FakeClock, FakeStop
from rich.console import Console

from ssm_deployer.backends.content import Content, Limits
from ssm_deployer.backends.ssm import SsmBackend
from ssm_deployer.bundle import scan
from ssm_deployer.events import Run, RunStarted, apply, begin
from ssm_deployer.model import Plan
from ssm_deployer.runner import deploy
from ssm_deployer.selector import ALL
from ssm_deployer.staging import Staging
from ssm_deployer.targets import resolve
from ssm_deployer.views.lines import PlainView
from ssm_deployer.views.live import LiveView, render
from ssm_deployer.views.report import report

LIMITS = Limits(script=300, fetch=60, delivery=600, grace=10)
OUTPUT = recorded("a line of output\n" * 120, "the same on all")  # about what a list page has room for
FRAMES = 50


class TimedFleet(Fleet):
    """Takes the time of its own answers, which is no client's."""

    spent = 0.0

    def answer(self, request: Any, event_name: str, **more: object) -> Any:
        begin = time.thread_time()
        answer = super().answer(request, event_name, **more)
        self.spent += time.thread_time() - begin
        return answer


def of(files: Path, size: int, view: str) -> dict[str, Any]:
    """Seconds of CPU of one deployment, of one frame of the live table for it, and the calls made."""
    fleet = TimedFleet(size, lambda _: OUTPUT)
    aws = CannedAws(fleet)
    begin = time.process_time()
    run = _deploy(aws, files, view)
    spent = time.process_time() - begin - fleet.spent
    return {"cpu": spent, "frame": _frame(run), "calls": fleet.calls}


def _deploy(aws: CannedAws, files: Path, view: str) -> Run:
    content = Content(script=b"echo\n", bundle=scan(files))
    backend = SsmBackend([aws], Staging(aws.client("s3"), "bucket", "folder"), RUN_ID, content, LIMITS)
    plan = Plan(run_id=RUN_ID, regions=(aws.region,), script="s.sh", targets=resolve([ALL], [aws]).targets)
    with Path(os.devnull).open("w") as nowhere:
        console = _console(nowhere)
        run = _shown(plan, backend, LiveView(console, time.time) if view == "live" else PlainView(_writer(nowhere)))
        for line in report(run):
            console.print(line)
    return run


def _shown(plan: Plan, backend: SsmBackend, view: LiveView | PlainView) -> Run:
    events = deploy(plan, {"ssm": backend}, FakeClock(), FakeStop())
    first = next(events)
    assert isinstance(first, RunStarted)
    run = begin(first)
    with view:
        view.show(first, run)
        for event in events:
            run = apply(run, event)
            view.show(event, run)
    return run


def _writer(stream: IO[str]) -> Callable[[str], None]:
    def write(line: str) -> None:
        stream.write(line + "\n")
        stream.flush()  # as the command line does

    return write


def _frame(run: Run) -> float:
    with Path(os.devnull).open("w") as nowhere:
        console = _console(nowhere)
        begin = time.process_time()
        for _ in range(FRAMES):
            console.print(render(run, run.started, console.height))
        return (time.process_time() - begin) / FRAMES


def _console(stream: IO[str]) -> Console:
    return Console(file=stream, force_terminal=True, width=120, height=50)
