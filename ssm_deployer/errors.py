"""What can stop a run, and the exit code each of these means.

A target that fails is a value (`model.Invocation`); an exception here means that the run as a whole cannot go on.

    DeployError            a message and a hint, exit 1
    ├── UsageError         options, settings or input files are wrong, exit 2
    ├── CloudError         AWS refused or could not be reached, exit 3
    │   ├── Declined       certainly not carried out (throttled, no connection): may be sent again after a pause
    │   ├── Ambiguous      no answer: may or may not have been accepted
    │   └── BadTarget      the service rejects an id of the call without saying which
    ├── NoTargets          nothing to deploy to, exit 4
    └── Interrupted        the user asked to stop, exit 130
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit codes of every command."""

    SUCCESS = 0
    TARGET_FAILED = 1
    USAGE = 2
    CLOUD = 3
    NO_TARGETS = 4
    INTERRUPTED = 130


class DeployError(Exception):
    """A reason why the run cannot go on, in one line, and what the user can do about it in another."""

    exit_code: ClassVar[ExitCode] = ExitCode.TARGET_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DeployError):
    """Options, settings or input files are wrong."""

    exit_code = ExitCode.USAGE


class CloudError(DeployError):
    """AWS refused a request or could not be reached."""

    exit_code = ExitCode.CLOUD


class Declined(CloudError):
    """The request was certainly not carried out: throttled, or no connection. It may be sent again after a pause."""


class Ambiguous(CloudError):
    """The request got no answer; it may have been carried out."""


class BadTarget(CloudError):
    """The service rejects one id of the request and does not say which."""


class NoTargets(DeployError):
    """There is nothing to deploy to."""

    exit_code = ExitCode.NO_TARGETS


class Interrupted(DeployError):
    """The user asked to stop."""

    exit_code = ExitCode.INTERRUPTED
