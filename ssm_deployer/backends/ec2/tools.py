"""OpenSSH's programs and AWS's, as they are found on this machine."""

import shutil
import subprocess
from subprocess import DEVNULL, CompletedProcess

from ssm_deployer.errors import DeployError, UsageError

PATIENCE_SECONDS = 30
REMEDIES = {
    "ssh": "install the OpenSSH client",
    "ssh-keygen": "install the OpenSSH client",
    "aws": "install the AWS CLI, version 2: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
    "session-manager-plugin": "install it: https://docs.aws.amazon.com/systems-manager/latest/userguide/"
    "session-manager-working-with-install-plugin.html",
}


def path_of(program: str) -> str:
    """Find a program.

    Raises:
        UsageError: it is not installed.
    """
    found = shutil.which(program)
    if found is None:
        raise UsageError(f"`{program}` is not on the PATH, and is needed here", REMEDIES.get(program, ""))
    return found


def run(program: str, *arguments: str) -> CompletedProcess[str]:
    """Run a program that only looks at something; it gets no input, and a while to answer.

    Raises:
        DeployError: it is not there, or does not answer.
    """
    argv = [path_of(program), *arguments]
    try:
        # Paths are bytes, and a console may show any.
        return subprocess.run(
            argv, stdin=DEVNULL, capture_output=True, timeout=PATIENCE_SECONDS, check=False, text=True,
            encoding="utf-8", errors="surrogateescape",
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError) as error:
        raise DeployError(f"`{program}` does not run: {error}") from error


def complaint(ended: CompletedProcess[str]) -> str:
    """Tell the last thing that a program complained of."""
    lines = ended.stderr.split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit {ended.returncode}")
