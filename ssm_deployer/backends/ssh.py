"""SSH as a backend, for machines that SSM does not manage: one connection per target brings everything there.

The payload is the one that SSM's targets run, but for the way in which its files arrive: they come on its standard
input, right behind it. What is different for the user stands in docs/ssh.md.
"""

import os
import shutil
import tarfile
import tempfile
import traceback
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import msgspec

from ssm_deployer import payload
from ssm_deployer.backends.access import Access
from ssm_deployer.backends.connection import RETRIES, Connection
from ssm_deployer.backends.connections import Connections
from ssm_deployer.backends.content import Content, Limits, recipe_of
from ssm_deployer.backends.errand import Errand
from ssm_deployer.backends.openssh import Login
from ssm_deployer.backends.scratch import Scratch
from ssm_deployer.backends.tarball import Tarball
from ssm_deployer.bundle import pack
from ssm_deployer.errors import DeployError, UsageError
from ssm_deployer.model import Handle, Invocation, Packed, Staged, Target
from ssm_deployer.payload import Recipe, build

BATCH = 100_000  # whatever there is: the number of connections is bounded, not that of targets
PROGRESS_SECONDS = 0.1
LONGEST_TMPDIR = 50  # bytes; a socket's path has 107, of which ssh and we need the rest
BY_ACCESS = {"HostKeyUnknown", "AuthRefused"}  # words of ssh_verdict.py


class SshBackend:
    """Implements `runner.Backend` for machines that are reached by SSH.

    Args:
        run_id: names the run.
        content: what to bring to the targets.
        limits: what they may do with it; `delivery` is for a connection to stand.
        login: how the user wants to log in.
        access: how each target is reached.
    """

    batch = BATCH
    metered = False

    def __init__(self, run_id: str, content: Content, limits: Limits, login: Login, access: Access) -> None:
        self.run_id = run_id
        self._content = content
        self._limits = limits
        self._login = login
        self._access = access
        self._wake: Callable[[], None] = lambda: None
        self._scratch = Scratch()
        self._descriptor = -1
        self._connections: Connections | None = None
        self._started: dict[str, dict[str, Connection]] = {}

    # -- the verbs of runner.Backend

    def check(self) -> None:
        """Find out before anything is done whether it can be.

        Raises:
            UsageError: there is no OpenSSH client here, or the limits or the names cannot be.
        """
        programs = ["ssh", "scp"] if self._login.transfer == "scp" else ["ssh"]
        for program in programs:
            if shutil.which(program) is None:
                raise UsageError(f"there is no `{program}` here", "install OpenSSH's client (openssh-client)")
        if self._login.transfer == "scp" and len(os.fsencode(tempfile.gettempdir())) > LONGEST_TMPDIR:
            raise UsageError("TMPDIR is too long for the sockets of ssh", "set a shorter one, or ssh.transfer: stream")
        build(self._recipe(tarfile.BLOCKSIZE, None))

    def heed(self, wake: Callable[[], None]) -> None:  # noqa: D102 - runner.Backend says it, here and below
        self._wake = wake

    def stage(self) -> Generator[int, None, Staged]:  # noqa: D102
        with Tarball(self._scratch.folder / "content") as tarball, ThreadPoolExecutor(1) as pool:
            writing = pool.submit(self._write, tarball)
            try:
                while not wait([writing], timeout=PROGRESS_SECONDS).done:
                    yield tarball.size
            finally:
                tarball.end()
            packed = writing.result()
            yield tarball.size
        self._close_content()
        self._descriptor = os.open(tarball.path, os.O_RDONLY | os.O_CLOEXEC)
        return Staged(location="", size=tarball.size, packed=packed)

    def start(self, targets: Sequence[Target], staged: Staged) -> Handle:  # noqa: D102
        command = str(uuid.uuid4())
        if self._connections is None:
            self._connections = Connections(self._login.connections, self._access, self._wake)
        errand = self._errand(command, staged)
        made = self._connections.start(targets, errand)
        self._started[command] = {connection.target.id: connection for connection in made}
        return self._handle(command, [target.id for target in targets])

    def find(self, targets: Sequence[Target]) -> Sequence[Handle]:  # noqa: D102
        found = (
            self._handle(command, [target.id for target in targets if target.id in connections])
            for command, connections in self._started.items()
        )
        return [handle for handle in found if handle.targets]

    def observe(self, handle: Handle) -> Sequence[Invocation]:  # noqa: D102
        failure = self._connections.failure if self._connections is not None else None
        if failure is not None:
            raise _internal(failure)
        connections = self._started[handle.command]
        return [self._seen(connections[target]) for target in handle.targets]

    def read(self, handle: Handle, target: str) -> tuple[str, str]:  # noqa: D102
        seen = self._started[handle.command][target].invocation
        return seen.stdout, seen.stderr

    def lost(self, targets: Sequence[Target]) -> Mapping[str, str]:  # noqa: ARG002, D102 - keep-alives tell it
        return {}

    def cancel(self, handle: Handle) -> None:  # noqa: D102
        if self._connections is not None:
            connections = self._started[handle.command]
            self._connections.cancel([connections[target] for target in handle.targets])

    def clean(self) -> Sequence[str]:  # noqa: D102
        if self._connections is not None:
            self._connections.close()
            self._connections = None
        self._close_content()
        return [*self._access.close(), *self._scratch.close()]

    # -- how they do it

    def _seen(self, connection: Connection) -> Invocation:
        """Add what only `access` knows to a refusal that it has to do with."""
        seen = connection.invocation
        hint = self._access.hint(connection.target) if seen.word in BY_ACCESS else ""
        return msgspec.structs.replace(seen, detail=f"{seen.detail}; {hint}") if hint else seen

    def _close_content(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _write(self, tarball: Tarball) -> Packed | None:
        tarball.add("script", self._content.script, mode=0o700)
        if self._content.inputs:
            tarball.add("inputs", self._content.inputs)
        packed = None
        if self._content.bundle is not None:
            packed = tarball.stream("bundle", lambda sink: pack(self._content.bundle, sink))  # type: ignore[arg-type]
        tarball.finish()
        return packed

    def _errand(self, command: str, staged: Staged) -> Errand:
        folder = self._scratch.folder
        return Errand(
            command=command,
            run_id=self.run_id,
            line=payload.line(build(self._recipe(staged.size, staged.packed))),
            content=self._descriptor,
            content_path=folder / "content",
            content_size=staged.size,
            login=self._login,
            limits=self._limits,
            folder=folder,
        )

    def _handle(self, command: str, ids: Sequence[str]) -> Handle:
        turns = -(-len(self._started[command]) // self._login.connections)
        one = self._login.patience + sum(RETRIES) + self._limits.total
        return Handle(command=command, via="ssh", targets=tuple(ids), deadline=turns * one)

    def _recipe(self, size: int, packed: Packed | None) -> Recipe:
        return msgspec.structs.replace(
            recipe_of(self.run_id, self._content, self._limits, packed, locate=lambda _: ""), streamed=size
        )


def _internal(failure: BaseException) -> DeployError:
    [*_, frame] = traceback.extract_tb(failure.__traceback__)
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    return DeployError(f"internal error: {type(failure).__name__}: {failure} ({where})", "please report it")
