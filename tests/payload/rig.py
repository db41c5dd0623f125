"""A target in miniature: an HTTP server that stages, and a payload executed as the agent executes it, or as sshd."""

import contextlib
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ssm_deployer.payload import Recipe, Source, build, greeting, inputs, line, listening, login_command
from ssm_deployer.result import Record, parse
from ssm_deployer.sandbox.container import distribution

RUN = "20261124-101112-abcdef"
COMMAND = "11111111-2222-3333-4444-555555555555"
STANDARD_PLACES = "/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin"
BASES = "'/tmp /var/tmp /var/lib /run /root'"
LOCK_ROOTS = "'/var/lib /run /var/tmp'"
OWN_ROOTS = "'/var/tmp'"
# What a minimal Debian has beside the shell's builtins.
BASIC = ["sh", "env", "date", "mkdir", "rm", "chmod", "cat", "tail", "wc", "cut", "tr", "sed", "grep", "sort", "df"]
BASIC += [
    "id",
    "sleep",
    "setsid",
    "mkfifo",
    "mv",
    "readlink",
    "tar",
    "gzip",
    "sha256sum",
    "ls",
    "seq",
    "true",
    "stat",
    "head",
    "expr",
    "dd",
]
# What a login has in its environment, and no script shall see.
LOGIN = {
    "USER": "somebody",
    "LOGNAME": "somebody",
    "PATH": "/usr/bin:/bin:/usr/games",
    "SHELL": "/bin/fish",
    "MAIL": "/var/mail/somebody",
    "LC_TIME": "de_DE.UTF-8",
    "LS_COLORS": "di=01;34",
    "MOTD_SHOWN": "pam",
    "SSH_CLIENT": "192.0.2.1 50000 22",
    "SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22",
    "XDG_RUNTIME_DIR": "/run/user/1000",
    "NAME": "somebody",
    "VERSION_ID": "none",
}
QUERY = "?X-Amz-Signature=bearer"  # what must never be shown


class Store:
    """Objects by path, served on 127.0.0.1, each with a queue of ways to misbehave first."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.requests: list[str] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.partition("?")[0].strip("/")
                store.requests.append(self.path)
                queue = store.faults.get(name, [])
                fault = queue.pop(0) if len(queue) > 1 else "".join(queue)
                store.answer(self, name, fault)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that goes away is part of what is tested."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.closed = threading.Event()
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, name: str, fault: str) -> None:
        body, status, length = self.objects.get(name, b""), 200, None
        if fault.isdigit():
            status, body = int(fault), b"<Error><Code>Fault</Code></Error>"
        elif fault == "xml":
            body = b"<Error><Code>AccessDenied</Code></Error>"
        elif fault == "cut":
            length, body = len(body), body[: len(body) // 2]
        elif fault == "altered":
            body = bytes([body[0] ^ 1]) + body[1:]
        elif fault == "hang":
            self.closed.wait(30)
        elif fault == "drip":
            request.send_response(200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            for byte in body:
                request.wfile.write(bytes([byte]))
                if self.closed.wait(0.2):
                    return
        request.send_response(status)
        if fault == "302":
            request.send_header("Location", f"/{name}")
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)

    def clear(self) -> None:
        self.objects.clear()
        self.faults.clear()
        self.requests.clear()

    def put(self, name: str, content: bytes, *faults: str) -> Source:
        self.objects[name] = content
        self.faults[name] = [*faults, ""] if faults and faults[-1] != "always" else list(faults[:-1])
        location = f"http://127.0.0.1:{self.server.server_port}/{name}{QUERY}"
        return Source(location, hashlib.sha256(content).hexdigest(), len(content))

    def close(self) -> None:
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()


@dataclass(frozen=True)
class Outcome:
    """What the agent saw, or the client, which leaves out `noise`: what comes before the greeting."""

    code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    noise: bytes = b""

    @property
    def record(self) -> Record:
        return self.record_of(RUN)

    def record_of(self, run: str) -> Record:
        record, _ = parse(self.stdout.decode("utf-8", "replace"), run)
        assert record is not None, (self.code, self.stdout[:2000], self.stderr[:2000])
        return record

    @property
    def extract(self) -> str:
        return self.stdout.partition(b"\n")[2].decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        return self.stderr.decode("utf-8", "replace")


@dataclass
class Rig:
    """One target: its own TMPDIR, its own store, and the payloads that ran on it.

    `way` is how a payload comes: `fetched` is by the agent, `streamed` by a login and all of it on stdin, `copied` by a
    login and the content as a file. After `limit` bytes on stdin the connection is cut.
    """

    root: Path
    store: Store
    way: str = "fetched"
    login: Sequence[str] = ("/bin/sh",)
    user: Sequence[str] = ()
    sudo: bool = False
    content: bytes = b""
    limit: int | None = None
    mode: int = 0o600
    padding: int = 0
    shell: str = "/bin/sh"
    path: str = "/usr/bin:/bin"
    standard_places: str = STANDARD_PLACES
    bases: str = ""
    lock_roots: str = ""
    tmpdir: bool = True
    bare: bool = False
    before: str = ""
    env: dict[str, str] = field(default_factory=dict)
    texts: int = 0

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    def recipe(
        self,
        script: str | bytes,
        *,
        files: Mapping[str, bytes | None] | None = None,
        bundle: bytes | None = None,
        args: Sequence[bytes | str] = (),
        environ: Mapping[str, bytes | str] | None = None,
        faults: Sequence[str] = (),
        **settings: Any,
    ) -> Recipe:
        """A recipe for `script`, everything staged. `faults` are those of the script's download."""
        given = {"script": script if isinstance(script, bytes) else script.encode()}
        packed = tar(files) if files is not None else bundle
        given |= {"bundle": packed} if packed is not None else {}
        given |= {"inputs": inputs(args, environ or {})} if args or environ else {}
        staged = self.pack(given) if self.way != "fetched" else self.stage(given, faults)
        return Recipe(**{"run_id": RUN, "timeout": 20, "fetch_timeout": 10, "grace": 1, **staged, **settings})

    def stage(self, given: Mapping[str, bytes], faults: Sequence[str]) -> dict[str, Any]:
        of = {"script": faults}
        return {name: self.store.put(name, content, *of.get(name, ())) for name, content in given.items()}

    def pack(self, given: Mapping[str, bytes]) -> dict[str, Any]:
        """Keep the content for the next start."""
        self.content = members(given, self.mode) + bytes(self.padding)
        sources: dict[str, Any] = {name: Source("", "", len(content)) for name, content in given.items()}
        return sources | {"streamed": len(self.content), "bundle_digest": "ab" * 32 if "bundle" in given else ""}

    def run(self, script: str | bytes, **settings: Any) -> Outcome:
        return self.execute(build(self.recipe(script, **settings)))

    def execute_plain(self, script: str) -> float:
        """Seconds that the agent's way of running takes without a payload."""
        path = self.root / "plain"
        path.write_text(script)
        path.chmod(0o700)
        before = time.monotonic()
        subprocess.run([self.shell, "-c", str(path)], capture_output=True, check=True, process_group=0)
        return time.monotonic() - before

    def stand_ins(self) -> list[tuple[str, str]]:
        """What the payload finds at fixed places on a target, and what stands for it here."""
        return [
            ("#!/bin/sh\n", f"#!{self.shell}\n"),
            (STANDARD_PLACES, self.standard_places),
            (BASES, self.bases or f"'{self.root}/none'"),
            (LOCK_ROOTS, self.lock_roots or f"'{self.locks}'"),
            *([(OWN_ROOTS, f"'{self.root}/var-tmp'")] if self.way != "fetched" else []),
        ]

    def at_home(self, text: str) -> str:
        for original, here in self.stand_ins():
            assert text.count(original) == 1, original
            text = text.replace(original, here)
        return text

    def before_content(self, text: str) -> int:
        """How many bytes come before the content on stdin."""
        return len(line(self.at_home(text)))

    def execute(self, text: str, command: str = COMMAND) -> Outcome:
        process = self.start(text, command)
        return self.finish(process)

    def start(self, text: str, command: str = COMMAND) -> "Started":
        """Start `text` on this target, by its way."""
        self.texts += 1
        text = self.at_home(text)
        self.tmp.mkdir(exist_ok=True)
        if not self.locks.exists():
            self.locks.mkdir()
        return self.start_by_agent(text, command) if self.way == "fetched" else self.start_by_login(text, command)

    def ids(self, command: str) -> dict[str, str]:
        return {
            "PATH": self.path,
            "SSM_COMMAND_ID": command,
            "AWS_SSM_INSTANCE_ID": self.env.get("AWS_SSM_INSTANCE_ID", "i-0123456789abcdef0"),
            "AWS_SSM_REGION_NAME": "eu-west-1",
        }

    def place(self) -> dict[str, str]:
        return {"TMPDIR": str(self.tmp)} if self.tmpdir else {}

    def start_by_agent(self, text: str, command: str) -> "Started":
        """Write and start `text` as the agent does: its own group, a bare environment, cwd /usr/bin."""
        script = self.root / f"_script{self.texts}.sh"
        script.write_text(text)
        script.chmod(0o700)
        name, version = distribution()
        system = {"AWS_SSM_PLATFORM_NAME": name, "AWS_SSM_PLATFORM_VERSION": version}
        env = {"LANG": "C.UTF-8", "PWD": "/usr/bin", **system, **self.ids(command), **self.place(), **self.env}
        return Started(
            subprocess.Popen(
                [*self.surroundings(), self.shell, "-c", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"TMPDIR": env["TMPDIR"]} if self.bare else env,
                cwd="/usr/bin",
                process_group=0,
                umask=0 if self.bare else 0o022,
            ),
            time.monotonic(),
        )

    def start_by_login(self, text: str, command: str) -> "Started":
        """Start the login shell as sshd does, and write what the client writes."""
        found = re.search(r"payload, run (\S+)", text)
        assert found
        run = found[1]
        copied = f".ssm-deploy-{run}" if self.way == "copied" else ""
        order = login_command(run, self.ids(command), sudo=self.sudo, content=copied)
        order = order.replace("/bin/sh -c", f"{self.shell} -c")
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        if copied:
            (home / copied).write_bytes(self.content)
        theirs, ours = os.pipe()
        process = subprocess.Popen(
            [*self.surroundings(), *self.user, *self.login, "-c", order],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**LOGIN, "HOME": str(home), **self.place(), **self.env},
            cwd=home,
            process_group=0,
        )
        os.close(theirs)
        said = [each.encode() for each in (greeting(run), listening(run))]
        started = Started(process, time.monotonic(), Channel(ours), *said)
        started.channel.write((line(text) + (b"" if copied else self.content))[: self.limit])
        if self.limit is not None:
            started.channel.close()
        return started

    def surroundings(self) -> list[str]:
        """What happens between the agent and the shell. With `bare`, not even stdin is open."""
        before = "exec <&-; " if self.bare else self.before
        return ["/bin/sh", "-c", f'{before}exec "$0" "$@"'] if before else []

    def finish(self, started: "Started") -> Outcome:
        """Wait for the end of both streams, as the agent does. The channel stays open until then."""
        stdout, stderr = started.process.communicate(timeout=60)
        seconds = time.monotonic() - started.since
        started.channel.close()
        noise = b""
        if started.greeting:
            noise, greeted, stdout = stdout.partition(b"\n%b\n" % started.greeting)
            assert greeted, (noise, stderr)
            _, _, stderr = stderr.partition(b"%b\n" % started.greeting)
            stdout = stdout.removeprefix(b"%b\n" % started.listening)
        return Outcome(started.process.returncode, stdout, stderr, seconds, noise)

    def offer(self, *places: Path) -> None:
        """Let the target have these places instead of TMPDIR."""
        self.tmpdir = False
        self.bases = f"'{' '.join(map(str, places))}'"

    def wrap(self, name: str, first: str) -> None:
        """Let the target's program `name` (see `equip`) do something else first."""
        program = Path(self.path) / name
        target = program.readlink()
        program.unlink()
        program.write_text(f'#!/bin/sh\n{first}\nexec {target} "$@"\n')
        program.chmod(0o755)

    def open_to_others(self) -> None:
        """Let another user reach this target's TMPDIR: pytest's directories are private."""
        self.tmp.mkdir(exist_ok=True)
        self.tmp.chmod(0o1777)
        for parent in self.tmp.parents:
            with contextlib.suppress(PermissionError):
                parent.chmod(parent.stat().st_mode | 0o011)

    def leftovers(self) -> list[str]:
        """Work directories, and processes of the run, guards included."""
        return sorted(path.name for path in self.tmp.glob("deploy_files_*")) + list(self.processes().values())

    def processes(self) -> dict[int, str]:
        """Command lines by pid, of everything whose environment tells that this target's payload started it."""
        mark = str(self.root).encode()
        found = {}
        for proc in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int(proc.name) != os.getpid() and mark in (proc / "environ").read_bytes():
                    found[int(proc.name)] = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def kill_guard(self) -> None:
        """As the kernel does when memory is short."""
        guards = [pid for pid, line in self.processes().items() if " guard " in line and os.getpgid(pid) == pid]
        os.killpg(guards[0], signal.SIGKILL)

    def end_services(self) -> list[str]:
        """Kill what a script left running on purpose, and say what it was."""
        services = self.processes()
        for pid in services:
            with contextlib.suppress(ProcessLookupError):  # what was about to end by itself
                os.kill(pid, signal.SIGKILL)
        return list(services.values())

    def settle(self) -> list[str]:
        """What is left after a killed payload's guard had its time."""
        deadline = time.monotonic() + 10
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


class Channel:
    """The client's end of a login's stdin. Writing waits for nobody."""

    def __init__(self, fd: int = -1) -> None:
        self.fd = fd
        self.writer = threading.Thread()

    def write(self, content: bytes) -> None:
        self.writer = threading.Thread(target=self._write, args=[self.writer, content], daemon=True)
        self.writer.start()

    def _write(self, before: threading.Thread, content: bytes) -> None:
        if before.ident is not None:
            before.join()
        # Who refuses reads no further.
        with contextlib.suppress(BrokenPipeError):
            while content:
                content = content[os.write(self.fd, content) :]

    def close(self) -> None:
        """As when the client is gone; not before what was written has been read."""
        if self.fd >= 0:
            if self.writer.ident is not None:
                self.writer.join()
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True)
class Started:
    process: subprocess.Popen[bytes]
    since: float
    channel: Channel = field(default_factory=Channel)
    greeting: bytes = b""
    listening: bytes = b""

    def cancel(self) -> None:
        """What the agent does for a cancel and for its own timeout."""
        os.killpg(self.process.pid, signal.SIGKILL)


class Mounts:
    """Small file systems under the test's own directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.points: list[Path] = []

    def add(self, name: str, options: str) -> Path:
        point = self.root / name
        point.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", point], check=True)
        self.points.append(point)
        return point

    def remove(self) -> None:
        for point in self.points:
            subprocess.run(["umount", "-l", point], check=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def started_and(rig: Rig, script: str, ready: str = "ready", **settings: Any) -> Started:
    """Start a payload and wait until its script has touched $READY."""
    text = build(rig.recipe(script.replace("$READY", f"{rig.root}/{ready}"), **settings))
    started = rig.start(text)
    wait_for(rig.root / ready)
    return started


def members(given: Mapping[str, bytes], mode: int) -> bytes:
    """What a client streams: the script, and what else there is."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in given.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = mode | 0o100 * (name == "script"), len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def tar(files: Mapping[str, bytes | None], modes: Mapping[str, int] | None = None) -> bytes:
    """A bundle: None stands for a directory."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.mode = (modes or {}).get(name, 0o755 if content is None else 0o644)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.size = len(content or b"")
            archive.addfile(info, io.BytesIO(content or b""))
    return target.getvalue()


def equip(rig: Rig, programs: list[str]) -> None:
    """Leave nothing on the target but the basics and these programs."""
    place = rig.root / "bin"
    place.mkdir()
    for name in [*BASIC, *programs]:
        real, _, link = name.partition(":")
        found = shutil.which(real)
        assert found, real
        (place / (link or Path(real).name)).symlink_to(found)
    rig.path = rig.standard_places = str(place)
