"""`ssm-deploy upload-script`: the whole job in one command."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from ssm_deployer import __version__, payload
from ssm_deployer.backends.content import Content
from ssm_deployer.bundle import Bundle, scan, shown
from ssm_deployer.cli.backends import Ways, ways_to
from ssm_deployer.cli.drive import drive
from ssm_deployer.cli.screen import console
from ssm_deployer.cli.wire import Place, place, settings_from
from ssm_deployer.config import Settings, absent
from ssm_deployer.errors import Interrupted, NoTargets, UsageError
from ssm_deployer.events import RunStarted, to_json
from ssm_deployer.model import Plan
from ssm_deployer.targets import Resolution
from ssm_deployer.views.words import count

DEFAULT_FILES = Path("files")


class _Given(msgspec.Struct, frozen=True, kw_only=True):
    """What the user wants to be run, and of what must not be shown the number."""

    script: Path
    content: Content
    arguments: int
    variables: int


def upload_script(script: Path, arguments: tuple[str, ...], options: dict[str, Any]) -> int:
    """Plan, show or ask, and deploy; returns the exit code."""
    settings = settings_from(options)
    environment = _environment(options["environment"])
    content = Content(
        script=read_script(script),
        inputs=payload.inputs(arguments, environment),
        bundle=_bundle(options["files"], no_files=options["no_files"]),
    )
    given = _Given(script=script, content=content, arguments=len(arguments), variables=len(environment))
    _check_waves(settings)
    with place(options, settings) as here:
        resolution = here.resolve()
        run_id = new_run_id()
        ways = ways_to(resolution.targets, here, run_id, content)
        plan = _plan(here, resolution, run_id, ways, given)
        if options["dry_run"]:
            _show(plan, options["output"])
        require_reachable(resolution, here)
        if options["dry_run"]:
            return 0
        if not here.selectors and not options["yes"]:
            ask(plan)
        return drive(plan, ways.backends, options["output"], here.aws_command)


def read_script(path: Path) -> bytes:
    """Read the script and make sure that a target could run it.

    Raises:
        UsageError: missing, unreadable, a folder, empty, or with what no shell can read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"there is no script {path}", "name a file; arguments for it go after `--`") from error
    except OSError as error:
        raise UsageError(f"cannot read the script {path}: {error.strerror}", "name a file that you can read") from error
    payload.check_script(content)
    return content


def files_of(folder: Path | None) -> Bundle | None:
    """Read the folder of files, `./files` if none was named; None if nothing is called that either.

    Raises:
        UsageError: it is no folder, cannot be read, or holds what cannot be sent.
    """
    return None if folder is None and absent(DEFAULT_FILES) else scan(folder or DEFAULT_FILES)


def new_run_id() -> str:
    """A name for a run that sorts by time and that nobody else uses."""
    return time.strftime("%Y%m%dT%H%M%SZ-", time.gmtime()) + os.urandom(4).hex()


def _environment(pairs: tuple[str, ...]) -> dict[str, str]:
    for number, pair in enumerate(pairs, 1):
        if "=" not in pair:  # not quoted: what lacks a name may be the secret itself
            raise UsageError(f"--env number {number} has no `=`", "write it as --env NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _bundle(folder: Path | None, *, no_files: bool) -> Bundle | None:
    if no_files and folder is not None:
        raise UsageError("--files and --no-files exclude each other", "give one of them")
    return None if no_files else files_of(folder)


def _check_waves(settings: Settings) -> None:
    if settings.execution.max_failures is not None and not settings.execution.wave:
        raise UsageError(
            "--max-failures stops the waves that are to come, and there are none",
            "give --wave N, or set execution.wave; without it everything is sent at once",
        )


def _plan(here: Place, resolution: Resolution, run_id: str, ways: Ways, given: _Given) -> Plan:
    rehearsal = (here.rehearsal,) if here.rehearsal else ()
    execution, bundle = here.settings.execution, given.content.bundle
    return Plan(
        run_id=run_id,
        regions=tuple(aws.region for aws in here.regions),
        script=shown(os.fsencode(given.script)),
        argument_count=given.arguments,
        variable_count=given.variables,
        run_as=str(execution.run_as),  # what is written as JSON is plain
        timeout=int(here.settings.timeouts.script),
        targets=resolution.targets,
        left_out=resolution.left_out,
        files=shown(os.fsencode(bundle.folder)) if bundle else "",
        file_count=bundle.count if bundle else 0,
        file_bytes=bundle.unpacked_size if bundle else 0,
        staging=ways.staging,
        notes=(*rehearsal, *resolution.notes, *(bundle.notes if bundle else ())),
        wave=int(execution.wave),
        max_failures=None if execution.max_failures is None else int(execution.max_failures),
    )


def require_reachable(found: Resolution, here: Place) -> None:
    """Make sure that there is somebody to deploy to.

    Raises:
        NoTargets: there is nobody, or nobody who is reached.
    """
    if any(target.reachable for target in found.targets):
        return
    if not found.targets:
        raise NoTargets(here.nobody(found), here.look)
    reasons = "; ".join(f"{target.id}: {target.reason}" for target in found.targets[:3])
    more = f" and {len(found.targets) - 3} more" if len(found.targets) > 3 else ""  # noqa: PLR2004 - as many as shown
    raise NoTargets(f"no target can be reached: {reasons}{more}", here.look)


def _show(plan: Plan, output: str) -> None:
    if output == "json":
        click.echo(to_json(RunStarted(time=time.time(), plan=plan, version=__version__)).decode())
    else:
        _draw(plan)


def _draw(plan: Plan, *, stderr: bool = False) -> None:
    from ssm_deployer.views.table import plan_view  # noqa: PLC0415 - rich takes long, and only who looks at it needs it

    console(stderr=stderr).print(plan_view(plan))


def ask(plan: Plan) -> None:
    """Show whom `all` means before anything happens to them, and go on only if the user says so.

    Raises:
        UsageError: there is no terminal to ask.
        Interrupted: the answer is no.
    """
    _draw(plan, stderr=True)
    if not sys.stdin.isatty():
        raise UsageError("no target is named, and there is no terminal to ask", "give --yes, or name targets with -t")
    try:
        agreed = click.confirm(f"\nRun {plan.script} on these {count(len(plan.targets), 'target')}?", err=True)
    except click.Abort:
        click.echo(err=True)  # what is told of it begins a line
        raise
    if not agreed:
        raise Interrupted("not started")
