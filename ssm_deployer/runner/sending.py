"""Sending to every target, each at most once.

SendCommand knows no client token, so after a request without an answer the command is looked for, and only if a look
has shown that it is not there is it sent again. Should it appear later still, the lock on the target keeps the script
from running twice. A target whose request may have been accepted is never called skipped.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence

from ssm_deployer.errors import Ambiguous, BadTarget, CloudError, Declined, DeployError, Interrupted
from ssm_deployer.events import Event, Noted, SendIntended, Sent
from ssm_deployer.model import Handle, Invocation, Staged, Status, Target
from ssm_deployer.runner.course import LONGEST_PAUSE, Course

SEND_ATTEMPTS = 8
FIND_ATTEMPTS = 5


class _DoubtError(Exception):
    """A request got no answer, and the command could not be found: it may or may not have been accepted.

    Args:
        unanswered: what became of that request.
        last: why it was not sent again.
    """

    def __init__(self, unanswered: Ambiguous, last: DeployError) -> None:
        super().__init__(unanswered.message)
        self.last = last


def send_all(course: Course, staged: Mapping[str, Staged], targets: Sequence[Target]) -> Iterator[Event]:
    """Send to all targets, in batches that are reached the same way, in one region each.

    Raises:
        DeployError: the first batch could not be sent, so that nothing else runs anywhere.
    """
    for batch in _batches(course, targets):
        try:
            yield from _send(course, staged[batch[0].via], batch)
        except DeployError as error:
            if not course.run.handles:
                raise
            # Some targets already run: the rest is told as not run, and those that run are followed.
            unsent = course.run.invocations.keys() - course.run.sent_at.keys()
            pending = [t for t in targets if t.id in unsent and not course.run.invocations[t.id].status.final]
            yield Noted(
                time=course.clock.now(), message=f"{error.message}; targets not sent to for this: {len(pending)}"
            )
            yield from course.skipped(pending, error.message)
            return


def _batches(course: Course, targets: Sequence[Target]) -> Iterator[Sequence[Target]]:
    for service in dict.fromkeys(target.service for target in targets):
        there = [target for target in targets if target.service == service]
        size = course.backends[there[0].via].batch
        yield from (there[first : first + size] for first in range(0, len(there), size))


def _send(course: Course, staged: Staged, targets: Sequence[Target]) -> Iterator[Event]:
    if course.stop.requested:
        yield from _unsent(course, targets)
        return
    yield SendIntended(time=course.clock.now(), targets=tuple(target.id for target in targets))
    try:
        handle = yield from _start(course, staged, targets)
    except BadTarget as error:
        yield from _without_the_bad(course, staged, targets, error)
    except Interrupted:
        yield from _unsent(course, targets)
    except _DoubtError as doubt:
        yield from _doubtful(course, targets, doubt)
    else:
        yield Sent(time=course.clock.now(), handle=handle)
        # Who can be looked at for nothing tells by a look how far each target is.
        for target in targets if course.backends[handle.via].metered else ():
            yield course.changed(Invocation(target=target.id, status=Status.SENT, command=handle.command))


def _doubtful(course: Course, targets: Sequence[Target], doubt: _DoubtError) -> Iterator[Event]:
    for target in targets:
        yield course.settled(target.id, f"sent, without an answer ({doubt}); it may run")
    if course.stop.requested:
        yield from _stopped(course)
    elif not isinstance(doubt.last, BadTarget):
        raise doubt.last from doubt  # what does not answer now takes no further batch either


def _without_the_bad(course: Course, staged: Staged, targets: Sequence[Target], error: BadTarget) -> Iterator[Event]:
    """Send to halves until the bad id is alone, since the service does not say which it means."""
    if len(targets) == 1:
        yield course.changed(
            Invocation(target=targets[0].id, status=Status.UNREACHED, detail=error.message, word="InvalidInstanceId")
        )
        return
    middle = len(targets) // 2
    for half in (targets[:middle], targets[middle:]):
        yield from _send(course, staged, half)


def _start(course: Course, staged: Staged, targets: Sequence[Target]) -> Generator[Event, None, Handle]:
    """Send until the service has certainly accepted or refused; never after the user asked to stop.

    Raises:
        BadTarget: some id is wrong.
        Interrupted: certainly not sent.
        DeployError: certainly not sent.
        _DoubtError: perhaps sent.
    """
    unanswered: Ambiguous | None = None
    last: DeployError = Interrupted("stopped before it was sent")
    for attempt in range(SEND_ATTEMPTS):
        if course.stop.requested:
            last = Interrupted("stopped before it was sent")
            break
        try:
            return course.backends[targets[0].via].start(targets, staged)
        except Declined as error:
            last = error
            yield from _trying_again(course, error, attempt)
            course.clock.wait(min(2.0**attempt, LONGEST_PAUSE))
        except Ambiguous as error:
            last = unanswered = error
            yield from _trying_again(course, error, attempt)
            handle, looked = _find(course, targets)
            if handle is not None:
                return handle
            if not looked:
                break
        except DeployError as error:
            last = error
            break
    raise last if unanswered is None else _DoubtError(unanswered, last)


def _trying_again(course: Course, error: CloudError, attempt: int) -> Iterator[Event]:
    if not attempt:
        yield Noted(time=course.clock.now(), message=f"{error.message}; it is tried again")


def _find(course: Course, targets: Sequence[Target]) -> tuple[Handle | None, bool]:
    """Look for the command of a request without an answer; say also whether the last look was one."""
    looked = False
    for attempt in range(FIND_ATTEMPTS):
        course.clock.wait(2.0**attempt)
        found = course.unknown_handles(targets)
        looked = found is not None
        for handle in found or ():
            if set(handle.targets) == {target.id for target in targets}:
                return handle, True
        if course.stop.requested:
            break
    return None, looked


def _unsent(course: Course, targets: Sequence[Target]) -> Iterator[Event]:
    yield from _stopped(course)
    yield from course.skipped(targets, "stopped before it was sent")


def _stopped(course: Course) -> Iterator[Event]:
    run = course.run
    if not any(target in run.sent_at for target in run.open):  # else following says it, together with what it cancels
        yield from course.stopped(course.unwatched)
