"""The machine behind an instance: one supervisor process, in a bubblewrap container or in plain directories."""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ssm_deployer.sandbox.agent import Ending, Message, environment
from ssm_deployer.sandbox.container import PLAIN, SUPERVISOR, VOLATILE, Traits, bubblewrap, distribution, furnish
from ssm_deployer.sandbox.supervisor import children
from ssm_deployer.sandbox.upload import upload

SEND_SECONDS = 10.0
OFF_SECONDS = 5.0
GETENT = """\
#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[ "$#:$1:$2" = "2:passwd:$(id -un)" ] || exec getent "$@"
entry=$(getent passwd "$2" 2>/dev/null || grep "^$2:" /etc/passwd) || exit 2
shell=${{entry##*:}}
entry=${{entry%:*}}
echo "${{entry%:*}}:{home}:$shell"
"""


@dataclass(frozen=True)
class Role:
    """The credentials of the instances' role, and where they are good for."""

    endpoint_url: str
    region: str
    access_key: str
    secret_key: str


class Watcher(Protocol):
    """The part of the loop that an instance needs."""

    def watch(self, source: socket.socket, readable: Callable[[], None]) -> None:
        """Call `readable` when `source` has something."""

    def forget(self, source: socket.socket) -> None:
        """Stop watching `source`."""

    def aside(self, work: Callable[[], object], then: Callable[[], None]) -> None:
        """Do `work` without keeping the loop from anything, and then call `then`."""


@dataclass(frozen=True)
class Site:
    """What all instances of one server share.

    Attributes:
        folder: holds one folder for each instance.
        isolation: `bubblewrap` or `plain directories`.
        region: what scripts find as AWS_SSM_REGION_NAME.
        watcher: the loop.
        put: takes bucket, key and body; puts an object as the instance would.
        role: what `~/.aws` of every instance holds.
        shell: the host's sh.
        system: name and version of the host's distribution.
    """

    folder: Path
    isolation: str
    region: str
    watcher: Watcher
    put: Callable[[str, str, bytes], None]
    role: Role
    shell: str = "/usr/bin/sh" if Path("/usr/bin/sh").exists() else "/bin/sh"
    system: tuple[str, str] = field(default_factory=distribution)


class Instance:
    """One boot of one instance. It implements `agent.Machine`."""

    def __init__(
        self,
        site: Site,
        instance_id: str,
        traits: Traits,
        ended: Callable[[Ending], None],
        lost: Callable[[], None],
    ) -> None:
        self._site = site
        self._id = instance_id
        self._ended = ended
        self._lost = lost
        self._small = traits.disk_bytes is not None
        self._inbox = bytearray()
        # Later a script may have put anything in its place, a link to a file of the host among it.
        first = not (site.folder / instance_id).exists()
        self.folder = furnish(site.folder, instance_id)
        if first:
            _give_role(self.folder / "root", site.role)
        _give_aws(self.folder / "sbin", hidden="aws" in traits.hidden)
        if site.isolation == PLAIN:
            _give_home(self.folder)
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = _start(site, self.folder, traits, theirs.fileno())
        self._socket.settimeout(SEND_SECONDS)
        site.watcher.watch(self._socket, self._receive)

    def run(self, key: str, script: str, command_id: str, cwd: str) -> None:
        """Start `script` from the command's orchestration folder."""
        env = dict(environment(self._id, command_id, self._site.region, cwd, self._site.system))
        if self._site.isolation == PLAIN:
            env |= self._plain_environment(env["PATH"])
        folder = self._inside() / _orchestration(self._id, command_id)
        self._send(
            {"run": key, "script": script, "folder": str(folder), "shell": self._site.shell, "cwd": cwd, "env": env}
        )

    def _plain_environment(self, path: str) -> Mapping[str, str]:
        """What keeps a script to the instance's own directories; nothing forces it to stay there."""
        profile = self.folder / "root" / ".aws"
        return {
            "TMPDIR": str(self.folder / "tmp"),
            "PATH": f"{self.folder / 'sbin'}:{path}",
            "SSM_DEPLOY_STATE_DIR": str(self.folder / "var-lib"),
            "AWS_CONFIG_FILE": str(profile / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(profile / "credentials"),
        }

    def kill(self, key: str) -> None:
        """SIGKILL the process group of an execution."""
        self._send({"kill": key})

    def upload(self, message: Message, appended: tuple[bytes, bytes], done: Callable[[], None]) -> None:
        """Put what is not empty of the two streams under the documented key, beside the loop."""
        prefix = f"{message.prefix.strip('/')}/" if message.prefix.strip("/") else ""

        def put(name: str, body: bytes) -> None:
            key = f"{prefix}{message.command_id}/{self._id}/awsrunShellScript/0.awsrunShellScript/{name}"
            self._site.put(message.bucket, key, body)

        folder = _orchestration(self._id, message.command_id)
        self._site.watcher.aside(lambda: upload(self.folder / "var-lib", folder, put, appended), done)

    def off(self, *, keep: bool = False) -> None:
        """End every process of the instance; what is volatile goes with them, unless `keep`."""
        self._site.watcher.forget(self._socket)
        # At the end of its socket the supervisor ends: with it, as their init, all others, or it kills them first.
        self._socket.close()
        if keep:
            # Nothing runs there. To wait for its kernel namespaces, some 40 ms, is no work for the loop.
            self._site.watcher.aside(self._bury, lambda: None)
            return
        self._bury()
        for name in VOLATILE:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _bury(self) -> None:
        try:
            self._process.wait(OFF_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._site.isolation == PLAIN:
            _end_orphans()

    def _inside(self) -> Path:
        return self.folder / "var-lib" if self._site.isolation == PLAIN else Path("/var/lib")

    def _send(self, request: Mapping[str, Any]) -> None:
        # A broken socket shows as the end of the socket right after, and is handled there.
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(request).encode() + b"\n")

    def _receive(self) -> None:
        try:
            chunk = self._socket.recv(1 << 20)
        except OSError:
            chunk = b""
        if not chunk:
            self._lost()
            return
        self._inbox += chunk
        *lines, rest = self._inbox.split(b"\n")
        self._inbox = bytearray(rest)
        for line in lines:
            ending = _ending(json.loads(line))
            # A small disk is a tmpfs, which would be gone after a rest.
            self._ended(replace(ending, alone=ending.alone and not self._small))


def _ending(reply: Mapping[str, Any]) -> Ending:
    return Ending(
        reply["ended"],
        reply.get("code", 0),
        reply.get("signal", 0),
        reply.get("killed", False),
        reply.get("error", ""),
        base64.b64decode(reply.get("stdout", "")),
        base64.b64decode(reply.get("stderr", "")),
        reply.get("alone", False),
    )


def _orchestration(instance_id: str, command_id: str) -> Path:
    return Path(
        "amazon/ssm", instance_id, "document/orchestration", command_id, "awsrunShellScript/0.awsrunShellScript"
    )


def _give_role(home: Path, role: Role) -> None:
    """Write the role's profile."""
    profile = home / ".aws"
    profile.mkdir(mode=0o700)
    keys = f"aws_access_key_id = {role.access_key}\naws_secret_access_key = {role.secret_key}\n"
    (profile / "credentials").write_text(f"[default]\n{keys}", encoding="ascii")
    place = f"region = {role.region}\nendpoint_url = {role.endpoint_url}\n"
    (profile / "config").write_text(f"[default]\n{place}", encoding="ascii")


def _give_aws(folder: Path, *, hidden: bool) -> None:
    """Make a program of the `aws` that the sandbox's own interpreter has, if it has one."""
    program = folder / "aws"
    program.unlink(missing_ok=True)
    if not hidden and find_spec("awscli") is not None:
        with program.open("x", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec "{sys.executable}" -m awscli "$@"\n')
        program.chmod(0o755)


def _give_home(folder: Path) -> None:
    """Have `getent passwd` name the instance's home for whoever runs its scripts: the payload asks it for HOME."""
    program = folder / "sbin" / "getent"
    program.unlink(missing_ok=True)
    with program.open("x", encoding="utf-8") as file:
        file.write(GETENT.format(home=folder / "root"))
    program.chmod(0o755)


def _end_orphans() -> None:
    """Kill what a killed supervisor left: the server is its subreaper. Its main thread starts no process of its own."""
    while orphans := children():
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _start(site: Site, folder: Path, traits: Traits, fd: int) -> "subprocess.Popen[bytes]":
    python = [os.path.realpath(sys.executable), "-I", "-S"]
    if site.isolation == PLAIN:
        command = [*python, str(SUPERVISOR), str(fd), "plain"]
    else:
        command = [*bubblewrap(folder, traits), *python, "/run/ssm-agent-worker.py", str(fd)]
    with (folder / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(fd,), env={}, cwd="/", umask=0o022
        )
