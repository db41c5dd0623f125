"""Following what was sent until every target has its end.

One handle that cannot be looked at costs the others nothing, and an end is believed only when it was seen: a target
that the service calls finished is looked at again before it counts as one without a record.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from ssm_deployer.errors import Ambiguous, CloudError, Declined, DeployError
from ssm_deployer.events import Event, Noted, Sent
from ssm_deployer.model import Handle, Invocation, Status, Target
from ssm_deployer.runner.contract import Backend
from ssm_deployer.runner.course import FIRST_PAUSE, LONGEST_PAUSE, Course, narrowed

GROWTH = 1.25  # from one pause to the next while nothing is new
LOOKS_PER_SECOND = 5.0  # SSM publishes no rates; this stays far below what users report as throttled
LONGEST_UNMETERED_PAUSE = 1.0  # where looking costs nothing, and news wake the clock anyway
LEAST_PAUSE = 0.01  # however often it is woken: a thousand targets that end at once are as many news
BLIND_SECONDS = 300.0  # how long looking may fail before it is given up
BARE_PAUSE = 1.0  # while a target is at its end, but its record or its first command is not seen yet
RECORD_SECONDS = 3.0  # how long an end may be without the record: the service is only eventually consistent
ADOPT_SECONDS = 60.0  # how long the command that came before a duplicate is looked for
LOST_CHECK_SECONDS = 60.0
CANCEL_SECONDS = 90.0  # how long to wait for the verdicts of a cancelled command


class _Rhythm:
    """When to look next at what one backend has sent: soon while something happens, else less and less often."""

    def __init__(self, backend: Backend) -> None:
        self.due = 0.0
        self._pause = 0.0
        self._metered = backend.metered

    def waits(self, now: float) -> bool:
        """Whether it is too early. News of a backend that costs nothing to look at have woken the clock."""
        return self._metered and now < self.due

    def restart(self) -> None:
        """Look at once, and soon again: something will happen."""
        self.due = self._pause = 0.0

    def looked(self, now: float, *, news: bool, bare: bool, handles: int) -> None:
        longest = BARE_PAUSE if bare else LONGEST_PAUSE if self._metered else LONGEST_UNMETERED_PAUSE
        self._pause = FIRST_PAUSE if news else min(max(self._pause * GROWTH, FIRST_PAUSE), longest)
        self.due = now + max(self._pause, handles / LOOKS_PER_SECOND if self._metered else 0.0)


class Following:
    """The looks at a run's commands, and what had to be remembered between them."""

    def __init__(self, course: Course) -> None:
        self._course = course
        # First those that cost nothing: a service that does not answer takes its time.
        backends = sorted(course.backends.items(), key=lambda each: each[1].metered)
        self._rhythms = {via: _Rhythm(backend) for via, backend in backends}
        self._lost_check = self._now
        self._gone: dict[str, str] = {}  # targets that no more will come from, and why
        self._cancelled_at: float | None = None
        self._asked: set[str] = set()  # commands whose cancelling the service has taken or refused
        self._uncancelled: dict[str, str] = {}  # commands that the service has not said it cancels, and why
        self._blind: dict[str, float] = {}  # commands that cannot be looked at, since when
        self.unseen: dict[tuple[str, str], str] = {}  # services of which nothing can be seen, and why
        self._warned = False  # of looks that fail: once is enough
        self._bare: dict[str, float] = {}  # targets at an end, or gone, without a record, since when
        self._duplicates: set[tuple[str, str]] = set()  # (command, target) whose target had another command before

    @property
    def _now(self) -> float:
        return self._course.clock.now()

    def follow(self) -> Iterator[Event]:
        """Look, at growing intervals, until no target that was sent to is open.

        Raises:
            DeployError: nothing can be looked at any more: it was refused, or not answered for too long.
        """
        while self._waited_for():
            yield from self._heed_stop()
            for via, rhythm in self._rhythms.items():
                if not rhythm.waits(self._now):
                    yield from self._cancel_by(via)
                    yield from self._look_by(via, rhythm)
            self._ask_for_lost()
            if handles := self._waited_for():
                due = min(self._rhythms[handle.via].due for handle in handles)
                self._course.clock.wait(max(due - self._now, LEAST_PAUSE))
        for command in (self._course.given_up - self._asked) & self._uncancelled.keys():
            yield Noted(time=self._now, message=f"{self._uncancelled.pop(command)}; it may still run")

    def _waited_for(self) -> list[Handle]:
        return [*self._open_handles(), *self._to_be_stopped()]

    # -- looking

    def _look_by(self, via: str, rhythm: _Rhythm) -> Iterator[Event]:
        before = self._course.run
        for handle in self._open_handles(via):
            yield from self._look(handle)
        left = self._open_handles(via)
        rhythm.looked(
            self._now,
            news=self._course.run is not before,
            bare=any(target in self._bare for handle in left for target in handle.targets),
            handles=len(left),
        )

    def _look(self, handle: Handle) -> Iterator[Event]:
        try:
            seen = self._course.backends[handle.via].observe(handle)
        except (Declined, Ambiguous) as error:
            yield from self._blinded(handle, error)
            return
        except DeployError as error:
            yield from self._give_up(handle, error, f"no longer followed: {error.message}")
            return
        self._blind.pop(handle.command, None)
        self.unseen.pop(handle.service, None)
        news = [invocation for invocation in seen if self._is_news(invocation)]
        for invocation in news:
            if not self._has_come_before(invocation) and self._believed(invocation):
                yield self._course.changed(invocation)
        yield from self._adopt([invocation for invocation in news if self._has_come_before(invocation)])
        yield from self._overdue(handle)

    def _blinded(self, handle: Handle, error: CloudError) -> Iterator[Event]:
        if not self._warned:
            self._warned = True
            yield Noted(time=self._now, message=f"{error.message}; it is tried again for {BLIND_SECONDS:.0f} s")
        since, patience = self._blind.setdefault(handle.command, self._now), BLIND_SECONDS
        if self._cancelled_at is not None:  # however long it was before: that it is to stop may be taken yet
            since, patience = max(since, self._cancelled_at), CANCEL_SECONDS
        if self._now - since > patience:
            yield from self._give_up(handle, error, f"not seen for {patience:.0f} s: {error.message}")

    def _give_up(self, handle: Handle, error: DeployError, reason: str) -> Iterator[Event]:
        """Look at a command no more, which ends the run only if there is nothing else to look at."""
        self._course.given_up.add(handle.command)
        self.unseen[handle.service] = error.message
        followed = {target for each in self._open_handles() for target in each.targets}
        if not (followed or self._to_be_stopped() or self._elsewhere()):
            raise error
        note = f"{error.message}; the targets that this concerns are no longer followed"
        if note not in self._course.run.notes:
            yield Noted(time=self._now, message=note)
        for target in handle.targets:
            if target not in followed:
                yield self._course.settled(target, reason)

    def _elsewhere(self) -> bool:
        """Whether targets are left, to be sent to yet, whose verdicts could be seen."""
        left = (self._course.targets[target] for target in self._course.run.open)
        return any(target.service not in self.unseen for target in left)

    def _is_news(self, invocation: Invocation) -> bool:
        known = self._course.run.invocations.get(invocation.target)
        if known is None or known.status.final or invocation.status.stage < known.status.stage:
            return False
        return invocation != known

    def _believed(self, invocation: Invocation) -> bool:
        """Whether this may be told: an end without a record only when none has come for a while."""
        if invocation.status is not Status.UNKNOWN or invocation.record is not None:
            return True
        return self._bare_for(invocation.target) >= RECORD_SECONDS

    def _bare_for(self, target: str) -> float:
        """How many seconds it is since the target was first seen at an end that says nothing."""
        return self._now - self._bare.setdefault(target, self._now)

    def _open_handles(self, via: str = "") -> list[Handle]:
        """The handles (of one backend) that are looked at, each with the targets whose end they may show."""
        still_open = set(self._course.run.open)
        handles = (
            handle
            for handle in self._course.run.handles
            if via in {"", handle.via} and handle.command not in self._course.given_up
        )
        return narrowed(handles, lambda handle, target: target in still_open and not self._superseded(handle, target))

    # -- duplicates

    def _adopt(self, duplicates: Sequence[Invocation]) -> Iterator[Event]:
        """Of targets that another command had got to before, follow that command instead."""
        self._duplicates |= {(invocation.command, invocation.target) for invocation in duplicates}
        orphans = [each.target for each in duplicates if not self._has_another(each.target)]
        if not orphans:
            return
        for handle in self._course.unknown_handles([self._course.targets[target] for target in orphans]) or ():
            yield Sent(time=self._now, handle=handle)
            for target in handle.targets:
                self._bare.pop(target, None)
        for target in orphans:
            if not self._has_another(target) and self._bare_for(target) >= ADOPT_SECONDS:
                yield self._course.settled(target, "another command of this run came before, and cannot be seen")

    def _has_come_before(self, invocation: Invocation) -> bool:
        """Whether a command of this run, perhaps one without an answer, got to the target before this one."""
        if invocation.record is None or not invocation.record.duplicate:
            return False
        # Where requests have no answers to lose, no command is sent twice: it is a machine with two names, of which the
        # other has the verdict.
        return self._course.backends[self._course.targets[invocation.target].via].metered

    def _superseded(self, handle: Handle, target: str) -> bool:
        """Whether the verdict on the target is another command's, which is known."""
        return (handle.command, target) in self._duplicates and self._has_another(target)

    def _has_another(self, target: str) -> bool:
        """Whether some command of the target may still show the verdict."""
        return any(
            (handle.command, target) not in self._duplicates and handle.command not in self._course.given_up
            for handle in self._course.handles_of(target)
        )

    # -- ends that are not seen

    def _ask_for_lost(self) -> None:
        """Take note of targets that are gone; they may have told their end since the last look, so one more is due."""
        if self._now - self._lost_check <= LOST_CHECK_SECONDS:
            return
        self._lost_check = self._now
        waited_for: dict[tuple[str, str], dict[str, Target]] = {}
        for handle in self._open_handles():
            there = waited_for.setdefault(handle.service, {})
            there |= {target: self._course.targets[target] for target in handle.targets}
        for (via, _), targets in waited_for.items():
            # A convenience: where it fails, the service's own timeout tells the same, later.
            with suppress(DeployError):
                self._gone |= self._course.backends[via].lost(list(targets.values()))
        for target in self._gone:
            self._bare.setdefault(target, self._now)

    def _overdue(self, handle: Handle) -> Iterator[Event]:
        """Settle what a look, just now, did not show at its end though it should be."""
        run, now = self._course.run, self._now
        for target in handle.targets:
            if run.invocations[target].status.final:
                continue
            if now - run.sent_at[target] > handle.deadline:
                reason = "no verdict within the delivery and execution timeouts; it may have run"
                yield self._course.settled(target, reason)
            elif target in self._gone and self._bare_for(target) >= RECORD_SECONDS:
                yield self._course.settled(target, self._gone[target])
            elif self._cancelled_at is not None and now - self._cancelled_at > CANCEL_SECONDS:
                asked = self._uncancelled.get(handle.command, "asked to cancel")
                reason = f"{asked}; no verdict within {CANCEL_SECONDS:.0f} s, it may still run"
                yield self._course.settled(target, reason)

    # -- stopping

    def _heed_stop(self) -> Iterator[Event]:
        """Tell, once, that the user asked to stop, and look at once, since commands are cancelled before a look."""
        if self._course.stop.requested and self._cancelled_at is None:
            self._cancelled_at = self._now
            yield from self._course.stopped(self._stoppable())
            for rhythm in self._rhythms.values():
                rhythm.restart()

    def _stoppable(self, via: str = "") -> list[Handle]:
        """The handles (of one backend) that may still run, also those whose end nobody can see."""
        unwatched = (handle for handle in self._course.unwatched if via in {"", handle.via})
        return [*self._open_handles(via), *unwatched]

    def _to_be_stopped(self) -> list[Handle]:
        """After a stop: what is not looked at any more, and has not taken the word to stop yet."""
        waited = self._now - self._cancelled_at if self._cancelled_at is not None else 0.0
        if not self._course.stop.requested or waited > CANCEL_SECONDS:
            return []
        return [handle for handle in self._course.unwatched if handle.command not in self._asked]

    def _cancel_by(self, via: str) -> Iterator[Event]:
        """Once the user has asked to stop: ask for each command to be cancelled, until that has been taken."""
        if self._cancelled_at is not None:
            for handle in self._stoppable(via):
                if handle.command not in self._asked:
                    yield from self._ask_to_cancel(handle)

    def _ask_to_cancel(self, handle: Handle) -> Iterator[Event]:
        try:
            self._course.backends[handle.via].cancel(handle)
        except (Declined, Ambiguous) as error:
            self._uncancelled[handle.command] = error.message
            return  # again at the next look
        except DeployError as error:
            self._uncancelled[handle.command] = error.message
            yield Noted(time=self._now, message=error.message)
        else:
            self._uncancelled.pop(handle.command, None)
        self._asked.add(handle.command)
