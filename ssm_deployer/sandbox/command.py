"""A command and its invocations as the service keeps them, and what their states amount to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ssm_deployer.sandbox.document import Document

Details = Literal[
    "Pending",
    "InProgress",
    "Delayed",
    "Cancelling",
    "Success",
    "Failed",
    "ExecutionTimedOut",
    "DeliveryTimedOut",
    "Cancelled",
    "Terminated",
    "Undeliverable",
    "InvalidPlatform",
    "AccessDenied",
]
FINAL = frozenset(
    {
        "Success",
        "Failed",
        "ExecutionTimedOut",
        "DeliveryTimedOut",
        "Cancelled",
        "Terminated",
        "Undeliverable",
        "InvalidPlatform",
        "AccessDenied",
    }
)
COUNTED_AS_ERRORS = frozenset({"Failed", "ExecutionTimedOut"})
_STATUS = {
    "ExecutionTimedOut": "TimedOut",
    "DeliveryTimedOut": "TimedOut",
    "Terminated": "Cancelled",
    "Undeliverable": "Failed",
    "InvalidPlatform": "Failed",
    "AccessDenied": "Failed",
    "Incomplete": "Failed",
    "NoInstancesInTag": "Failed",
}


def status(details: str) -> str:
    """Return the `Status` that goes with a `StatusDetails`."""
    return _STATUS.get(details, details)


@dataclass
class Invocation:
    """One instance's part of a command.

    Attributes:
        instance_id: the instance.
        name: the value of its Name tag.
        details: `StatusDetails`.
        delivered: the agent has taken the message.
        ran: the agent reported on a step.
        code: `ResponseCode`, -1 until there is one.
        stdout: as the agent cut it.
        stderr: likewise.
        short: `Output` of the list pages.
        started: seconds since the epoch, None until it is known.
        ended: likewise.
    """

    instance_id: str
    name: str = ""
    details: Details = "Pending"
    delivered: bool = False
    ran: bool = False
    code: int = -1
    stdout: str = ""
    stderr: str = ""
    short: str = ""
    started: float | None = None
    ended: float | None = None

    @property
    def final(self) -> bool:
        """Whether nothing can change any more."""
        return self.details in FINAL


@dataclass
class Command:
    """One accepted SendCommand.

    Attributes:
        id: a UUID.
        request: SendCommand's own parameters.
        document: the document found for its name.
        requested: seconds since the epoch.
        expires: when invocations without a final answer become DeliveryTimedOut, likewise.
        invocations: by instance id.
        max_concurrency: how many invocations may be under way at once.
        max_errors: how many errors are allowed; one more ends the command.
        rounds: how many times the ramp has doubled.
        cancelled: CancelCommand was called.
    """

    id: str
    request: Mapping[str, Any]
    document: Document
    requested: float
    expires: float
    invocations: Mapping[str, Invocation]
    max_concurrency: int
    max_errors: int
    rounds: int = 0
    cancelled: bool = False

    @property
    def window(self) -> int:
        """How many invocations the ramp allows at once: 1, 2, 4 … up to MaxConcurrency."""
        return min(1 << min(self.rounds, 16), self.max_concurrency)

    @property
    def errors(self) -> int:
        """How many invocations count against MaxErrors."""
        return sum(each.details in COUNTED_AS_ERRORS for each in self.invocations.values())

    def count(self, *details: str) -> int:
        """Return how many invocations are in one of these states."""
        return sum(each.details in details for each in self.invocations.values())

    @property
    def completed(self) -> int:
        """How many invocations are final."""
        return sum(each.final for each in self.invocations.values())

    @property
    def details(self) -> str:
        """The command's own `StatusDetails`: says little about its invocations (Success with 4 of 5 Undeliverable)."""
        if not self.invocations:
            return "NoInstancesInTag"
        if self.completed < len(self.invocations):
            if self.cancelled:
                return "Cancelling"
            return "Pending" if self.count("Pending") == len(self.invocations) else "InProgress"
        return self._final_details()

    def _final_details(self) -> str:
        if self.errors > self.max_errors:
            return "Failed"
        if self.cancelled and self.count("Cancelled"):
            return "Cancelled"
        if self.count("DeliveryTimedOut") == len(self.invocations):
            return "DeliveryTimedOut"
        if self.errors or self.count("DeliveryTimedOut"):
            return "Incomplete"
        return "Success"


def limit(text: str, targets: int) -> int:
    """Return a MaxConcurrency or MaxErrors as a number of this command's own targets; percentages round down."""
    return int(text[:-1]) * targets // 100 if text.endswith("%") else int(text)
