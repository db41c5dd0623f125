"""What is brought to all targets of one command, and what each of them is told to do."""

from pathlib import Path

import msgspec

from ssm_deployer import payload
from ssm_deployer.backends.content import Limits
from ssm_deployer.backends.openssh import Login
from ssm_deployer.model import Target


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What all connections of one command have in common.

    Attributes:
        command: the id of the command.
        run_id: whose record counts.
        line: the payload as the target's shell reads it.
        content: a file, open for reading, that follows the line, or is copied before.
        content_path: where it is.
        content_size: of the file.
        login: what the user wants.
        limits: what the payload may do, in seconds.
        folder: for logs and sockets, this user's alone.
    """

    command: str
    run_id: str
    line: bytes
    content: int
    content_path: Path
    content_size: int
    login: Login
    limits: Limits
    folder: Path

    @property
    def by_scp(self) -> bool:
        """Whether the content is copied before."""
        return self.login.transfer == "scp"

    @property
    def copied_name(self) -> str:
        """What the content is called in the login user's home."""
        return f".ssm-deploy-{self.run_id}"

    def command_for(self, target: Target) -> str:
        """What a target's login shell is to run."""
        environment = {
            "SSM_COMMAND_ID": self.command,
            "AWS_SSM_INSTANCE_ID": target.id,
            "AWS_SSM_REGION_NAME": target.region,
        }
        content = self.copied_name if self.by_scp else ""
        return payload.login_command(self.run_id, environment, sudo=self.login.sudo, content=content)
