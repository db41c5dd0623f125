"""What an instance is made of: directories of its own, the host's programs around them, and bubblewrap's command.

Isolation is against accidents, not against attackers: a script sees the host's programs, read-only, and the network.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REMOVALS = 20
SUPERVISOR = Path(__file__).with_name("supervisor.py")
PLAIN = "plain directories"
BUBBLEWRAP = "bubblewrap"
# What an instance has of its own, by the name of its folder on the host; everything else is the host's, read-only.
OWN = {
    "tmp": "/tmp",  # noqa: S108  # a mount point, no temporary file
    "var-tmp": "/var/tmp",  # noqa: S108  # likewise
    "var-lib": "/var/lib",
    "var-log": "/var/log",
    "run": "/run",
    "root": "/root",
    "home": "/home",
    "srv": "/srv",
}
# What root writes below /proc changes the host's kernel: a mount over each denies it. bwrap covers only some.
KERNEL = ("sys", "sysrq-trigger", "irq", "bus", "acpi", "fs", "scsi")
VOLATILE = ("tmp", "run")
SHARED = ("tmp", "var-tmp")
# What root may do in a container by common default, without making device nodes: it must be able to chown, to switch
# to another user, and to kill that user's processes; it must not be able to mount.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)


@dataclass(frozen=True)
class Traits:
    """What an instance is like, beyond its id.

    Attributes:
        hostname: what `hostname` says.
        hidden: programs of the host that it does not have, by name.
        disk_bytes: size of each of its /tmp, /var/tmp and /home, None for the host's.
    """

    hostname: str = "localhost"
    hidden: tuple[str, ...] = ()
    disk_bytes: int | None = None


def furnish(folder: Path, instance_id: str) -> Path:
    """Return the instance's folder on the host, with every directory of `OWN` in it."""
    own = folder / instance_id
    own.mkdir(exist_ok=True)
    for name in (*OWN, "sbin"):
        directory = own / name
        # Of what is there already, a script may have made anything.
        with contextlib.suppress(FileExistsError):
            directory.mkdir()
            directory.chmod(0o1777 if name in SHARED else 0o700 if name == "root" else 0o755)
    return own


def bubblewrap(folder: Path, traits: Traits) -> list[str]:
    """Return the command that puts what follows it into the instance's container."""
    command = ["bwrap", "--die-with-parent", "--unshare-pid", "--as-pid-1", "--unshare-ipc", "--unshare-uts"]
    command += ["--hostname", traits.hostname]
    if os.geteuid() != 0:
        command += ["--unshare-user", "--uid", "0", "--gid", "0"]
    # bwrap leaves root all it has, the right to mount the host writable again among it (bwrap(1), --cap-drop).
    command += ["--cap-drop", "ALL", *(argument for name in CAPABILITIES for argument in ("--cap-add", name))]
    command += ["--ro-bind", "/", "/"]
    for name, target in OWN.items():
        if Path(target).is_dir() and not Path(target).is_symlink():
            if traits.disk_bytes is not None and name in ("tmp", "var-tmp", "home"):
                command += ["--perms", "1777", "--size", str(traits.disk_bytes), "--tmpfs", target]
            else:
                command += ["--bind", str(folder / name), target]
    command += ["--proc", "/proc", "--dev", "/dev"]
    kernel = [path for path in (f"/proc/{name}" for name in KERNEL) if Path(path).exists()]
    command += [argument for path in kernel for argument in ("--ro-bind", path, path)]
    command += [argument for path in _python() for argument in ("--ro-bind", path, path)]
    # Read-only: the sandbox writes there at each boot.
    command += ["--ro-bind", str(folder / "sbin"), "/usr/local/sbin"] if Path("/usr/local/sbin").is_dir() else []
    command += ["--ro-bind", str(SUPERVISOR), "/run/ssm-agent-worker.py"]
    command += [argument for path in _programs(traits.hidden) for argument in ("--ro-bind", "/dev/null", path)]
    return [*command, "--chdir", "/"]


def _python() -> Iterator[str]:
    """The interpreter and its packages, where an instance's own directories hide them."""
    for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
        if any(Path(prefix).is_relative_to(target) for target in OWN.values()):
            yield prefix


def _programs(names: tuple[str, ...]) -> Iterator[str]:
    """Where the host keeps the programs of these names.

    /dev/null in their place is not executable, so `command -v` does not find them.
    """
    directories = ("/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
    paths = (Path(directory, name) for name in names for directory in directories)
    yield from dict.fromkeys(os.path.realpath(path) for path in paths if path.exists())


def usable(folder: Path) -> bool:
    """Whether bubblewrap can do here all that an instance needs; leaves nothing in `folder`."""
    if shutil.which("bwrap") is None:
        return False
    own = furnish(folder, "probe")
    try:
        probe = [*bubblewrap(own, Traits()), os.path.realpath(sys.executable), "-I", "-S", "-c", "import json"]
        return subprocess.run(probe, capture_output=True, timeout=10, check=False, env={}).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        shutil.rmtree(own, ignore_errors=True)


def distribution(release: Path = Path("/etc/os-release")) -> tuple[str, str]:
    """Return name and version of the host's distribution, as the agent reports them."""
    try:
        lines = release.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "Linux", ""
    values = {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}
    return values.get("NAME", "Linux"), values.get("VERSION_ID", "")


def remove(folder: Path) -> None:
    """Delete a folder that scripts wrote in, whatever modes they left; what is no folder, or gone, is let be."""
    # Processes that die at this moment may still write: another look finds what the last one missed.
    for _ in range(REMOVALS):
        if not folder.is_dir() or folder.is_symlink():
            return
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            _unlock(folder)
            time.sleep(0.02)


def _unlock(name: Path | str, parent: int | None = None) -> None:
    """Let the owner into a directory and all beneath it. No link is followed, so nothing outside changes."""
    with contextlib.suppress(OSError), _opened(name, os.O_PATH | os.O_NOFOLLOW, parent) as place:
        # What was opened by O_PATH can be changed by this name only (open(2)), and this name means that very directory.
        same = f"/proc/self/fd/{place}"
        Path(same).chmod(stat.S_IRWXU)
        with _opened(same, os.O_RDONLY) as directory, os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _unlock(entry.name, directory)


@contextlib.contextmanager
def _opened(name: Path | str, flags: int, parent: int | None = None) -> Iterator[int]:
    fd = os.open(name, flags | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)
