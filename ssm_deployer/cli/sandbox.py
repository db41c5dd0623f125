"""`ssm-deploy sandbox up|down|status`: an AWS account of one's own, kept until it is taken down."""

import shlex

import click

from ssm_deployer.errors import UsageError
from ssm_deployer.sandbox import launch
from ssm_deployer.views.words import count


def up(size: int | None) -> None:
    """Start it."""
    _print(launch.up(size))


def down() -> None:
    """End it."""
    account = launch.down()
    if account is None:
        click.echo("# there was no sandbox")
        return
    click.echo("# the sandbox is down; what makes a shell that used it forget it:")
    click.echo(f"unset {' '.join(launch.exports(account))}")


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
    click.echo(
        f"# {count(len(account.instances), 'instance')} ({launch.isolation(account)}): {' '.join(account.instances)}"
    )
    click.echo("# end it with: ssm-deploy sandbox down")
