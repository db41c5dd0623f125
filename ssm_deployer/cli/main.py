"""The entry point: the commands, and the one boundary at which errors become words."""

import gc
import io
import sys
import traceback
from typing import Any, NoReturn

import click

from ssm_deployer import __version__
from ssm_deployer.cli.commands import COMMANDS
from ssm_deployer.cli.unbroken import ending, open_closed
from ssm_deployer.errors import DeployError, ExitCode


class _Group(click.Group):
    """Shows its commands in their own order."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature and contract
        return list(self.commands)


@click.group(
    cls=_Group,
    commands={command.name or "": command for command in COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="ssm-deploy")
def root() -> None:
    """Put a script and a folder of files onto a fleet of EC2 machines without SSH."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    # Python looks for garbage once more when it ends: 0.2 to 0.4 s among the 200,000 objects of botocore's models.
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks must not end a run
    with ending():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        code: Any = root.main(arguments, prog_name="ssm-deploy", standalone_mode=False)
        sys.stdout.flush()
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
