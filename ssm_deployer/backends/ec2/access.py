"""SSH to EC2 instances: keys that last for a minute, host keys from the console, and tunnels."""

from collections.abc import Sequence

from ssm_deployer.aws import Aws
from ssm_deployer.backends.access import Access, Plain
from ssm_deployer.backends.ec2.key import Key
from ssm_deployer.backends.ec2.pins import Pins
from ssm_deployer.backends.ec2.tunnel import Tunnel, Way
from ssm_deployer.backends.openssh import Login
from ssm_deployer.backends.scratch import Scratch
from ssm_deployer.errors import DeployError
from ssm_deployer.model import Target


def access(
    login: Login,
    regions: Sequence[Aws],
    *,
    ephemeral: bool = False,
    pins: bool = True,
    tunnel: Way | None = None,
) -> Access:
    """Put together what the settings ask for.

    Args:
        login: what the user wants of the SSH client.
        regions: the identity in each region that has targets.
        ephemeral: whether to log in with a key of this run alone (`ssh.key: ephemeral`).
        pins: whether to take host keys that known_hosts lacks from the instances' consoles.
        tunnel: how to reach instances that have no address from here (`ssh.tunnel`), None to connect to addresses.

    Raises:
        UsageError: a program that this takes is missing.
    """
    if not (ephemeral or pins or tunnel):
        return Plain()
    return Ec2Access(login, regions, ephemeral=ephemeral, pins=pins, tunnel=tunnel)


class Ec2Access:
    """Implements `Access` for EC2 instances; other targets pass through it with nothing added. See `access`."""

    def __init__(
        self, login: Login, regions: Sequence[Aws], *, ephemeral: bool, pins: bool, tunnel: Way | None
    ) -> None:
        self._regions = {aws.region: aws for aws in regions}
        self._scratch = Scratch()
        self._tunnel = Tunnel(tunnel) if tunnel else None
        self._pins = Pins(self._scratch, login) if pins else None
        self._key = Key(self._scratch, login.user) if ephemeral else None

    def options(self, target: Target) -> Sequence[str]:  # noqa: D102 - Access says it, here and below
        if not _is_instance(target):
            return ()
        try:
            return self._options(target, self._regions[target.region])
        except OSError as error:
            raise DeployError(f"cannot keep keys for ssh here: {error}", "TMPDIR says where, if it is set") from error

    def _options(self, target: Target, aws: Aws) -> Sequence[str]:
        options = list(self._tunnel.options(target, aws)) if self._tunnel else []
        if self._pins:
            options += self._pins.options(target, aws, options)
        if self._key:
            options += self._key.options
            self._key.push(target, aws)  # last, since its minute begins here
        return options

    def hint(self, target: Target) -> str:  # noqa: D102
        if not _is_instance(target):
            return ""
        unpinned = self._pins.hint(target) if self._pins else ""
        if unpinned or not self._key:
            return unpinned
        return (
            f"{target.id} takes the key that was pushed to it only if EC2 Instance Connect is installed there, the user"
            " exists, and the login takes less than a minute"
        )

    def close(self) -> Sequence[str]:  # noqa: D102
        return self._scratch.close()


def _is_instance(target: Target) -> bool:
    return target.id.startswith("i-")
