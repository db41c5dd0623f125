"""`ssm-deploy init`: a commented config.yaml."""

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
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", "move it away, or name another file") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "name another file") from error
    click.echo(f"wrote {path}; set staging.bucket in it, then: ssm-deploy upload-script SCRIPT --dry-run")
