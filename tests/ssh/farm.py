"""A farm of real sshd, for the tests of what goes by SSH: each a machine in miniature, all gone when the farm is.

    with Farm() as farm:
        one, two = farm.servers(2)
        farm.ssh(one, "hostname", user="fisher").stdout
        hundred = farm.servers(100, lean=True)

A server is isolated: it has its own processes, host name, users and /etc/ssh, its own /tmp, /var/tmp, /var/lib,
/var/log, /run, /root, /home and /dev/shm, and can write to nothing else. `Traits` says what else it may be like. A lean
server shares all of that with the machine, but for what SSM_DEPLOY_STATE_DIR and TMPDIR say, and /run and /root, which
are the farm's. Everything is below one process (`warden.py`), which ends it by process id when this process goes, by
SIGKILL too.
"""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from ssh.layout import HOST_KEY, generate, write
from ssh.processes import ProcessTable
from ssh.server import Server
from ssh.traits import Traits

WARDEN = Path(__file__).with_name("warden.py")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = {
    **dict.fromkeys(("ssh", "ssh-keygen"), "openssh-client"),
    **dict.fromkeys(("ip", "tc"), "iproute2"),
    **dict.fromkeys(("unshare", "nsenter"), "util-linux"),
    "sshd": "openssh-server",
}
# What `ssh` is told by the user's own configuration. It asks the password database where that is, and not HOME.
CLIENT = """\
Host *
  UserKnownHostsFile {home}/.ssh/known_hosts
  GlobalKnownHostsFile /dev/null
  IdentityFile {home}/.ssh/id_ed25519
  IdentitiesOnly yes
  IdentityAgent none
"""


class Reachable(Protocol):
    """What `ssh` can be pointed to."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


@dataclass(frozen=True)
class Address:
    """A place where no sshd is."""

    host: str
    port: int


class Farm:
    """Servers, and a user who may log in to all of them: as root, or as any of `ACCOUNTS`.

    `home` is that user's: .ssh/config, .ssh/known_hosts and .ssh/id_ed25519. In `environment` it is HOME, and `ssh` is
    one that reads its .ssh/config.
    """

    def __init__(self) -> None:
        require("unshare", "mount", "ssh", "ssh-keygen", "sshd")
        if os.geteuid() != 0:
            raise RuntimeError("a farm of sshd needs root: each server has namespaces and users of its own")
        self.folder = Path(tempfile.mkdtemp(prefix="farm-", dir="/tmp"))
        self.home = self.folder / "home"
        self.log = self.folder / "log"
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)
        for place in ("run/sshd", "root", "servers"):
            (self.folder / place).mkdir(parents=True)
        self.furnish_home()
        generate(self.folder / HOST_KEY)
        namespaces = ["unshare", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
        command = [*namespaces, sys.executable, "-I", "-S", str(WARDEN), str(self.folder)]
        with self.log.open("w") as log:
            self.warden = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": PATH},
                start_new_session=True,  # Ctrl-C reaches it by the end of its stdin only
            )
        try:
            self.ask("hello")
        except RuntimeError:
            self.close()
            raise
        pid = ProcessTable(Path("/proc")).first_child(self.warden.pid)
        self.inside = Path(f"/proc/{pid}/root")
        self.table = ProcessTable(self.inside / "proc")

    def furnish_home(self) -> None:
        """What `ssh` reads there. The warden must not need to ask for it."""
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        generate(self.home / ".ssh" / "id_ed25519")
        write(self.home / ".ssh" / "config", CLIENT.format(home=self.home), 0o600)
        write(self.home / ".ssh" / "known_hosts", "", 0o600)
        ssh = f'#!/bin/sh\nexec {shutil.which("ssh", path=PATH)} -F {self.home}/.ssh/config "$@"\n'
        write(self.home / "bin" / "ssh", ssh, 0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """When this returns, no process, mount, namespace, network or file of the farm is left."""
        self.warden.communicate(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)  # if the warden was killed

    def ask(self, ask: str, **words: Any) -> Any:
        """Have the warden do something, and tell what it answers."""
        with self.lock:
            assert self.warden.stdin
            assert self.warden.stdout
            with contextlib.suppress(BrokenPipeError):
                self.warden.stdin.write(json.dumps({"ask": ask, **words}).encode() + b"\n")
                self.warden.stdin.flush()
            line = self.warden.stdout.readline()
        said = json.loads(line) if line else {"error": f"the farm's first process is gone: {self.log.read_text()}"}
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["answer"]

    def server(self, **traits: Any) -> Server:
        return self.servers(1, **traits)[0]

    def servers(self, number: int, **traits: Any) -> list[Server]:
        """So many alike, which start side by side. They are called s1, s2, and so on."""
        kind = Traits(**traits)
        require(*kind.programs)
        made = [self.lay_out(f"s{next(self.numbers)}", kind) for _ in range(number)]
        for server in made:
            server.launch()
        for server in made:
            server.await_listening()
        if kind.trusted:
            self.trust(*made)
        return made

    def lay_out(self, name: str, traits: Traits) -> Server:
        folder = self.folder / "servers" / name
        (folder / "ssh").mkdir(parents=True)
        if traits.lean or traits.shared_key:
            for suffix in ("", ".pub"):
                os.link(self.folder / f"{HOST_KEY}{suffix}", folder / "ssh" / f"{HOST_KEY}{suffix}")
        else:
            generate(folder / "ssh" / HOST_KEY)
        if traits.authorized:
            os.link(self.home / ".ssh" / "id_ed25519.pub", folder / "ssh" / "authorized_keys")
        server = Server(self, folder, traits)
        server.prepare()
        return server

    def trust(self, *servers: Server) -> None:
        """Let known_hosts have the keys of these, as they are now."""
        with (self.home / ".ssh" / "known_hosts").open("a") as known:
            known.writelines(f"{server.known_as} {server.host_key}\n" for server in servers)

    def refused(self) -> Address:
        """Where nobody listens, nor will."""
        return Address("127.0.0.1", self.ask("port", listen=False))

    def silent(self) -> Address:
        """Where a connection is accepted, and then nothing is said."""
        return Address("127.0.0.1", self.ask("port", listen=True))

    def unreachable(self) -> Address:
        """Where every packet is lost."""
        server = self.server(link=True)
        server.cut()
        return Address(server.host, server.port)

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": f"{self.home}/bin:{PATH}", "LANG": "C.UTF-8"}

    def argv(self, to: Reachable, *command: str, user: str = "root", options: Sequence[str] = ()) -> list[str]:
        """The command line of `ssh`, which asks no questions."""
        ours = ["-F", str(self.home / ".ssh" / "config"), "-o", "BatchMode=yes"]
        given = [word for option in options for word in ("-o", option)]
        return ["ssh", *given, *ours, "-p", str(to.port), f"{user}@{to.host}", *command]

    def ssh(
        self, to: Reachable, *command: str, user: str = "root", options: Sequence[str] = (), stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """What the real client makes of it. `options` are those of ssh_config."""
        argv = self.argv(to, *command, user=user, options=options)
        return subprocess.run(
            argv, env=self.environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )


def require(*programs: str) -> None:
    for program in sorted(programs):
        if shutil.which(program, path=PATH) is None:
            package = PACKAGES.get(program, program)
            raise RuntimeError(
                f"{program} is needed: install the Debian package {package}, or run tests/system-packages"
            )
