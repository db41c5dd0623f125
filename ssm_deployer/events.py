"""The events of a run, and the run that they add up to.

The contract, for everyone who reads them (a screen, `--output json`, later a ledger):

- Events of one target are in order; events of different targets may come in any order.
- A target's status only moves forward, and its final status comes once. After that only `extract-read` may follow,
  which brings more of the same output.
- The first event is `run-started` and carries `format`; the last is `run-finished` or `run-aborted`.
- Fields are added, never renamed; a reader skips fields and types that it does not know.
- No event holds a secret: neither arguments, environment values nor presigned URLs.

A run's state is never set, only folded: `run = apply(run, event)`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import assert_never

import msgspec

from ssm_deployer.errors import ExitCode
from ssm_deployer.model import Handle, Invocation, Plan, Status

FORMAT = 1


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What every event has: `time`, seconds since the epoch by the clock of whoever runs the deployment."""

    time: float


class RunStarted(_Event, frozen=True, kw_only=True, tag="run-started"):
    """The plan, before anything is changed."""

    plan: Plan
    version: str
    format: int = msgspec.field(default_factory=lambda: FORMAT)  # a factory, so that omit_defaults keeps it


class StagingProgressed(_Event, frozen=True, kw_only=True, tag="staging-progressed"):
    """`sent` bytes are stored by now; how many there will be is known only when the last file is packed."""

    sent: int


class StagingFinished(_Event, frozen=True, kw_only=True, tag="staging-finished"):
    """Everything that the targets will get is in place; `location` is empty if that is on this machine only."""

    location: str
    size: int
    digest: str = ""


class SendIntended(_Event, frozen=True, kw_only=True, tag="send-intended"):
    """About to send to these targets. Whoever finds this last must look for the command before sending again."""

    targets: tuple[str, ...]


class Sent(_Event, frozen=True, kw_only=True, tag="sent"):
    """The service accepted a command.

    That it did so may turn out later, and for one target after the other: the same command again adds targets to it.
    """

    handle: Handle


class InvocationChanged(_Event, frozen=True, kw_only=True, tag="invocation-changed"):
    """A target stands elsewhere than before."""

    invocation: Invocation


class ExtractRead(_Event, frozen=True, kw_only=True, tag="extract-read"):
    """More of the output of a target that has come to its end."""

    target: str
    stdout: str
    stderr: str


class CancelRequested(_Event, frozen=True, kw_only=True, tag="cancel-requested"):
    """The user asked to stop; now the service is asked to cancel these commands."""

    commands: tuple[str, ...]


class Noted(_Event, frozen=True, kw_only=True, tag="noted"):
    """Something the user should know that stops nothing."""

    message: str


class Cleaned(_Event, frozen=True, kw_only=True, tag="cleaned"):
    """The staged content is gone, but for `leftovers` (what is left and why, one line each)."""

    leftovers: tuple[str, ...] = ()


class RunFinished(_Event, frozen=True, kw_only=True, tag="run-finished"):
    """Every target has its final status."""


class RunAborted(_Event, frozen=True, kw_only=True, tag="run-aborted"):
    """The run could not go on."""

    message: str
    hint: str = ""
    exit_code: int = ExitCode.TARGET_FAILED


Event = (
    RunStarted
    | StagingProgressed
    | StagingFinished
    | SendIntended
    | Sent
    | InvocationChanged
    | ExtractRead
    | CancelRequested
    | Noted
    | Cleaned
    | RunFinished
    | RunAborted
)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as far as its events tell; `intended` are the targets of the last request that has no answer yet."""

    plan: Plan
    names: Mapping[str, str]
    started: float
    ended: float | None = None
    staged_bytes: int = 0
    staged: bool = False
    intended: tuple[str, ...] = ()
    invocations: Mapping[str, Invocation] = MappingProxyType({})
    sent_at: Mapping[str, float] = MappingProxyType({})
    ended_at: Mapping[str, float] = MappingProxyType({})
    handles: tuple[Handle, ...] = ()
    notes: tuple[str, ...] = ()
    cleaned: bool = False
    leftovers: tuple[str, ...] = ()
    cancelled: bool = False
    aborted: RunAborted | None = None

    @property
    def open(self) -> tuple[str, ...]:
        """The targets without a final status."""
        return tuple(key for key, invocation in self.invocations.items() if not invocation.status.final)


def begin(event: RunStarted) -> Run:
    """Make the run that later events are applied to."""
    pending = {target.id: Invocation(target=target.id) for target in event.plan.targets}
    names = {target.id: target.name for target in event.plan.targets}
    return Run(plan=event.plan, names=names, started=event.time, invocations=pending)


def apply(run: Run, event: Event) -> Run:  # noqa: C901, PLR0911, PLR0912 - one case per event is the point
    """Fold one event into the run."""
    replace = msgspec.structs.replace
    match event:
        case RunStarted():
            return begin(event)
        case StagingProgressed():
            return replace(run, staged_bytes=event.sent)
        case StagingFinished():
            return replace(run, staged_bytes=event.size, staged=True)
        case SendIntended():
            return replace(run, intended=event.targets)
        case Sent():
            return _sent(run, event)
        case InvocationChanged():
            return _changed(run, event)
        case ExtractRead():
            return _read(run, event)
        case CancelRequested():
            return replace(run, cancelled=True)
        case Noted():
            return replace(run, notes=(*run.notes, event.message))
        case Cleaned():
            return replace(run, cleaned=True, leftovers=event.leftovers)
        case RunFinished():
            return replace(run, ended=event.time)
        case RunAborted():
            return replace(run, ended=event.time, aborted=event)
        case _:
            assert_never(event)


def _sent(run: Run, event: Sent) -> Run:
    new = event.handle
    handles = {handle.command: handle for handle in run.handles}
    before = handles.get(new.command)
    targets = tuple(dict.fromkeys((*before.targets, *new.targets))) if before is not None else new.targets
    handles[new.command] = msgspec.structs.replace(new, targets=targets)
    sent_at = {**run.sent_at, **dict.fromkeys(new.targets, event.time)}
    return msgspec.structs.replace(run, handles=tuple(handles.values()), sent_at=sent_at, intended=())


def _changed(run: Run, event: InvocationChanged) -> Run:
    new = event.invocation
    old = run.invocations.get(new.target)
    if old is not None and (old.status.final or new.status.stage < old.status.stage):
        return run
    ended = {**run.ended_at, new.target: event.time} if new.status.final else run.ended_at
    return msgspec.structs.replace(run, invocations={**run.invocations, new.target: new}, ended_at=ended)


def _read(run: Run, event: ExtractRead) -> Run:
    old = run.invocations[event.target]
    new = msgspec.structs.replace(old, stdout=event.stdout, stderr=event.stderr, partial=False)
    return msgspec.structs.replace(run, invocations={**run.invocations, event.target: new})


def replay(events: Iterable[Event]) -> Run:
    """Fold the events of a run, from the first on.

    Raises:
        ValueError: the first event is no `run-started`.
    """
    iterator = iter(events)
    first = next(iterator, None)
    if not isinstance(first, RunStarted):
        raise ValueError("the events of a run begin with run-started")  # noqa: TRY004 - the order is wrong, not a type
    run = begin(first)
    for event in iterator:
        run = apply(run, event)
    return run


def exit_status(run: Run) -> int:
    """The exit code that a run has earned."""
    if run.cancelled:
        return ExitCode.INTERRUPTED
    if run.aborted is not None:
        return run.aborted.exit_code
    all_succeeded = all(invocation.status is Status.SUCCEEDED for invocation in run.invocations.values())
    return ExitCode.SUCCESS if all_succeeded and run.ended is not None else ExitCode.TARGET_FAILED


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def to_json(event: Event) -> bytes:
    """One event as one line of JSON, without the newline."""
    return _encoder.encode(event)


def from_json(line: bytes | str) -> Event:
    """Read back what `to_json` wrote.

    Raises:
        msgspec.DecodeError: the line is no event of this format.
    """
    event: Event = _decoder.decode(line)
    return event
