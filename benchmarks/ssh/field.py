"""Who takes part, each in the best setting that we know.

The widths (how many connections at once) are the best of 8, 16, 32 and 100 on two cores; ours is its default.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.measure import ROOT

PEERS = Path(__file__).parent / "peers"
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
OURS = "ssm-deploy"
PROGRAM = Path(sys.executable).with_name(OURS)


@dataclass(frozen=True)
class Contestant:
    """One way to do the job.

    Attributes:
        name: as the user of `ONLY=` types it.
        words: as the table has it.
        command: what is run.
        width: how many connections there may be at once.
        there: whether it is installed.
        openssh: whether it runs OpenSSH, whose algorithms we choose; the others have their own order.
        by_hand: whether it is something that one would write oneself.
    """

    name: str
    words: str
    command: tuple[str, ...]
    width: int
    there: Callable[[], bool]
    openssh: bool = True
    by_hand: bool = False


def _installed(program: str) -> Callable[[], bool]:
    return lambda: shutil.which(program) is not None


def _importable(module: str) -> Callable[[], bool]:
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"

    def look() -> bool:
        return PYTHON.exists() and subprocess.run([PYTHON, "-c", found], check=False).returncode == 0

    return look


def _ours() -> bool:
    """Whether this version goes by SSH."""
    told = subprocess.run([PROGRAM, "upload-script", "--help"], capture_output=True, text=True, check=True)
    return "--ssh-key" in told.stdout


def _script(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(PEERS / name), *arguments)


def _by_hand(how: str, words: str) -> Contestant:
    return Contestant(f"hand-{how}", words, _script("by_hand.sh", how), 32, _installed("xargs"), by_hand=True)


def _library(name: str, words: str, module: str, width: int) -> Contestant:
    command = (str(PYTHON), "-m", f"benchmarks.ssh.peers.by_{name.replace('-', '_')}")
    return Contestant(name, words, command, width, _importable(module), openssh=False)


# Ours is last: what the others do to the machine's caches, it finds done.
FIELD = (
    _by_hand("each", "tar made per target, to ssh, xargs -P"),
    _by_hand("once", "tar made once, ssh < file, xargs -P"),
    _by_hand("gzip", "tar.gz made once, ssh < file, xargs -P"),
    Contestant("pssh", "parallel-ssh -I (pssh)", _script("by_pssh.sh"), 32, _installed("parallel-ssh")),
    Contestant("clush", "clush, archive on stdin", _script("by_clush.sh", "stdin"), 100, _installed("clush")),
    Contestant("clush-copy", "clush --copy, then clush", _script("by_clush.sh", "copy"), 32, _installed("clush")),
    Contestant("master", "ControlMaster, scp, ssh, xargs -P", _script("by_scp.sh", "master"), 32, _installed("scp")),
    Contestant("scp", "scp, then ssh, xargs -P", _script("by_scp.sh", "plain"), 16, _installed("scp")),
    Contestant("ansible", "Ansible", _script("by_ansible.sh"), 100, _importable("ansible")),
    _library("fabric", "Fabric's ThreadingGroup", "fabric", 100),
    Contestant("pyinfra", "pyinfra", _script("by_pyinfra.sh"), 100, _importable("pyinfra"), openssh=False),
    _library("parallel-ssh", "parallel-ssh (Python)", "pssh", 100),
    _library("asyncssh", "asyncssh, archive on stdin", "asyncssh", 100),
    _library("ssh2", "ssh2-python, archive on stdin", "ssh2", 32),
    Contestant(OURS, "ours", _script("ours.sh"), 64, _ours),
)


def chosen(names: Collection[str], width: str) -> list[Contestant]:
    """Those of these names, with a width other than their own if one is given."""
    return [replace(each, width=int(width or each.width)) for each in FIELD if each.name in names]
