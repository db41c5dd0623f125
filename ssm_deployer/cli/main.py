"""The entry point: the commands, loaded when they are called, and the one boundary at which errors become words."""

import importlib
import io
import sys
import traceback
from typing import Any, NoReturn

import click

from ssm_deployer import __version__
from ssm_deployer.errors import DeployError, ExitCode

# Name, module of the same spelling, and the line that `ssm-deploy --help` shows. Importing all of them for a help
# page would take ten times as long as printing it.
COMMANDS = {
    "upload-script": "Put a script and files onto targets, run it, and show what happened.",
    "targets": "Show which machines are meant, and how each is reached.",
    "sandbox": "Keep an AWS account of your own on this machine, to rehearse in.",
    "init": "Write a commented config.yaml.",
    "help": "Show the help of a command.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002, D102 - click's signature and contract
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002, D102
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ssm_deployer.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ssm-deploy")
def root() -> None:
    """Put a script and a folder of files onto a fleet of EC2 machines without SSH."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks must not end a run
    try:
        code: Any = root.main(arguments, prog_name="ssm-deploy", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except DeployError as error:
        _say(error.message, error.hint)
        return int(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("stopped", "")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it closes stdout.
        sys.stdout = None
        return int(ExitCode.TARGET_FAILED)
    except Exception as error:  # noqa: BLE001 - the one boundary
        return _unexpected(error)
    return code if isinstance(code, int) else int(ExitCode.SUCCESS)


def _unexpected(error: Exception) -> int:
    if isinstance(error.__cause__, KeyboardInterrupt):  # Ctrl-C during an import, as Python tells it
        _say("stopped", "")
        return int(ExitCode.INTERRUPTED)
    # A bug of ours is told, with its trace under -v.
    _say(f"internal error: {type(error).__name__}: {error}", "please report it; -v shows where it happened")
    return int(ExitCode.TARGET_FAILED)


def _say(message: str, hint: str) -> None:
    if _verbose():
        traceback.print_exc()
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True)
    if hint:
        click.echo(click.style("  try: ", bold=True) + hint, err=True)


def _verbose() -> bool:
    """Whether `-v` stands among the options; asked of argv, since the error may be one of parsing."""
    options = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    return "-v" in options or "--verbose" in options
