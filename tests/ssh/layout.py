"""What a server's folder holds before it is started: its places, its /etc, and what is wrong with them on purpose."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

from ssh.traits import Traits

HOST_KEY = "ssh_host_ed25519_key"
# What a server may write to, with the modes that Debian has. All else of the machine is read-only for it.
PLACES = {"tmp": 0o1777, "var/tmp": 0o1777, "var/lib": 0o755, "var/log": 0o755, "run": 0o755, "root": 0o700}
PLACES |= {"home": 0o755, "dev/shm": 0o1777}
RUNNING = ("run/sshd", "run/mount")  # sshd demands the first, and mount makes the second
LEAN = ("tmp", "var/lib")
# Users and their login shells: one of each kind, and some that let nobody do anything.
ACCOUNTS = {
    "user": "/bin/bash",
    "dasher": "/bin/dash",
    "fisher": "/usr/bin/fish",
    "csher": "/bin/csh",
    "zsher": "/bin/zsh",
    "busyboxer": "/etc/ssh/ash",
    "restricted": "/bin/rbash",
    "nologin": "/usr/sbin/nologin",
    "noshell": "/nonexistent/shell",
}
FIRST_ID = 1001
PASSWORD = "password"  # of `user`, for sudo; hashed by `openssl passwd -6 -salt farm`
HASHED = "$6$farm$aiiFtvNsR7Cgxx31y80AwATD0ofmhjAwRCEXQQcFMcz.3PILzGuRgo6WhnrD7JQdCsW3mUiL2YVmE/1KeukIn1"
# What these shells read when sshd starts them for a command (bash does as Debian builds it); dash and ash read nothing.
RC = (".bashrc", ".zshenv", ".cshrc", ".config/fish/config.fish")
SUDOERS = {"": "", "free": "user ALL=(ALL:ALL) NOPASSWD: ALL\n", "password": "user ALL=(ALL:ALL) ALL\n"}
PROGRAM_PLACES = ("usr/local/bin", "usr/bin", "bin", "usr/local/sbin", "usr/sbin", "sbin")
CONFIG = """\
Port {port}
ListenAddress {host}
HostKey /etc/ssh/{key}
AuthorizedKeysFile /etc/ssh/authorized_keys
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel VERBOSE
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""


def generate(key: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "farm", "-f", key], check=True)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def furnish(folder: Path, root: Path, traits: Traits) -> None:
    """Everything but the configuration of sshd, which needs an address."""
    for place in LEAN if traits.lean else [*PLACES, *RUNNING]:
        (root / place).mkdir(parents=True)
        (root / place).chmod(PLACES.get(place, 0o755))
    for name, text in traits.files.items():
        write(folder / "ssh" / name, text, 0o755)
    if not traits.lean:
        machine(folder, traits)
        for number, name in enumerate(["root", *ACCOUNTS], FIRST_ID - 1):
            home = root / "root" if name == "root" else root / "home" / name
            inhabit(home, 0 if name == "root" else number, traits)
        for program in traits.without:
            hide(folder / "without", program)


def configure(folder: Path, root: Path, host: str, port: int, traits: Traits) -> None:
    """Write sshd_config. The first line for a keyword is the one that counts, and `Match` reaches up to the end."""
    matching = next((n for n, line in enumerate(traits.config) if line.startswith("Match")), len(traits.config))
    lines = [*traits.config[:matching], CONFIG.format(host=host, port=port, key=HOST_KEY)]
    if traits.banner:
        write(folder / "ssh" / "banner", traits.banner)
        lines.append("Banner /etc/ssh/banner")
    if traits.lean:
        lines.append(f"SetEnv SSM_DEPLOY_STATE_DIR={root / 'var' / 'lib'} TMPDIR={root / 'tmp'}")
    text = "\n".join([*lines, *traits.config[matching:], ""])
    write(folder / "ssh" / "sshd_config", text.replace("/etc/ssh/", f"{folder}/ssh/") if traits.lean else text)


def machine(folder: Path, traits: Traits) -> None:
    """Its own files in /etc, and the shell that is a link."""
    shells = {"root": traits.root_shell, **ACCOUNTS}
    ids = {"root": 0, "sshd": 101, "nobody": 65534} | {name: FIRST_ID + n for n, name in enumerate(ACCOUNTS)}
    passwd = {name: f"x:{ids[name]}:{ids[name]}::/home/{name}:{shell}" for name, shell in shells.items()}
    passwd |= {"root": f"x:0:0::/root:{traits.root_shell}", "sshd": "x:101:65534::/run/sshd:/usr/sbin/nologin"}
    passwd |= {"nobody": "x:65534:65534::/nonexistent:/usr/sbin/nologin"}
    secrets = dict.fromkeys(passwd, "*") | {"user": HASHED}
    etc = folder / "etc"
    write(etc / "passwd", "".join(f"{name}:{rest}\n" for name, rest in passwd.items()))
    write(etc / "group", "".join(f"{name}:x:{number}:\n" for name, number in ids.items()))
    write(etc / "shadow", "".join(f"{name}:{secret}:19000:0:99999:7:::\n" for name, secret in secrets.items()), 0o640)
    write(etc / "hosts", f"127.0.0.1 localhost {folder.name}\n")
    if traits.motd:
        write(etc / "motd", traits.motd)
    if Path("/etc/sudoers").exists():
        write(etc / "sudoers", "Defaults lecture=never,timestamp_timeout=0\n" + SUDOERS[traits.sudo], 0o440)
    (folder / "ssh").mkdir(exist_ok=True)
    (folder / "ssh" / "ash").symlink_to(shutil.which("busybox") or "busybox")
    write(folder / "ssh" / "noise", traits.noise)


def inhabit(home: Path, owner: int, traits: Traits) -> None:
    """A home folder with what its shells read."""
    home.mkdir(mode=0o700, exist_ok=True)
    start = (f"sleep {traits.delay}\n" if traits.delay else "") + ("cat /etc/ssh/noise\n" if traits.noise else "")
    texts = {**(dict.fromkeys(RC, start) if start else {}), **traits.rc}
    for name, text in texts.items():
        write(home / name, text)
    for path in [home, *home.rglob("*")]:
        os.chown(path, owner, owner)


def hide(without: Path, program: str) -> None:
    """Note for every folder that has the program that it is not there, in the way overlayfs understands."""
    found = [
        place for place in PROGRAM_PLACES if not Path("/", place).is_symlink() and Path("/", place, program).exists()
    ]
    for place in found:
        (without / place).mkdir(parents=True, exist_ok=True)
        os.mknod(without / place / program, stat.S_IFCHR, os.makedev(0, 0))
