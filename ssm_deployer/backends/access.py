"""How ssh reaches one target in particular."""

from collections.abc import Sequence
from typing import Protocol

from ssm_deployer.model import Target


class Access(Protocol):
    """What ssh must be told to reach a target, beyond what holds for all of them."""

    def options(self, target: Target) -> Sequence[str]:
        """Arguments for ssh, got just before it connects; called by several threads at once.

        Raises:
            DeployError: the target cannot be reached so.
        """

    def hint(self, target: Target) -> str:
        """What the user should know if the host key or the login of a target was refused; empty if nothing."""

    def close(self) -> Sequence[str]:
        """Remove what it made; say what is left and why, a line each. May be repeated."""


class Plain:
    """Nothing but what the user and `~/.ssh/config` say."""

    def options(self, target: Target) -> Sequence[str]:  # noqa: ARG002, D102 - Access says it
        return ()

    def hint(self, target: Target) -> str:  # noqa: ARG002, D102 - Access says it
        return ""

    def close(self) -> Sequence[str]:  # noqa: D102 - Access says it
        return ()
