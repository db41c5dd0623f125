"""What any backend brings to its targets, and what these may do with it."""

import msgspec

from ssm_deployer.bundle import Bundle


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What the targets get: the script, its arguments and environment, and the files."""

    script: bytes
    inputs: bytes = b""
    bundle: Bundle | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How the payload runs on a target; times in seconds.

    Attributes:
        script: for the script.
        fetch: for the content to be there and unpacked.
        delivery: for the target to be reached at all.
        grace: between TERM and KILL.
        run_as: the user to run the script as, empty for whom the payload runs as.
        by_role: whether targets read the staged content with a role of their own; for SSM only.
    """

    script: int
    fetch: int
    delivery: int
    grace: int
    run_as: str = ""
    by_role: bool = False

    @property
    def total(self) -> int:
        """Seconds after which every verdict must be there, with a minute for the slowness of what is in between."""
        return self.delivery + self.fetch + self.script + self.grace + 60
