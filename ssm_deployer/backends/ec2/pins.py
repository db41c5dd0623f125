"""Host keys from an instance's console, for addresses that the user's known_hosts files lack."""

import threading
from collections.abc import Sequence
from typing import Any

from ssm_deployer.aws import Aws, translated
from ssm_deployer.backends.ec2.console import Contradiction, host_keys
from ssm_deployer.backends.ec2.known import Known, known
from ssm_deployer.backends.openssh import Login, option
from ssm_deployer.backends.scratch import Scratch
from ssm_deployer.errors import CloudError, DeployError
from ssm_deployer.model import Target

ATTEMPTS = 5  # GetConsoleOutput has a small bucket of tokens, and a wave asks for many targets at once
_POLICY = "iam/operator-policy-ssh.json allows it"
_BY_HAND = "add the host's key to your known_hosts file"


class _NoNitro(CloudError):
    """Only instances on Nitro show their console as it is now."""


class Pins:
    """The host keys that the SSH client is to accept besides those that it knows, one file a target.

    Args:
        scratch: where these files are put.
        login: what the user wants.
    """

    def __init__(self, scratch: Scratch, login: Login) -> None:
        self._scratch = scratch
        self._login = login
        self._lock = threading.Lock()
        self._made: dict[str, tuple[Sequence[str], str]] = {}

    def options(self, target: Target, aws: Aws, others: Sequence[str] = ()) -> Sequence[str]:
        """Get the arguments for ssh, `others` being those that it gets anyway. Looks once for each target."""
        with self._lock:
            made = self._made.get(target.id)
        if made is None:
            made = self._make(target, aws, others)
            with self._lock:
                self._made[target.id] = made
        return made[0]

    def hint(self, target: Target) -> str:
        """Say why a target has no pin though it needs one."""
        with self._lock:
            return self._made.get(target.id, ((), ""))[1]

    def _make(self, target: Target, aws: Aws, others: Sequence[str]) -> tuple[Sequence[str], str]:
        try:
            here = known(self._login, target, others)
            # An entry that differs stays the refusal that it is: of several keys for one name ssh takes any.
            if here.command or here.listed:
                return (), ""
            keys = _printed(target, aws)
        except Contradiction:
            return (), f"the console of {target.id} shows two different host keys; {_BY_HAND}"
        except DeployError as error:
            return (), f"no host key was found for it: {error.message}; {error.hint or _BY_HAND}"
        if not keys:
            return (), f"the console of {target.id} shows no host keys (any more); {_BY_HAND}"
        return self._pinned(target, here, keys), ""

    def _pinned(self, target: Target, here: Known, keys: Sequence[str]) -> Sequence[str]:
        path = self._scratch.folder / f"known_hosts.{target.id}"
        path.touch(mode=0o600)
        path.write_text("".join(f"{here.name} {key}\n" for key in keys), encoding="utf-8")
        # Among the global files, since ssh writes into the users' (the first of them, when it learns of further keys).
        # This setting replaces the configured one, hence the others beside it.
        return option("GlobalKnownHostsFile", str(path), *map(str, here.global_files))


def _printed(target: Target, aws: Aws) -> list[str]:
    """Read what the console shows now, or else what was kept of it after the last boot.

    A machine that has been up for long has its first boot in neither; one that is young only in the former:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-unreachable-instance.html#instance-console-console-output
    """
    try:
        keys = host_keys(_output(target, aws, Latest=True))
    except _NoNitro:
        keys = []
    return keys or host_keys(_output(target, aws))


def _output(target: Target, aws: Aws, **how: bool) -> str:
    doing = f"read the console of {target.id}"
    denied = CloudError(f"cannot {doing}: your IAM policy does not allow ec2:GetConsoleOutput", _POLICY)
    codes = {"UnsupportedOperation": _NoNitro(f"cannot {doing}: EC2 has none"), "UnauthorizedOperation": denied}
    with translated(doing, codes):
        answer: dict[str, Any] = aws.client("ec2", attempts=ATTEMPTS).get_console_output(InstanceId=target.id, **how)
    return str(answer.get("Output", ""))
