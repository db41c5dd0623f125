"""`ssm-deploy sandbox up|down|status`: an AWS account of one's own, kept until it is taken down."""

import shlex

import click

from ssm_deployer.errors import UsageError
from ssm_deployer.sandbox import launch


def up(size: int | None) -> None:
    """Start it."""
    _print(launch.up(size))


def down() -> None:
    """End it."""
    click.echo("the sandbox is down" if launch.down() else "there was no sandbox")


def status() -> None:
    """Show it.

    Raises:
        UsageError: there is none.
    """
    account = launch.status()
    if account is None:
        raise UsageError("no sandbox is up", "start one: ssm-deploy sandbox up")
    _print(account)


def _print(account: launch.Account) -> None:
    click.echo("unset AWS_PROFILE AWS_SESSION_TOKEN")  # of another account, they would go with these keys
    for name, value in launch.exports(account).items():
        click.echo(f"export {name}={shlex.quote(value)}")
    click.echo(f"# {len(account.instances)} instances ({launch.isolation(account)}): {' '.join(account.instances)}")
    click.echo("# end it with: ssm-deploy sandbox down")
