"""The orchestration of one run: stage, send, follow, read, clean. It yields events and prints nothing.

The order of things is what keeps a run truthful: the intention to send is told before the request leaves, a target's
status comes only from what a backend saw, and the staged content is removed however the run ends.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Protocol

from ssm_deployer import __version__
from ssm_deployer.errors import Ambiguous, BadTarget, CloudError, Declined, DeployError, Interrupted
from ssm_deployer.events import (
    CancelRequested,
    Cleaned,
    Event,
    ExtractRead,
    InvocationChanged,
    Noted,
    Run,
    RunAborted,
    RunFinished,
    RunStarted,
    SendIntended,
    Sent,
    StagingFinished,
    StagingProgressed,
    apply,
    begin,
)
from ssm_deployer.model import Handle, Invocation, Plan, Staged, Status, Target

FIRST_PAUSE = 0.25  # seconds between two looks at the start: most scripts are short
LONGEST_PAUSE = 15.0
LOOKS_PER_SECOND = 5.0  # SSM publishes no rates; this stays far below what users report as throttled
BLIND_SECONDS = 300.0  # how long looking may fail before the run gives up
SEND_ATTEMPTS = 8
FIND_ATTEMPTS = 5
LOST_CHECK_SECONDS = 60.0
CANCEL_SECONDS = 90.0  # how long to wait for the verdicts of a cancelled command
READS = 40  # extracts fetched at the end at the most: nobody reads more on one screen


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def wait(self, seconds: float) -> None:
        """Sleep, but wake at once when the user first asks to stop."""


class Stop(Protocol):
    """Whether the user asked to stop."""

    @property
    def requested(self) -> bool:
        """True from the first request on."""


class Backend(Protocol):
    """How content and commands reach the targets. Adapters: they neither loop nor sleep nor print.

    Every method raises `CloudError` (or a kind of it) where the service refuses or does not answer.
    """

    @property
    def batch(self) -> int:
        """The largest number of targets that one `start` takes."""

    def stage(self) -> Generator[int, None, Staged]:
        """Put the content where the targets can fetch it, telling the bytes stored on the way.

        Closing the generator ends the transfer.
        """

    def start(self, targets: Sequence[Target], staged: Staged) -> Handle:
        """Send the command, once.

        Raises:
            Declined: certainly not sent.
            Ambiguous: perhaps sent.
            BadTarget: not sent; some target is not valid.
        """

    def find(self, targets: Sequence[str]) -> Sequence[Handle]:
        """Look for the commands of this run that were sent to exactly these targets."""

    def observe(self, handle: Handle) -> Sequence[Invocation]:
        """Take one look at a handle's targets. Those that the service does not show yet are left out."""

    def read(self, handle: Handle, target: str) -> tuple[str, str]:
        """Fetch the whole extract (stdout, stderr) of a target that has come to its end."""

    def lost(self, targets: Sequence[str]) -> Mapping[str, str]:
        """Say which of these machines are gone for good, and why."""

    def cancel(self, handle: Handle) -> None:
        """Ask for a command to be stopped on all of its targets."""

    def clean(self) -> Sequence[str]:
        """Remove what `stage` put; say what is left, a line each."""


def deploy(plan: Plan, backend: Backend, clock: Clock, stop: Stop) -> Iterator[Event]:
    """Carry out `plan` and tell what happens, from `run-started` to `run-finished` or `run-aborted`."""
    return _Deployment(plan, backend, clock, stop).events()


class _Deployment:
    """One run in progress. `run` is folded from the very events that it yields."""

    def __init__(self, plan: Plan, backend: Backend, clock: Clock, stop: Stop) -> None:
        self.plan = plan
        self.backend = backend
        self.clock = clock
        self.stop = stop
        self.cleaned = False
        self.run: Run = begin(RunStarted(time=clock.now(), plan=plan, version=__version__))

    def events(self) -> Iterator[Event]:
        try:
            for event in self._steps():
                self.run = apply(self.run, event)
                yield event
        finally:
            if not self.cleaned:  # a bug of ours, or a reader that went away: leave no bearer URL alive all the same
                self.backend.clean()

    def _steps(self) -> Iterator[Event]:
        yield RunStarted(time=self.clock.now(), plan=self.plan, version=__version__)
        for target in self.plan.targets:
            if not target.reachable:
                yield self._changed(Invocation(target=target.id, status=Status.UNREACHED, detail=target.reason))
        try:
            yield from self._deploy([target for target in self.plan.targets if target.reachable])
        except DeployError as error:
            yield from self._give_up(error)
            yield self._clean()
            yield RunAborted(
                time=self.clock.now(), message=error.message, hint=error.hint, exit_code=int(error.exit_code)
            )
        else:
            yield self._clean()
            yield RunFinished(time=self.clock.now())

    def _deploy(self, targets: Sequence[Target]) -> Iterator[Event]:
        staged = yield from self._stage()
        yield from self._send_all(targets, staged)
        yield from self._follow()
        yield from self._read_extracts()

    # -- stage

    def _stage(self) -> Generator[Event, None, Staged]:
        transfer = self.backend.stage()
        while True:
            if self.stop.requested:
                transfer.close()
                raise Interrupted("stopped while the files were staged; nothing was sent to any target")
            try:
                stored = next(transfer)
            except StopIteration as end:
                staged: Staged = end.value
                break
            yield StagingProgressed(time=self.clock.now(), sent=stored)
        yield StagingFinished(time=self.clock.now(), location=staged.location, size=staged.size, digest=staged.digest)
        return staged

    # -- send

    def _send_all(self, targets: Sequence[Target], staged: Staged) -> Iterator[Event]:
        for first in range(0, len(targets), self.backend.batch):
            if self.stop.requested:
                yield from self._unsent(targets[first:])
                return
            try:
                yield from self._send(targets[first : first + self.backend.batch], staged)
            except CloudError as error:
                if not self.run.handles:
                    raise
                # Some targets already run: the rest is told as not run, and those that run are followed.
                yield Noted(time=self.clock.now(), message=f"{error.message}; the remaining targets were not sent")
                yield from self._skip([t for t in targets if self._is_pending(t)], error.message)
                return

    def _send(self, targets: Sequence[Target], staged: Staged) -> Iterator[Event]:
        yield SendIntended(time=self.clock.now(), targets=tuple(target.id for target in targets))
        try:
            handle = self._start(targets, staged)
        except BadTarget as error:
            # The service does not say which id it means, so halves are sent until it is alone.
            if len(targets) == 1:
                yield self._changed(
                    Invocation(
                        target=targets[0].id, status=Status.UNREACHED, detail=error.message, word="InvalidInstanceId"
                    )
                )
                return
            middle = len(targets) // 2
            yield from self._send(targets[:middle], staged)
            yield from self._send(targets[middle:], staged)
        except Interrupted:
            yield from self._unsent(targets)
        else:
            yield Sent(time=self.clock.now(), handle=handle)
            for target in targets:
                yield self._changed(Invocation(target=target.id, status=Status.SENT, command=handle.command))

    def _start(self, targets: Sequence[Target], staged: Staged) -> Handle:
        """Send until the service has certainly accepted or refused.

        SendCommand knows no client token, so after a request without an answer the command is looked for first. Should
        it appear only later, the lock on the target keeps the script from running twice.
        """
        for attempt in range(SEND_ATTEMPTS):
            try:
                return self.backend.start(targets, staged)
            except Declined:
                if attempt == SEND_ATTEMPTS - 1:
                    raise
                self._pause_or_stop(min(2.0**attempt, LONGEST_PAUSE))
            except Ambiguous:
                handle = self._find(targets)
                if handle is not None:
                    return handle
                if attempt == SEND_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _find(self, targets: Sequence[Target]) -> Handle | None:
        for attempt in range(FIND_ATTEMPTS):
            self.clock.wait(2.0**attempt)
            found = self._unknown_handles([target.id for target in targets])
            if found:
                return found[0]
        return None

    def _unknown_handles(self, targets: Sequence[str]) -> list[Handle]:
        """Commands of this run that it did not know it had sent."""
        try:
            known = {handle.command for handle in self.run.handles}
            return [handle for handle in self.backend.find(targets) if handle.command not in known]
        except (Declined, Ambiguous):
            return []

    def _pause_or_stop(self, seconds: float) -> None:
        self.clock.wait(seconds)
        if self.stop.requested:
            raise Interrupted("stopped before it was sent")

    # -- follow

    def _follow(self) -> Iterator[Event]:
        pause = FIRST_PAUSE
        last_seen = last_lost_check = self.clock.now()
        cancelled_at: float | None = None
        while self.run.open:
            if self.stop.requested and cancelled_at is None:
                yield from self._cancel()
                cancelled_at, pause = self.clock.now(), FIRST_PAUSE
            try:
                changes = self._look()
                last_seen = self.clock.now()
            except (Declined, Ambiguous):
                if self.clock.now() - last_seen > BLIND_SECONDS:
                    raise
                changes, pause = [], LONGEST_PAUSE
            for invocation in changes:
                yield from self._news(invocation)
            if self.clock.now() - last_lost_check > LOST_CHECK_SECONDS:
                last_lost_check = self.clock.now()
                yield from self._lost()
            yield from self._overdue(cancelled_at)
            pause = FIRST_PAUSE if changes else min(pause * 1.5, LONGEST_PAUSE)
            if self.run.open:
                self.clock.wait(max(pause, len(self._open_handles()) / LOOKS_PER_SECOND))

    def _news(self, invocation: Invocation) -> Iterator[Event]:
        """Tell a change; but of a target that another command had got to before, follow that command instead."""
        if _is_duplicate(invocation):
            yield from self._adopt(invocation.target)
            if len(self._handles_of(invocation.target)) > 1:
                return
        yield self._changed(invocation)

    def _adopt(self, target: str) -> Iterator[Event]:
        handles = self._handles_of(target)
        if len(handles) == 1:
            for other in self._unknown_handles(handles[0].targets):
                yield Sent(time=self.clock.now(), handle=other)

    def _look(self) -> list[Invocation]:
        seen = [invocation for handle in self._open_handles() for invocation in self.backend.observe(handle)]
        return [invocation for invocation in seen if self._is_news(invocation)]

    def _is_news(self, invocation: Invocation) -> bool:
        known = self.run.invocations.get(invocation.target)
        if known is None or known.status.final or invocation.status.stage < known.status.stage:
            return False
        if _is_duplicate(invocation) and len(self._handles_of(invocation.target)) > 1:
            return False
        return invocation != known

    def _handles_of(self, target: str) -> list[Handle]:
        return [handle for handle in self.run.handles if target in handle.targets]

    def _open_handles(self) -> list[Handle]:
        """The handles that still matter, each with the targets that do."""
        still_open = set(self.run.open)
        narrowed = (
            Handle(command=handle.command, targets=tuple(t for t in handle.targets if t in still_open))
            for handle in self.run.handles
        )
        return [handle for handle in narrowed if handle.targets]

    def _lost(self) -> Iterator[Event]:
        try:
            gone = self.backend.lost(self.run.open)
        except CloudError:
            return  # a convenience: the service's own timeout tells the same, later
        for target, reason in gone.items():
            yield self._settled(target, reason)

    def _overdue(self, cancelled_at: float | None) -> Iterator[Event]:
        now = self.clock.now()
        for target in self.run.open:
            if now - self.run.sent_at.get(target, now) > self.plan.deadline:
                yield self._settled(target, "no verdict within the delivery and execution timeouts; it may have run")
            elif cancelled_at is not None and now - cancelled_at > CANCEL_SECONDS:
                yield self._settled(
                    target, f"asked to cancel, no verdict within {CANCEL_SECONDS:.0f} s; it may still run"
                )

    def _cancel(self) -> Iterator[Event]:
        handles = self._open_handles()
        yield CancelRequested(time=self.clock.now(), commands=tuple(handle.command for handle in handles))
        for handle in handles:
            try:
                self.backend.cancel(handle)
            except CloudError as error:
                yield Noted(time=self.clock.now(), message=f"could not cancel {handle.command}: {error.message}")

    # -- the end

    def _read_extracts(self) -> Iterator[Event]:
        for target in self._worth_reading()[:READS]:
            command = self.run.invocations[target].command
            [handle] = [handle for handle in self._handles_of(target) if handle.command == command]
            try:
                stdout, stderr = self.backend.read(handle, target)
            except CloudError as error:
                yield Noted(time=self.clock.now(), message=f"the rest of {target}'s output: {error.message}")
            else:
                yield ExtractRead(time=self.clock.now(), target=target, stdout=stdout, stderr=stderr)

    def _worth_reading(self) -> list[str]:
        """Failures first, then one target for each distinct output: what is equal is shown once."""
        partial = [invocation for invocation in self.run.invocations.values() if invocation.partial]
        failed = [invocation.target for invocation in partial if invocation.status is not Status.SUCCEEDED]
        distinct = {
            (i.record.stdout_sha256, i.record.stderr_sha256): i.target
            for i in partial
            if i.status is Status.SUCCEEDED and i.record is not None
        }
        return [*failed, *distinct.values()]

    def _give_up(self, error: DeployError) -> Iterator[Event]:
        """Settle what is open when the run cannot go on."""
        if isinstance(error, Interrupted):
            yield CancelRequested(time=self.clock.now(), commands=())
        for target in self.run.open:
            if target in self.run.sent_at:
                yield self._settled(target, f"no longer followed: {error.message}")
            else:
                yield self._changed(Invocation(target=target, status=Status.SKIPPED, detail=error.message))

    def _clean(self) -> Event:
        self.cleaned = True
        try:
            leftovers = self.backend.clean()
        except CloudError as error:
            leftovers = [error.message]
        return Cleaned(time=self.clock.now(), leftovers=tuple(leftovers))

    # -- events about targets

    def _changed(self, invocation: Invocation) -> Event:
        return InvocationChanged(time=self.clock.now(), invocation=invocation)

    def _settled(self, target: str, reason: str) -> Event:
        """Close a target whose end was not seen."""
        known = self.run.invocations[target]
        return self._changed(
            Invocation(target=target, status=Status.UNKNOWN, word=known.word, detail=reason, command=known.command)
        )

    def _skip(self, targets: Sequence[Target], reason: str) -> Iterator[Event]:
        for target in targets:
            yield self._changed(Invocation(target=target.id, status=Status.SKIPPED, detail=reason))

    def _unsent(self, targets: Sequence[Target]) -> Iterator[Event]:
        if not self.run.handles:  # else following says it, together with what it cancels
            yield CancelRequested(time=self.clock.now(), commands=())
        yield from self._skip(targets, "stopped before it was sent")

    def _is_pending(self, target: Target) -> bool:
        return self.run.invocations[target.id].status is Status.PENDING


def _is_duplicate(invocation: Invocation) -> bool:
    return invocation.record is not None and invocation.record.duplicate
