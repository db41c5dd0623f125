"""The options that several commands share, each declared once, and the settings that they come to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

SANDBOX_SIZE = 3

# Whether it can be read is told by whoever reads it, with a remedy.
FILE = click.Path(path_type=Path, readable=False)


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


verbose = click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the trace of an error.")

where = _together(
    click.option(
        "-t",
        "--target",
        "selectors",
        multiple=True,
        metavar="TARGET",
        help="i-…, mi-…, tag:KEY=VALUE[,VALUE], all, ssh:[USER@]HOST[:PORT] or file:PATH; repeatable.",
    ),
    click.option("--region", multiple=True, metavar="REGION", help="Where the targets are; repeatable."),
    click.option("--profile", metavar="NAME", help="A profile of the AWS SDK."),
    click.option("--config", type=FILE, metavar="FILE", help="Instead of ./config.yaml."),
    click.option("--sandbox", is_flag=True, help="In a throw-away AWS on this machine, with 3 instances."),
    click.option(
        "--sandbox-size", type=click.IntRange(1, 1000), metavar="N", help="Another number of instances; implies it."
    ),
    click.option(
        "--backend", type=click.Choice(["auto", "ssm", "ssh"]), help="By what. [default: SSM, or SSH where SSM cannot]"
    ),
    click.option("--ssh-user", metavar="USER", help="Whom SSH logs in as."),
    click.option("--ssh-key", metavar="FILE", help="The private key to log in with."),
    click.option("--ssh-port", metavar="PORT", help="Where SSH connects to."),
    verbose,
)
