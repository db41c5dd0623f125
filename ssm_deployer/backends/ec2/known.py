"""What the user's SSH client knows already of a machine."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ssm_deployer.backends.ec2.tools import complaint, run
from ssm_deployer.backends.openssh import Login, known_as, query
from ssm_deployer.errors import DeployError
from ssm_deployer.model import Target


class Known(msgspec.Struct, frozen=True):
    """By which name ssh looks a machine's keys up, in which files, and whether a command of the user's gives some."""

    name: str
    user_files: Sequence[Path]
    global_files: Sequence[Path]
    command: bool

    @property
    def listed(self) -> bool:
        """Whether any file has an entry for the name, be it hashed, a pattern, an authority or a revocation."""
        return any(_has(path, self.name) for path in (*self.user_files, *self.global_files))


def known(login: Login, target: Target, access: Sequence[str]) -> Known:
    """Ask the SSH client, which has read its configuration and knows what applies to this target.

    Args:
        login: what the user wants.
        target: the machine.
        access: further arguments that the connection will have.

    Raises:
        DeployError: the client cannot say, for instance because its configuration has an error.
    """
    ended = run(*query(login, target, access))
    if ended.returncode:
        raise DeployError(f"ssh says: {complaint(ended)}", "does its configuration have an error?")
    return _read(dict(line.split(" ", 1) for line in ended.stdout.splitlines() if " " in line))


def _read(settings: dict[str, str]) -> Known:
    return Known(
        name=settings.get("hostkeyalias") or known_as(settings["hostname"], int(settings["port"])),
        user_files=_files(settings.get("userknownhostsfile", "")),
        global_files=_files(settings.get("globalknownhostsfile", "")),
        command=settings.get("knownhostscommand", "none") != "none",
    )


def _files(words: str) -> list[Path]:
    """Find the files that are there. `ssh -G` shows a path with blanks without quotes, so neighbours are joined."""
    parts = words.split(" ")
    ends = range(1, len(parts) + 1)
    paths = (Path(" ".join(parts[first:end])) for end in ends for first in range(end))
    return [path for path in paths if path.is_absolute() and path.is_file()]


def _has(path: Path, name: str) -> bool:
    # 1 is for no entry; for 255 (the file cannot be read) ssh has a complaint of its own.
    return run("ssh-keygen", "-F", name, "-f", str(path)).returncode == 0
