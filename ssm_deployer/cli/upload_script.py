"""`ssm-deploy upload-script`: the whole job in one command."""

import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import click

from ssm_deployer import __version__, payload
from ssm_deployer.backends.content import Content, Limits
from ssm_deployer.backends.ssm import SsmBackend
from ssm_deployer.bundle import Bundle, scan, shown
from ssm_deployer.cli.drive import drive
from ssm_deployer.cli.screen import console
from ssm_deployer.cli.wire import Place, place, settings_from
from ssm_deployer.config import Settings
from ssm_deployer.errors import Interrupted, NoTargets, UsageError
from ssm_deployer.events import RunStarted, to_json
from ssm_deployer.model import Plan
from ssm_deployer.staging import Staging, bucket_region
from ssm_deployer.targets import Resolution
from ssm_deployer.views.table import plan_view

DEFAULT_FILES = Path("files")


def upload_script(script: Path, arguments: tuple[str, ...], options: dict[str, Any]) -> int:
    """Plan, show or ask, and deploy; returns the exit code."""
    settings = settings_from(options)
    content = Content(
        script=read_script(script),
        inputs=payload.inputs(arguments, _environment(options["environment"])),
        bundle=_bundle(options["files"], no_files=options["no_files"]),
    )
    with place(options, settings) as here:
        _require_bucket(here.settings)
        resolution = here.resolve()
        backend = _backend(here, content)
        backend.check()
        plan = _plan(here, resolution, backend, script, content.bundle)
        if options["dry_run"]:
            _show(plan, options["output"])
        _require_reachable(plan)
        if options["dry_run"]:
            return 0
        if not here.selectors and not options["yes"]:
            _ask(plan)
        return drive(plan, {"ssm": backend}, options["output"], here.aws_command)


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


def new_run_id() -> str:
    """A name for a run that sorts by time and that nobody else uses."""
    return time.strftime("%Y%m%dT%H%M%SZ-", time.gmtime()) + secrets.token_hex(4)


def _environment(pairs: tuple[str, ...]) -> dict[str, str]:
    for number, pair in enumerate(pairs, 1):
        if "=" not in pair:  # not quoted: what lacks a name may be the secret itself
            raise UsageError(f"--env number {number} has no `=`", "write it as --env NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _bundle(folder: Path | None, *, no_files: bool) -> Bundle | None:
    if no_files:
        if folder is not None:
            raise UsageError("--files and --no-files exclude each other", "give one of them")
        return None
    if folder is None and not DEFAULT_FILES.is_dir():
        return None
    return scan(folder or DEFAULT_FILES)


def _require_bucket(settings: Settings) -> None:
    if not settings.staging.bucket:
        raise UsageError(
            "no S3 bucket is set for the files to wait in",
            "give --bucket, or set staging.bucket in config.yaml; `aws s3 mb s3://NAME` makes one",
        )


def _backend(here: Place, content: Content) -> SsmBackend:
    settings = here.settings
    run_id = new_run_id()
    folder = f"{settings.staging.prefix}/{run_id}".lstrip("/")
    s3 = _bucket_client(here, settings.staging.bucket)
    staging = Staging(s3, settings.staging.bucket, folder, kms_key=settings.staging.kms_key)
    return SsmBackend(here.regions, staging, run_id, content, _limits(settings))


def _bucket_client(here: Place, bucket: str) -> Any:  # noqa: ANN401 - see Aws.client
    """Make a client of the bucket's region, which must be one that the run is for."""
    actual = bucket_region(here.regions[0].client("s3"), bucket)
    for aws in here.regions:
        if aws.region == actual:
            return aws.client("s3")
    names = ", ".join(aws.region for aws in here.regions)
    raise UsageError(
        f"the bucket {bucket} is in {actual}, the targets are in {names}",
        f"name a bucket in {names} with --bucket or staging.bucket",
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        script=settings.timeouts.script,
        fetch=settings.timeouts.upload,
        delivery=settings.timeouts.delivery,
        grace=settings.execution.grace,
        run_as=settings.execution.run_as,
        by_role=settings.staging.delivery == "role",
    )


def _plan(here: Place, resolution: Resolution, backend: SsmBackend, script: Path, bundle: Bundle | None) -> Plan:
    rehearsal = (here.rehearsal,) if here.rehearsal else ()
    return Plan(
        run_id=backend.run_id,
        regions=tuple(aws.region for aws in here.regions),
        script=shown(os.fsencode(script)),
        targets=resolution.targets,
        left_out=resolution.left_out,
        files=shown(os.fsencode(bundle.folder)) if bundle else "",
        file_count=bundle.count if bundle else 0,
        file_bytes=bundle.unpacked_size if bundle else 0,
        staging=backend.staging.location,
        notes=(*rehearsal, *resolution.notes, *(bundle.notes if bundle else ())),
    )


def _require_reachable(plan: Plan) -> None:
    if any(target.reachable for target in plan.targets):
        return
    if not plan.targets:
        left_out = f"; {len(plan.left_out)} run without SSM" if plan.left_out else ""
        names = ", ".join(plan.regions)
        raise NoTargets(
            f"no target in {names}{left_out}", "`ssm-deploy targets` shows what there is; -t or --region choose"
        )
    reasons = "; ".join(f"{target.id}: {target.reason}" for target in plan.targets[:3])
    more = f" and {len(plan.targets) - 3} more" if len(plan.targets) > 3 else ""  # noqa: PLR2004 - as many as shown
    raise NoTargets(f"no target can be reached: {reasons}{more}", "`ssm-deploy targets` shows what there is")


def _show(plan: Plan, output: str) -> None:
    if output == "json":
        click.echo(to_json(RunStarted(time=time.time(), plan=plan, version=__version__)))
    else:
        console().print(plan_view(plan))


def _ask(plan: Plan) -> None:
    """Show whom `all` means before anything happens to them."""
    console(stderr=True).print(plan_view(plan))
    if not sys.stdin.isatty():
        raise UsageError("no target is named, and there is no terminal to ask", "give --yes, or name targets with -t")
    if not click.confirm(f"\nRun {plan.script} on these {len(plan.targets)}?", err=True):
        raise Interrupted("not started")
