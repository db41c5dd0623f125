"""The example deployed in a sandbox by the command line itself, in this process, noting when each step ends."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any, NoReturn
from unittest import mock

ARGUMENTS = ["upload-script", "examples/deploy_with_files_example.sh", "--sandbox", "--yes", "--output", "json"]
# The event with which each step ends; of several the last.
STEPS = {
    "plan": "run-started",
    "stage": "staging-finished",
    "send": "sent",
    "verdicts": "invocation-changed",
    "clean": "run-finished",
}


def of(started: float) -> dict[str, float]:
    """Seconds to the end of each step, in their order, since this process was started (as `time.time` tells it)."""
    ends = {"interpreter": time.time()}
    from ssm_deployer import targets  # noqa: PLC0415 - all of this after the clock was read
    from ssm_deployer.cli import main, upload_script, wire  # noqa: F401, PLC0415
    from ssm_deployer.sandbox import launch  # noqa: PLC0415

    ends["imports"] = time.time()
    written = StringIO()
    marked = {
        (launch, "throwaway"): _noting_start(ends, launch.throwaway),
        (wire, "resolve"): _noting_end(ends, targets.resolve),
    }
    with redirect_stdout(written), _replaced(marked):
        code = _run(main.main)
    if code:
        sys.exit(f"the example ended with {code}: {written.getvalue()}")
    events = {event["type"]: event["time"] for event in map(json.loads, written.getvalue().splitlines())}
    ends |= {step: events[last] for step, last in STEPS.items()}
    return {step: moment - started for step, moment in ends.items()}


def _run(main: Callable[[list[str]], NoReturn]) -> Any:
    try:
        main([*ARGUMENTS, "--", "one", "two words"])
    except SystemExit as end:
        return end.code


@contextmanager
def _replaced(marked: Mapping[tuple[Any, str], object]) -> Iterator[None]:
    patches = [mock.patch.object(module, name, replacement) for (module, name), replacement in marked.items()]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def _noting_start(ends: dict[str, float], throwaway: Callable[[int], Any]) -> Callable[[int], Any]:
    @contextmanager
    def noting(size: int) -> Iterator[Any]:
        ends["settings and files"] = time.time()
        with throwaway(size) as account:
            ends["sandbox"] = time.time()
            yield account

    return noting


def _noting_end(ends: dict[str, float], resolve: Callable[..., Any]) -> Callable[..., Any]:
    def noting(*arguments: Any) -> Any:
        found = resolve(*arguments)
        ends["resolve"] = time.time()
        return found

    return noting
