"""The targets, what a client needs to know of them, and whether they got what they should.

They are real sshd on this machine (`tests/ssh/farm.py`). Where contestants are compared each is a machine in miniature
with a file system of its own, so that every tool may use the same paths on all of them, as it would on real machines.
On one that they share, a new file takes the longer the more files were removed in the last seconds, whoever did it: for
so long ext4 gives no inode out again, and passes over each of them (`recently_deleted` in fs/ext4/ialloc.c). Where ours
alone meets very many of them, they are lean.
"""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from ssh.farm import Farm
from ssh.server import Server

from benchmarks.ssh.job import Job, Payload, make

# OpenSSH's own order, and the exchange that costs least before it (for all who use OpenSSH; the others have their own).
EXCHANGES = {"default": "", "curve25519": "KexAlgorithms ^curve25519-sha256\n"}
HOST = "127.0.0.1"
ROOM = "100m"  # that the files of a target may take
# How a script on an isolated target, and on a lean one, knows which it is. Ours shows it no SSH_CONNECTION.
ISOLATED = "read -r name </proc/sys/kernel/hostname"
LEAN = "name=${DEPLOY_FILES_DIR#*/servers/}; name=${name%%/*}"
CONFIG = """\
Host *
  User root
  BatchMode yes
  LogLevel ERROR
  StrictHostKeyChecking yes
  UserKnownHostsFile {home}/.ssh/known_hosts
  GlobalKnownHostsFile /dev/null
  IdentityFile {home}/.ssh/id_ed25519
  IdentitiesOnly yes
  IdentityAgent none
  {exchange}
"""


class Ground:
    """So many targets, and a folder with the files that name them for this tool or that.

    Attributes:
        folder: `ports`, `hosts`, `inventory.ini`, `inventory`; `config.…` for ssh, and `names.…`, which also knows
            the targets by name, where … is one of `EXCHANGES`.
    """

    def __init__(self, number: int, *, lean: bool = False) -> None:
        self.temporary = tempfile.TemporaryDirectory(prefix="bench-ssh-")
        self.folder = Path(self.temporary.name)
        self.farm = Farm()
        self.lean = lean
        traits = {"lean": True} if lean else {"shared_key": True, "space": ROOM}
        self.servers = self.farm.servers(number, **traits)
        (self.folder / "results").mkdir()
        self._write()

    @property
    def home(self) -> Path:
        return self.farm.home

    @property
    def key(self) -> Path:
        return self.home / ".ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh" / "known_hosts"

    def _write(self) -> None:
        named = {number: server.port for number, server in enumerate(self.servers, 1)}
        for name, exchange in EXCHANGES.items():
            config = CONFIG.format(home=self.home, exchange=exchange)
            (self.folder / f"config.{name}").write_text(config)
            stanzas = (f"Host t{number}\n  HostName {HOST}\n  Port {port}\n" for number, port in named.items())
            (self.folder / f"names.{name}").write_text("".join(stanzas) + config)
        lines = {
            "ports": "{port}\n",
            "hosts": "root@{host}:{port}\n",
            "inventory.ini": "t{number} ansible_host={host} ansible_port={port} ansible_user=root\n",
            "inventory": "root@{host}:{port}\n",
        }
        for name, line in lines.items():
            text = "".join(line.format(number=number, host=HOST, port=port) for number, port in named.items())
            (self.folder / name).write_text(text)

    def job(self, payload: Payload, seconds: int = 0) -> Job:
        """Make one whose script takes so many seconds longer than it must."""
        name, results = (LEAN, str(self.folder / "results")) if self.lean else (ISOLATED, "/var/log")
        folder = self.folder / f"{payload.name.replace(' ', '-')}-{seconds}"
        return make(folder, payload, f"{name}\nsleep {seconds}" if seconds else name, results)

    def forget(self) -> None:
        """Remove all results."""
        for server in self.servers:
            self._result(server).unlink(missing_ok=True)

    def wrong(self, job: Job) -> str:
        """What is not as the job demands, in a few words; nothing if all is well."""
        bad = sum(self._found(server) != job.digests for server in self.servers)
        if bad:
            return f"{bad} of {len(self.servers)} targets have not got the files"
        left = next((path.name for server in self.servers for path in (server.root / "tmp").iterdir()), "")
        return f"left on a target: {left}" if left else ""

    def tidy(self) -> None:
        """Remove what a failed contestant left."""
        for server in self.servers:
            for path in (server.root / "tmp").iterdir():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _result(self, server: Server) -> Path:
        return (self.folder / "results" if self.lean else server.root / "var" / "log") / server.name

    def _found(self, server: Server) -> dict[str, str]:
        path = self._result(server)
        if not path.exists():
            return {}
        pairs = (line.split("  ./", 1) for line in path.read_text().splitlines())
        return {name: digest for digest, name in pairs}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.farm.close()
        self.temporary.cleanup()
