"""A key of this run alone, which EC2 Instance Connect makes an instance accept for a minute."""

import threading
from collections.abc import Sequence
from pathlib import Path

from ssm_deployer.aws import Aws, translated
from ssm_deployer.backends.ec2.tools import complaint, run
from ssm_deployer.backends.openssh import literal, option
from ssm_deployer.backends.scratch import Scratch
from ssm_deployer.errors import CloudError, DeployError, UsageError
from ssm_deployer.model import Target

ATTEMPTS = 5  # a wave pushes to many targets at once; a key pushed twice is as good as once
_POLICY = "iam/operator-policy-ssh.json allows it, for the users that its condition ec2:osuser names"
# https://docs.aws.amazon.com/ec2-instance-connect/latest/APIReference/API_SendSSHPublicKey.html
_REFUSALS = {
    "AuthException": ("the credentials are not valid, or your IAM policy does not allow it for user {user}", _POLICY),
    "AccessDeniedException": ("your IAM policy does not allow it for user {user}", _POLICY),
    "InvalidArgsException": ("EC2 Instance Connect takes no such user name or instance", "is {user} the right user?"),
    "EC2InstanceNotFoundException": ("EC2 knows no such instance in {region}", "was it terminated?"),
    "EC2InstanceStateInvalidException": ("the instance is not running", "start it"),
    "EC2InstanceUnavailableException": (
        "the instance cannot be reached by EC2 now",
        "wait a few minutes, and see its status checks",
    ),
}


class Key:
    """An ed25519 key, made when it is first needed.

    It is a file, and not in an agent of our own: ssh needs a file to tell it which of an agent's keys is meant, an
    agent would be one more process to end, and a connection with ForwardAgent would lend it to the machine. Nobody
    accepts the key a minute after it was last pushed.

    Args:
        scratch: where it is put.
        user: as whom to log in to targets that name nobody.
    """

    def __init__(self, scratch: Scratch, user: str) -> None:
        self._scratch = scratch
        self._user = user
        self._lock = threading.Lock()
        self._path: Path | None = None

    @property
    def options(self) -> Sequence[str]:
        """Arguments for ssh that have it try this key first, and none that only an agent has."""
        path = self._file()
        return (
            *option("IdentityFile", literal(path)),
            *option("IdentitiesOnly", "yes"),
            *option("IdentityAgent", "none"),
        )

    def push(self, target: Target, aws: Aws) -> None:
        """Have an instance accept the key for the next 60 seconds.

        Raises:
            UsageError: nobody said as whom to log in.
            CloudError: the service refuses, or does not answer.
        """
        user = target.user or self._user
        if not user:
            raise UsageError(
                f"an ephemeral key for {target.id} needs the name of the user to log in as",
                "give --ssh-user, or set aws.username; on Amazon Linux it is ec2-user, on Ubuntu ubuntu",
            )
        doing = f"push a key to {target.id}"
        public = self._file().with_suffix(".pub").read_text(encoding="utf-8").strip()
        with translated(doing, _refusals(doing, user, target.region)):
            # It has no AvailabilityZone any more, which only ever named what the service knows.
            answer = aws.client("ec2-instance-connect", attempts=ATTEMPTS).send_ssh_public_key(
                InstanceId=target.id, InstanceOSUser=user, SSHPublicKey=public
            )
        if not answer.get("Success"):
            raise CloudError(f"cannot {doing}: EC2 Instance Connect did not do it", "try again")

    def _file(self) -> Path:
        with self._lock:
            if self._path is None:
                self._path = _generated(self._scratch.folder / "key")
            return self._path


def _generated(path: Path) -> Path:
    # The comment would else be the user's name and this machine's, for CloudTrail to keep.
    ended = run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ssm-deploy", "-f", str(path))
    if ended.returncode:
        raise DeployError(f"cannot make a key: {complaint(ended)}", f"can files be written to {path.parent}?")
    return path


def _refusals(doing: str, user: str, region: str) -> dict[str, Exception]:
    return {
        code: CloudError(
            f"cannot {doing}: {words.format(user=user, region=region)}", remedy.format(user=user, region=region)
        )
        for code, (words, remedy) in _REFUSALS.items()
    }
