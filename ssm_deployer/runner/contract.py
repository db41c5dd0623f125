"""What a run needs of the outside world."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol

from ssm_deployer.model import Handle, Invocation, Staged, Target


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now(self) -> float:
        """Seconds since the epoch, which go on evenly though somebody sets the machine's clock."""

    def wait(self, seconds: float) -> None:
        """Sleep, but wake at once when the user asks to stop, or somebody calls `wake`."""

    def wake(self) -> None:
        """End the present or the next sleep; safe from any thread."""


class Stop(Protocol):
    """Whether the user asked to stop."""

    @property
    def requested(self) -> bool:
        """True from the first request on."""


class Backend(Protocol):
    """How content and commands reach the targets. Adapters: they neither loop nor sleep nor print.

    Every method raises `CloudError` (or a kind of it) where the service refuses or does not answer, and another
    `DeployError` where it cannot even be asked.
    """

    @property
    def batch(self) -> int:
        """The largest number of targets that one `start` takes."""

    @property
    def metered(self) -> bool:
        """Whether a look is a request to a service that rations them.

        Else it costs nothing, and the backend tells when there is news.
        """

    def heed(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from any thread, whenever a look would show news; for backends that are not metered."""

    def stage(self) -> Generator[int, None, Staged]:
        """Put the content where the targets can fetch it, telling the bytes stored on the way.

        Closing the generator ends the transfer.
        """

    def start(self, targets: Sequence[Target], staged: Staged) -> Handle:
        """Send the command, once. All of the targets are in one region.

        Raises:
            Declined: certainly not sent.
            Ambiguous: perhaps sent.
            BadTarget: not sent; some target is not valid.
        """

    def find(self, targets: Sequence[Target]) -> Sequence[Handle]:
        """Look for the commands of this run that any of these targets got; each with those of them that it has.

        All of the targets are in one region.
        """

    def observe(self, handle: Handle) -> Sequence[Invocation]:
        """Take one look at a handle's targets, by as many calls whatever becomes of them.

        Those that the service does not show yet are left out. A status of UNKNOWN without a record means that the
        service says it is over; the runner looks again before it believes that no record will come.
        """

    def read(self, handle: Handle, target: str) -> tuple[str, str] | None:
        """Fetch the whole extract (stdout, stderr) of a target that has come to its end; also after `clean`.

        None if the service does not have it yet.
        """

    def lost(self, targets: Sequence[Target]) -> Mapping[str, str]:
        """Say which of these machines, all in one region, are gone for good, by their ids, and why."""

    def cancel(self, handle: Handle) -> None:
        """Ask for a command to be stopped on all of its targets."""

    def clean(self) -> Sequence[str]:
        """Remove what `stage` put; say what is left and why, a line each. May be repeated."""
