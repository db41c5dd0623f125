"""What SSH logs in with: whether there is something, and whether what was named is there."""

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssm_deployer.config import Settings
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Target

# ssh(1), -i: those that it tries by itself.
_DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
_OTHERS_MAY = 0o077


def has_key(settings: Settings, environment: Mapping[str, str], home: Path | None) -> bool:
    """Whether there is a key to log in with, as far as that can be seen from here.

    Args:
        settings: they may name one.
        environment: it may name an agent.
        home: of the user, as `user_home` finds it.
    """
    agent = environment.get("SSH_AUTH_SOCK")
    return bool(
        settings.ssh.key
        or key_file(settings)
        or (agent and Path(agent).is_socket())
        or (home and any((home / ".ssh" / name).is_file() for name in _DEFAULT_KEYS))
    )


def user_home() -> Path | None:
    """Where OpenSSH looks for keys: it asks the system and not $HOME."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # as in a container that runs as a number
        return None


def key_file(settings: Settings) -> str:
    """The file that names the key: the private one, or the public one of a key that an agent holds."""
    return settings.aws.private_ssh_key_path or settings.aws.public_ssh_key_path


def check_login(settings: Settings, targets: Sequence[Target]) -> None:
    """Make sure that there is what logging in needs, before anything happens.

    Raises:
        UsageError: something is missing.
    """
    by_ssh = [target for target in targets if target.via == "ssh"]
    lent = [target for target in by_ssh if settings.ssh.key and not target.id.startswith("ssh:")]
    if lent and not settings.aws.username:
        raise UsageError(
            f"an ephemeral key is for one user, and none is set for {lent[0].id}",
            "give --ssh-user, or set aws.username; on Amazon Linux it is ec2-user, on Ubuntu ubuntu",
        )
    if len(by_ssh) > len(lent) and key_file(settings):
        _check_file(Path(key_file(settings)), private=bool(settings.aws.private_ssh_key_path))


def _check_file(path: Path, *, private: bool) -> None:
    try:
        with path.open("rb"):
            found = path.stat()
    except OSError as error:
        raise UsageError(
            f"cannot read the key {path}: {error.strerror}",
            "name another with --ssh-key, or set aws.private_ssh_key_path; without one OpenSSH tries its own",
        ) from error
    if private and found.st_uid == os.getuid() and found.st_mode & _OTHERS_MAY:  # OpenSSH would pass over it
        raise UsageError(f"others may read the key {path}, so OpenSSH will not use it", f"chmod 600 {path}")
