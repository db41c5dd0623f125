"""`ssm-deploy sandbox up|down|status`: an AWS account of one's own, kept until it is taken down."""

import shlex

import click

from ssm_deployer.cli import options as shared
from ssm_deployer.cli.wire import SANDBOX_SIZE
from ssm_deployer.errors import UsageError
from ssm_deployer.sandbox import launch


@click.group("sandbox")
def command() -> None:
    """Keep an AWS account of your own on this machine, to rehearse in with any AWS client."""


@command.command("up")
@click.option("--size", type=click.IntRange(1, 1000), default=SANDBOX_SIZE, show_default=True, metavar="N")
@shared.verbose
def up(size: int) -> None:
    """Start it, and print the lines that make a shell use it: eval "$(ssm-deploy sandbox up)"."""
    _print(launch.up(size))


@command.command("down")
@shared.verbose
def down() -> None:
    """End it: its processes, its port and its folder go."""
    click.echo("the sandbox is down" if launch.down() else "there was no sandbox")


@command.command("status")
@shared.verbose
def status() -> None:
    """Say whether one runs, and print the lines that make a shell use it."""
    account = launch.status()
    if account is None:
        raise UsageError("no sandbox is up", "start one: ssm-deploy sandbox up")
    _print(account)


def _print(account: launch.Account) -> None:
    click.echo("unset AWS_PROFILE AWS_SESSION_TOKEN")  # of another account, they would go with these keys
    for name, value in launch.exports(account).items():
        click.echo(f"export {name}={shlex.quote(value)}")
    click.echo(f"# {len(account.instances)} instances ({account.isolation}): {' '.join(account.instances)}")
    click.echo("# end it with: ssm-deploy sandbox down")
