"""`ssm-deploy init`: a commented config.yaml."""

import shlex
from pathlib import Path

import click

from ssm_deployer.config import TEMPLATE
from ssm_deployer.errors import UsageError


def init(path: Path) -> None:
    """Write it.

    Raises:
        UsageError: the file is there already, or cannot be written.
    """
    try:
        _write(path)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", "move it away, or name another file") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "name another file") from error
    named = "" if path == Path("config.yaml") else f" --config {shlex.quote(str(path))}"
    click.echo(
        f"wrote {path}; set staging.bucket and aws.region in it, then: ssm-deploy upload-script SCRIPT --dry-run{named}"
    )


def _write(path: Path) -> None:
    file = path.open("x", encoding="utf-8")
    try:
        with file:
            file.write(TEMPLATE)
    except OSError:
        path.unlink()  # half of it would only be in the way of the next one
        raise
