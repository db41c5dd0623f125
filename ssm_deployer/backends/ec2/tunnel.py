"""Ways to an instance that has no address that this machine could reach: the AWS CLI carries the connection."""

import shlex
from collections.abc import Sequence
from typing import Literal

from ssm_deployer.aws import Aws
from ssm_deployer.backends.ec2.tools import path_of, run
from ssm_deployer.backends.openssh import literal, option
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Target

Way = Literal["instance-connect", "session-manager"]

# ssh puts its port in for %p, whoever has set it: ssh_config(5), TOKENS.
# https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-getting-started-enable-ssh-connections.html
# https://docs.aws.amazon.com/cli/latest/reference/ec2-instance-connect/open-tunnel.html
_COMMANDS: dict[Way, tuple[str, ...]] = {
    "instance-connect": ("ec2-instance-connect", "open-tunnel", "--remote-port", "%p", "--instance-id"),
    "session-manager": (
        *("ssm", "start-session", "--document-name", "AWS-StartSSHSession", "--parameters", "portNumber=%p"),
        "--target",
    ),
}


class Tunnel:
    """One way, with the programs that it takes.

    Args:
        way: by an EC2 Instance Connect Endpoint, or by SSM's Session Manager.

    Raises:
        UsageError: a program is missing, or too old.
    """

    def __init__(self, way: Way) -> None:
        self._way = way
        self._aws = path_of("aws")
        if way == "session-manager":
            path_of("session-manager-plugin")
        elif "aws-cli/1." in run("aws", "--version").stdout:
            raise UsageError(
                "ssh.tunnel instance-connect needs version 2 of the AWS CLI, and `aws` is version 1",
                "install it: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
            )

    def options(self, target: Target, aws: Aws) -> Sequence[str]:
        """Get the arguments for ssh; known_hosts is then asked for the instance's id, which is nobody else's ever."""
        where = ["--region", aws.region, *(["--profile", aws.profile] if aws.profile else [])]
        # ssh takes all that follows the `=`, expands its tokens, and has the user's shell read the rest.
        words = [literal(self._aws), *_COMMANDS[self._way], target.id, *map(literal, where)]
        return ("-o", f"ProxyCommand={shlex.join(words)}", *option("HostKeyAlias", target.id))
