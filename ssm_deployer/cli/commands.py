"""The commands as they are typed: names, options, help.

Nothing but click is imported here, so that help and completion answer at once; what a command does is imported when it
is called.
"""

from pathlib import Path
from typing import Any

import click

from ssm_deployer.cli import options as shared


@click.command("upload-script", short_help="Put a script and files onto targets, run it, and show what happened.")
@click.argument("script", type=shared.FILE)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGS…]")
@shared.where
@click.option(
    "--files",
    type=shared.FILE,
    metavar="DIR",
    help="Files to bring along. [default: ./files]",
)
@click.option("--no-files", is_flag=True, help="Bring no files along.")
@click.option("-e", "--env", "environment", multiple=True, metavar="K=V", help="Set for the script; repeatable.")
@click.option("--bucket", metavar="NAME", help="The S3 bucket that the files wait in.")
@click.option("--delivery", type=click.Choice(["presigned", "role"]), help="How targets may read the bucket.")
@click.option("--timeout", metavar="TIME", help="For the script, such as 90s, 5m or 2h. [default: 5m]")
@click.option("--upload-timeout", metavar="TIME", help="For a target to fetch the files. [default: 60s]")
@click.option("--delivery-timeout", metavar="TIME", help="For SSM to reach a target. [default: 10m]")
@click.option("--run-as", metavar="USER", help="Run the script as this user of the target. [default: root]")
@click.option("--sudo", is_flag=True, help="Become root by sudo where SSH logs in as somebody else.")
@click.option("--ssh-option", multiple=True, metavar="NAME=VALUE", help="As `ssh -o` takes it; repeatable.")
@click.option("--ssh-connections", metavar="N", help="At the same time. [default: 64]")
@click.option(
    "--wave", metavar="N", help="Send to so many, and to the next when these are done. [default: to all at once]"
)
@click.option("--max-failures", metavar="N", help="Send no further wave if more have failed. [default: any number]")
@click.option("--output", type=click.Choice(["auto", "plain", "json"]), default="auto", help="How to show the run.")
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def upload_script(script: Path, arguments: tuple[str, ...], **options: Any) -> int:  # noqa: ANN401 - what click collected
    """Run SCRIPT on every target, with a folder of files beside it, and show what happened on each.

    The files are in $DEPLOY_FILES_DIR, which is also the script's working directory.
    """
    from ssm_deployer.cli.upload_script import upload_script

    return upload_script(script, arguments, options)


@click.command("targets", short_help="Show which machines are meant, and how each is reached.")
@shared.where
def targets(**options: Any) -> None:  # noqa: ANN401 - what click collected
    """Show which machines are meant, and how each is reached, or why not."""
    from ssm_deployer.cli.targets import targets

    targets(options)


@click.group("sandbox", short_help="Keep an AWS account of your own on this machine, to rehearse in.")
def sandbox() -> None:
    """Keep an AWS account of your own on this machine, to rehearse in with any AWS client."""


@sandbox.command("up", short_help="Start it, and print what makes a shell use it.")
@click.option("--size", type=click.IntRange(1, 1000), metavar="N", help=f"Instances. [default: {shared.SANDBOX_SIZE}]")
@shared.verbose
def up(size: int | None) -> None:
    """Start it, and print the lines that make a shell use it: eval "$(ssm-deploy sandbox up)"."""
    from ssm_deployer.cli.sandbox import up

    up(size)


@sandbox.command("down", short_help="End it, and print what makes a shell forget it.")
@shared.verbose
def down() -> None:
    """End it: its processes, its port and its folder go. Prints what makes a shell forget it."""
    from ssm_deployer.cli.sandbox import down

    down()


@sandbox.command("status", short_help="Say whether one runs.")
@shared.verbose
def status() -> None:
    """Say whether one runs, and print the lines that make a shell use it."""
    from ssm_deployer.cli.sandbox import status

    status()


@click.command("init", short_help="Write a commented config.yaml.")
@click.argument("path", type=click.Path(path_type=Path), default=Path("config.yaml"))
@shared.verbose
def init(path: Path) -> None:
    """Write a commented config.yaml, or to PATH; an existing file stays as it is."""
    from ssm_deployer.cli.init import init

    init(path)


@click.command("help")
@click.argument("names", nargs=-1, metavar="[COMMAND]")
@click.pass_context
def help_(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Show the help of a command."""
    assert ctx.parent is not None  # noqa: S101 - click calls a subcommand below its group
    chosen: click.Command = ctx.parent.command
    shown = ctx.parent
    for name in names:
        found = chosen.get_command(shown, name) if isinstance(chosen, click.Group) else None
        if found is None:
            raise click.UsageError(f"No such command '{' '.join(names)}'.", ctx=ctx.parent)
        chosen, shown = found, click.Context(found, info_name=name, parent=shown)
    click.echo(chosen.get_help(shown))


COMMANDS = (upload_script, targets, sandbox, init, help_)
