"""What a server of a farm is like, and what is wrong with it on purpose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

# A server without namespaces of its own can have only these.
FOR_LEAN = {"config", "files", "banner", "authorized", "trusted", "shared_key", "lean"}


@dataclass(frozen=True)
class Traits:
    """The defaults are those of a healthy, isolated server."""

    config: Sequence[str] = ()  # lines of sshd_config, which come before the rig's own and so win; `Match` goes last
    files: Mapping[str, str] = field(default_factory=dict)  # executable, in /etc/ssh
    banner: str = ""
    authorized: bool = True  # it knows the key of the farm's user
    trusted: bool = True  # its host key stands in the farm's known_hosts
    shared_key: bool = False  # the farm's host key, which saves the time to make one; lean servers have no other
    lean: bool = False
    link: bool = False  # a network of its own, which can be cut; port 22
    rate: str = ""  # what the link carries, such as 1mbit
    root_shell: str = "/bin/bash"
    rc: Mapping[str, str] = field(default_factory=dict)  # files in every home
    noise: str = ""  # what bash, fish, csh and zsh print when they start
    delay: float = 0  # and how many seconds they wait before
    motd: str = ""
    without: Sequence[str] = ()  # programs that are not there
    space: str = ""  # all that its files may take together, such as 300k
    sudo: Literal["", "free", "password"] = ""  # what `user` may

    def __post_init__(self) -> None:
        healthy = {each.name: each.default for each in fields(self)} | {"rc": {}}
        wrong = [name for name, usual in healthy.items() if name not in FOR_LEAN and getattr(self, name) != usual]
        if self.lean and wrong:
            raise ValueError(f"a lean server cannot have {', '.join(wrong)}")
        if self.rate and not self.link:
            raise ValueError("only a link has a rate")

    @property
    def programs(self) -> set[str]:
        """What the machine must have for it."""
        needed = {"sshd"} if self.lean else {"sshd", "fish", "csh", "zsh", "busybox", "nsenter"}
        return needed | ({"ip", "tc"} if self.link else set()) | ({"sudo"} if self.sudo else set())
