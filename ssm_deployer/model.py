"""The values that a run is made of. Nothing here does I/O, and nothing here speaks AWS."""

from enum import StrEnum

import msgspec

from ssm_deployer.result import Record


class Status(StrEnum):
    """Where one target stands. Everything from SUCCEEDED on is final."""

    PENDING = "pending"  # nothing was sent yet
    SENT = "sent"  # the service accepted it
    RUNNING = "running"
    DELAYED = "delayed"  # the target's agent is away; the service will try again
    CANCELLING = "cancelling"

    SUCCEEDED = "succeeded"  # the script ran and exited 0: the target's own record says so
    FAILED = "failed"  # the script ran and did not
    TIMED_OUT = "timed out"  # the script ran longer than it was allowed to
    REFUSED = "refused"  # the target would not run the script (download, digest, room, …)
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  # never sent, or the service held it back
    UNREACHED = "unreached"  # could not be delivered
    UNKNOWN = "unknown"  # it may or may not have run: no record of an end was seen

    @property
    def final(self) -> bool:
        """Whether no further change can come."""
        return self not in _STAGES or _STAGES[self] == _FINAL

    @property
    def stage(self) -> int:
        """How far along this is; a target never goes back to an earlier stage."""
        return _STAGES.get(self, _FINAL)


_STAGES = {Status.PENDING: 0, Status.SENT: 1, Status.DELAYED: 2, Status.RUNNING: 2, Status.CANCELLING: 3}
_FINAL = 4


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A machine that a run is meant for.

    Attributes:
        id: `i-…`, `mi-…` or `ssh:…`.
        region: where it is.
        name: its Name tag, if any.
        state: what EC2 says of it (`running`, `stopped`, …), empty for a hybrid node.
        platform: what its agent says of it (`Amazon Linux 2023`), if there is one.
        via: the backend that reaches it (`ssm` or `ssh`), empty if none does.
        reason: why none does, in words for the user.
        why: why it is SSH that reaches it, where SSM could have.
        address: where SSH connects to, a name or an IP address; what follows is for SSH, too.
        user: whom it logs in as, empty for what the SSH client is configured to.
        port: likewise, 0.
    """

    id: str
    region: str = ""
    name: str = ""
    state: str = ""
    platform: str = ""
    via: str = ""
    reason: str = ""
    why: str = ""
    address: str = ""
    user: str = ""
    port: int = 0

    @property
    def reachable(self) -> bool:
        """Whether some backend reaches it."""
        return not self.reason

    @property
    def service(self) -> tuple[str, str]:
        """Who is asked about it: a backend, in a region. Where one is in trouble, the others are not."""
        return self.via, self.region


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is going to do, decided before anything is changed.

    Attributes:
        run_id: names the run everywhere: in the staging prefix, in the command's Comment, on the targets.
        regions: of the targets.
        script: the script's file name, to show.
        argument_count: how many it gets; they may be secret, and are part of no event.
        variable_count: how many are set for it, likewise.
        run_as: the user that it runs as, empty for the one that each backend comes as.
        timeout: how many seconds it may run.
        targets: whom the run is for, reachable or not.
        left_out: machines that `all` does not stand for, each with the reason.
        files: the folder that goes along, empty if none does.
        file_count: entries in it.
        file_bytes: their size, unpacked.
        staging: where the content waits for the targets that SSM reaches while the run lasts.
        notes: what the user should know before it starts.
        wave: how many targets are sent to before the verdicts of these are awaited; 0 for all of them.
        max_failures: how many targets may fail before no further wave is sent; None for any number.
    """

    run_id: str
    regions: tuple[str, ...]
    script: str
    argument_count: int = 0
    variable_count: int = 0
    run_as: str = ""
    timeout: int = 0
    targets: tuple[Target, ...]
    left_out: tuple[Target, ...] = ()
    files: str = ""
    file_count: int = 0
    file_bytes: int = 0
    staging: str = ""
    notes: tuple[str, ...] = ()
    wave: int = 0
    max_failures: int | None = None


class Packed(msgspec.Struct, frozen=True):
    """What packing the files has come to.

    Attributes:
        size: of the tar.gz, in bytes.
        sha256: of the tar.gz, in hex; it may differ between versions of the compressor.
        content_sha256: of the tar, in hex; the same for the same content on any machine.
        unpacked_size: of all files together, in bytes.
    """

    size: int
    sha256: str
    content_sha256: str
    unpacked_size: int


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run's content is for one backend, and what is to be known of it to send it.

    Attributes:
        location: an address; empty if the content is nowhere but on this machine.
        size: of all of it, in bytes.
        packed: the files, None without any.
    """

    location: str
    size: int
    packed: Packed | None = None

    @property
    def digest(self) -> str:
        """The digest of the files that the record of each target names, empty without any."""
        return self.packed.content_sha256 if self.packed else ""


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to find one started command again.

    Attributes:
        command: the backend's id of it.
        via: which backend.
        region: where.
        targets: the ids of those it was sent to.
        deadline: seconds after sending by which every verdict must be there.
    """

    command: str
    via: str = "ssm"
    region: str = ""
    targets: tuple[str, ...]
    deadline: float = 7200.0

    @property
    def service(self) -> tuple[str, str]:
        """Who is asked about it: a backend, in a region. Where one is in trouble, the others are not."""
        return self.via, self.region


class Invocation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One target's execution, as last seen.

    Attributes:
        target: the target's id.
        status: where it stands.
        word: the service's own word for that, as it stood.
        detail: one line that explains the status, where it needs explaining.
        command: the id of the command, empty before it is sent.
        record: the target's own account, once there is one.
        stdout: an extract that keeps the end.
        stderr: likewise.
        partial: whether the extracts were cut on their way, so that `Backend.read` would give more.
    """

    target: str
    status: Status = Status.PENDING
    word: str = ""
    detail: str = ""
    command: str = ""
    record: Record | None = None
    stdout: str = ""
    stderr: str = ""
    partial: bool = False
