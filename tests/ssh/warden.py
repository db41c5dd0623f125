"""The first process of a farm's namespaces: whatever the farm starts is below it and ends with it.

It reads a request per line and answers each by a line. The end of its stdin means that whoever made the farm is gone,
however that went: then it kills everything by process id, removes the farm's folder, and leaves. Should it be killed
itself, the kernel ends the namespace, and so all that is in it. It also keeps the ports and networks that are taken,
for as long as it lives.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DESCRIPTORS = 8192  # each server's port takes one
OPEN_FILES = 1024  # what systemd lets a service have, if that asks for no more
NETWORKS = 32768  # of four addresses each, in 198.18.0.0/15, which is set aside for measuring networks
PATIENCE = 30


class Warden:
    """What it started, and what it keeps for others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: set[int] = set()
        self.status: dict[int, int] = {}
        self.kept: list[socket.socket] = []
        self.links: list[Path] = []

    def reap(self, *_: object) -> None:
        """Whatever loses its parent becomes the child of the namespace's first process."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] in self.running:
                    self.running.discard(ended[0])
                    self.status[ended[0]] = os.waitstatus_to_exitcode(ended[1])

    def spawn(self, argv: list[str], log: str, env: dict[str, str]) -> int:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        try:
            mine = {"PATH": os.environ["PATH"], **env}
            plain = [signal.SIGPIPE, signal.SIGXFSZ]  # which Python ignores
            with self.few_files():
                pid = os.posix_spawnp(
                    argv[0], argv, mine, file_actions=actions, setsid=True, setsigmask=[], setsigdef=plain
                )
            self.running.add(pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        return pid

    @contextlib.contextmanager
    def few_files(self) -> Iterator[None]:
        """Let what is started meanwhile have no more files than usual, unless so many are open here already."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if len(self.kept) < OPEN_FILES // 2:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def wait(self, pid: int) -> int:
        while pid not in self.status:
            time.sleep(0.001)
        return self.status.pop(pid)

    def kill(self, pids: list[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def port(self, *, listen: bool) -> int:
        """A port that stays taken. A server that sets SO_REUSEADDR, as sshd does, can bind to it nevertheless.

        Bound without the option, so that no other farm gets it; set afterwards, as the kernel asks for the option of
        both sockets when the second one is bound.
        """
        keeper = socket.socket()
        keeper.bind(("127.0.0.1", 0))
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listen:
            keeper.listen()
        self.kept.append(keeper)
        return int(keeper.getsockname()[1])

    def network(self) -> int:
        """The number of a network that no other farm uses: the name of a socket can be taken once, as a port can."""
        while True:
            number = random.randrange(NETWORKS)  # noqa: S311 # no secret
            keeper = socket.socket(socket.AF_UNIX)
            try:
                keeper.bind(f"\0ssm-deploy-farm-{number}")
            except OSError:
                keeper.close()
                continue
            self.kept.append(keeper)
            link = Path(f"/sys/class/net/farm{number}")
            if not link.exists():
                self.links.append(link)
                return number

    def others(self) -> list[int]:
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and path.name != "1"]

    def end(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while (left := self.others()) and time.monotonic() < deadline:
            self.kill(left, signal.SIGKILL)
            time.sleep(0.01)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            point = line.split()[4]
            if Path(point).is_relative_to(self.folder):
                self.wait(self.spawn(["umount", "-l", point], os.devnull, {}))
        shutil.rmtree(self.folder)
        for link in filter(Path.exists, self.links):  # the kernel removes it, too, once it is through with all sockets
            self.wait(self.spawn(["ip", "link", "delete", link.name], os.devnull, {}))

    def answer(self, request: dict[str, Any]) -> object:
        match request.pop("ask"):
            case "spawn":
                return self.spawn(**request)
            case "wait":
                return self.wait(**request)
            case "kill":
                self.kill(**request)
                return None
            case "port":
                return self.port(**request)
            case "network":
                return self.network()
            case _:
                return None


def main() -> None:
    if os.getpid() != 1:  # it kills every process that it sees
        raise SystemExit("the warden runs as the first process of a pid namespace only")
    warden = Warden(Path(sys.argv[1]))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    signal.signal(signal.SIGCHLD, warden.reap)
    for place in ("run", "root"):
        warden.wait(warden.spawn(["mount", "--bind", sys.argv[1] + "/" + place, "/" + place], os.devnull, {}))
    for line in sys.stdin:
        try:
            said: dict[str, object] = {"answer": warden.answer(json.loads(line))}
        except OSError as error:
            said = {"error": str(error)}
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(said), flush=True)  # noqa: T201 # this is its answer
    warden.end()


if __name__ == "__main__":
    main()
