"""How a machine is reached: chosen once, before anything is sent to it, so that nothing is sent by two ways."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec
from msgspec.structs import replace

from ssm_deployer.model import Target
from ssm_deployer.selector import Host

_NOWHERE: Mapping[str, str] = MappingProxyType({})


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What selectors stand for.

    Attributes:
        targets: those meant, by their ids.
        left_out: what `all` does not stand for, each with the reason.
        notes: remarks for the user.
        addresses: where those of the targets listen that AWS knows, each address with a target's id.
    """

    targets: tuple[Target, ...]
    left_out: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    addresses: Mapping[str, str] = _NOWHERE


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the user allows.

    Attributes:
        backend: `auto` takes SSM, and SSH where SSM cannot.
        user: whom SSH logs in as where the target does not say it.
        port: likewise.
        address: which one of an instance, empty for the public one if it has one.
        tunnel: what leads to instances instead of a route, empty if nothing does.
        key: whether there is something to log in with.
    """

    backend: Literal["auto", "ssm", "ssh"] = "auto"
    user: str = ""
    port: int = 0
    address: Literal["", "public", "private"] = ""
    tunnel: str = ""
    key: bool = False

    def why_no_ssh(self, address: str) -> str:
        """Why SSH is no way to an instance, in the user's words; empty if it is one."""
        if not address:
            return f"it has no {self.address} address".replace("  ", " ")
        if self.backend == "auto" and not self.key:  # else it was asked for, and OpenSSH may know of one
            return "there is no key for SSH to log in with"
        return ""

    def reached(self, target: Target, ssm: str, ssh: str, address: str) -> Target:
        """A target with the way to it, or with the reason why there is none.

        Args:
            target: the machine.
            ssm: why SSM is no way, empty if it is one.
            ssh: likewise.
            address: where SSH would connect to.
        """
        asked = {"auto": {"ssm": ssm, "ssh": ssh}, "ssm": {"ssm": ssm}, "ssh": {"ssh": ssh}}[self.backend]
        via = next((way for way, reason in asked.items() if not reason), "")
        reasons = "; ".join(dict.fromkeys(filter(None, asked.values())))
        if via == "ssh":
            return replace(target, via=via, why=reasons, address=address, user=self.user, port=self.port)
        return replace(target, via=via, reason="" if via else reasons)

    def host(self, host: Host) -> Target:
        """A target that the user named by its address, for SSH."""
        return Target(
            id=host.selector,
            via="ssh",
            address=host.address,
            user=host.user or self.user,
            port=host.port or self.port,
        )


AUTO = Choice()
