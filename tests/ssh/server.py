"""One sshd of a farm, with ways to look into it and to do it harm."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ssh.layout import ACCOUNTS, HOST_KEY, PLACES, RUNNING, configure, furnish, generate
from ssh.processes import ProcessTable
from ssh.traits import Traits

ISOLATE = Path(__file__).with_name("isolate.sh")
SSHD = "/usr/sbin/sshd"
LISTENS = "Server listening on "
PATIENCE = 20
# What fish makes in its user's home at every start.
FISH = (".config/fish", ".local/share/fish", ".cache/fish")


class Grounds(Protocol):
    """What a server needs of its farm."""

    @property
    def inside(self) -> Path:
        """The root directory of the farm's namespace."""

    @property
    def table(self) -> ProcessTable: ...

    def ask(self, ask: str, **words: Any) -> Any:
        """Have the warden do something."""


@dataclass
class Server:
    """An sshd at `host` and `port`. `root` has what it may write to: `root / "tmp"` is its /tmp."""

    farm: Grounds
    folder: Path
    traits: Traits
    host: str = "127.0.0.1"
    port: int = 22
    network: int = -1
    pid: int = 0
    baseline: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def root(self) -> Path:
        """Where space is short it is a file system in the farm's namespace, and as short-lived."""
        here = self.folder / "root"
        return self.farm.inside / here.relative_to("/") if self.traits.space else here

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "ssh" / f"{HOST_KEY}.pub").read_text().split()[:2])

    @property
    def known_as(self) -> str:
        """What known_hosts calls it."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    def prepare(self) -> None:
        """Lay out the folder, and take a port or a network."""
        if self.traits.space:
            (self.folder / "root").mkdir()
            size = f"mode=755,size={self.traits.space}"
            self.spawn(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.folder / "root")])
            if self.farm.ask("wait", pid=self.pid) != 0:
                raise RuntimeError(f"{self.name} cannot have a file system of its own: {self.log}")
        furnish(self.folder, self.root, self.traits)
        if self.traits.link:
            self.network = self.farm.ask("network")
            self.host = self.address(2)
        else:
            self.port = self.farm.ask("port", listen=False)
        configure(self.folder, self.root, self.host, self.port, self.traits)
        self.baseline = frozenset(self.files())

    def address(self, last: int) -> str:
        """In its network the machine is 1, and the server 2."""
        number = self.network * 4 + last
        return f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"

    def spawn(self, argv: list[str]) -> None:
        self.pid = self.farm.ask("spawn", argv=argv, log=str(self.folder / "log"), env={"FARM_SERVER": str(self.root)})

    def launch(self) -> None:
        """Start, and do not wait."""
        if self.traits.lean:
            self.spawn([SSHD, "-D", "-e", "-f", str(self.folder / "ssh" / "sshd_config")])
            return
        kinds = ["--mount", "--pid", "--uts", "--ipc", *(["--net"] if self.traits.link else [])]
        link = [str(self.network), self.address(1), self.host, self.traits.rate] if self.traits.link else []
        self.spawn(["unshare", *kinds, "--fork", "--kill-child", str(ISOLATE), str(self.folder), self.name, *link])

    def await_listening(self, times: int = 1) -> None:
        """Until the log tells so often that it listens."""
        deadline = time.monotonic() + PATIENCE
        while self.log.count(LISTENS) < times:
            if not self.farm.table.exists(self.pid) or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not listen: {self.log}")
            time.sleep(0.002)

    def start(self) -> None:
        """Once more, with the same files, port and key."""
        times = self.log.count(LISTENS)
        self.launch()
        self.await_listening(times + 1)

    def stop(self) -> None:
        """As if the power went: when this returns, no process is left."""
        listener = self.listener
        self.signal([listener], signal.SIGSTOP)  # so that none is born unseen
        self.signal({listener, *self.members()}, signal.SIGKILL)
        self.farm.ask("wait", pid=self.pid)
        self.pid = 0
        while left := self.members():
            self.signal(left, signal.SIGKILL)

    def reboot(self) -> None:
        self.stop()
        for place in ("tmp", "run", "dev/shm"):
            for path in (self.root / place).iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for place in RUNNING:
            (self.root / place).mkdir()
        self.start()

    def change_host_key(self) -> None:
        """Have sshd go on with a new host key, on the same port. Sessions stay."""
        new = self.folder / "ssh" / "new"
        generate(new)
        new.replace(self.folder / "ssh" / HOST_KEY)
        new.with_suffix(".pub").replace(self.folder / "ssh" / f"{HOST_KEY}.pub")
        times = self.log.count(LISTENS)
        self.signal([self.listener], signal.SIGHUP)
        self.await_listening(times + 1)

    def kill_sessions(self) -> int:
        """Kill the processes of sshd that serve connections, and tell how many there were."""
        serving = [pid for pid in self.farm.table.below(self.listener) if self.farm.table.is_sshd(pid)]
        self.signal(serving, signal.SIGKILL)
        return len(serving)

    def cut(self) -> None:
        """Have the link drop everything, both ways: nobody gets as much as a reset."""
        self.queue("replace", "blackhole")

    def mend(self) -> None:
        """Undo `cut`; the link has no `rate` any more."""
        self.queue("delete")

    def queue(self, action: str, *kind: str) -> None:
        if not self.traits.link:
            raise ValueError(f"{self.name} has no link: it must be made with link=True")
        network = self.farm.table.proc / str(self.listener) / "ns" / "net"
        for entry, device in ((["nsenter", f"--net={network}"], "eth0"), ([], f"farm{self.network}")):
            subprocess.run([*entry, "tc", "qdisc", action, "dev", device, "root", *kind], check=True)

    def files(self) -> Iterator[str]:
        for place in PLACES:
            for folder, folders, names in os.walk(self.root / place):
                yield from (str((Path(folder) / name).relative_to(self.root)) for name in [*folders, *names])

    def leftovers(self) -> list[str]:
        """The files and folders, as `tmp/name`, that it did not have before its first start."""
        homes = ["root", *(f"home/{name}" for name in ACCOUNTS)]
        fish = [f"{home}/{name}/" for home in homes for name in FISH]
        new = sorted({*self.files()} - self.baseline)
        return [
            name for name in new if not any(f"{name}/".startswith(own) or own.startswith(f"{name}/") for own in fish)
        ]

    def processes(self) -> list[str]:
        """The commands that run on it, sshd's own apart."""
        return self.farm.table.commands(self.members())

    @property
    def listener(self) -> int:
        """The sshd that listens: what was started, or in its own namespace unshare's child."""
        pid = self.pid if self.traits.lean else self.farm.table.first_child(self.pid)
        if not pid:
            raise RuntimeError(f"{self.name} does not run")
        return pid

    def members(self) -> set[int]:
        """All its processes, as the farm's namespace numbers them. Those of a lean server are told by what it set."""
        table = self.farm.table
        if self.traits.lean:
            return table.marked(f"={self.root}".encode()) | (table.below(self.pid) if self.pid else set())
        return table.in_namespace_of(self.listener) if self.pid else set()

    def signal(self, pids: Iterable[int], number: signal.Signals) -> None:
        self.farm.ask("kill", pids=list(pids), number=number)


@contextlib.contextmanager
def occupied(server: Server) -> Iterator[None]:
    """A connection that never logs in."""
    with socket.create_connection((server.host, server.port)) as held:
        held.recv(100)
        yield
