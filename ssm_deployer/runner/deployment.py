"""The steps of a run, in their order."""

from collections.abc import Generator, Iterator, Sequence

from ssm_deployer.errors import CloudError, DeployError, Interrupted
from ssm_deployer.events import (
    Cleaned,
    Event,
    ExtractRead,
    Noted,
    RunAborted,
    RunFinished,
    StagingFinished,
    StagingProgressed,
)
from ssm_deployer.model import Invocation, Plan, Staged, Status, Target
from ssm_deployer.runner.contract import Backend, Clock, Stop
from ssm_deployer.runner.course import Course
from ssm_deployer.runner.following import Following
from ssm_deployer.runner.sending import send_all

READS = 40  # extracts fetched at the end at the most: nobody reads more on one screen
CLEAN_ATTEMPTS = 3


def deploy(plan: Plan, backend: Backend, clock: Clock, stop: Stop) -> Iterator[Event]:
    """Carry out `plan` and tell what happens, from `run-started` to `run-finished` or `run-aborted`."""
    return _Deployment(Course(plan, backend, clock, stop)).events()


class _Deployment:
    def __init__(self, course: Course) -> None:
        self._course = course
        self._cleaned = False

    def events(self) -> Iterator[Event]:
        try:
            yield from self._course.told(self._steps())
        finally:
            if not self._cleaned:  # a bug of ours, or a reader that went away: leave no bearer URL alive all the same
                self._course.backend.clean()

    def _steps(self) -> Iterator[Event]:
        course = self._course
        yield course.started
        for target in course.plan.targets:
            if not target.reachable:
                yield course.changed(Invocation(target=target.id, status=Status.UNREACHED, detail=target.reason))
        try:
            yield from self._deploy([target for target in course.plan.targets if target.reachable])
        except DeployError as error:
            yield from self._give_up(error)
            yield self._clean()
            yield RunAborted(
                time=course.clock.now(), message=error.message, hint=error.hint, exit_code=int(error.exit_code)
            )
        else:
            yield self._clean()
            yield RunFinished(time=course.clock.now())

    def _deploy(self, targets: Sequence[Target]) -> Iterator[Event]:
        staged = yield from self._stage()
        yield from send_all(self._course, staged, targets)
        yield from Following(self._course).follow()
        yield from self._read_extracts()

    def _stage(self) -> Generator[Event, None, Staged]:
        clock = self._course.clock
        transfer = self._course.backend.stage()
        while True:
            if self._course.stop.requested:
                transfer.close()
                raise Interrupted("stopped while the files were staged; nothing was sent to any target")
            try:
                stored = next(transfer)
            except StopIteration as end:
                staged: Staged = end.value
                break
            yield StagingProgressed(time=clock.now(), sent=stored)
        yield StagingFinished(time=clock.now(), location=staged.location, size=staged.size, digest=staged.digest)
        return staged

    def _read_extracts(self) -> Iterator[Event]:
        clock = self._course.clock
        for target in self._worth_reading()[:READS]:
            command = self._course.run.invocations[target].command
            [handle] = [handle for handle in self._course.handles_of(target) if handle.command == command]
            try:
                stdout, stderr = self._course.backend.read(handle, target)
            except CloudError as error:
                yield Noted(time=clock.now(), message=f"the rest of {target}'s output: {error.message}")
            else:
                yield ExtractRead(time=clock.now(), target=target, stdout=stdout, stderr=stderr)

    def _worth_reading(self) -> list[str]:
        """One target for each distinct output, since what is equal is shown once; failures first."""
        partial = [invocation for invocation in self._course.run.invocations.values() if invocation.partial]
        distinct: dict[tuple[str, ...], str] = {}
        for invocation in sorted(partial, key=lambda each: each.status is Status.SUCCEEDED):
            distinct.setdefault(_content(invocation), invocation.target)
        return list(distinct.values())

    def _give_up(self, error: DeployError) -> Iterator[Event]:
        """Settle what is open when the run cannot go on."""
        course = self._course
        if isinstance(error, Interrupted):
            yield from course.stopped()
        for target in course.run.open:
            if target in course.run.sent_at:
                yield course.settled(target, f"no longer followed: {error.message}")
            else:
                yield course.changed(Invocation(target=target, status=Status.SKIPPED, detail=error.message))

    def _clean(self) -> Event:
        """Remove what was staged; what could not be removed is tried again, as it may just have been throttled."""
        self._cleaned = True
        leftovers: Sequence[str] = ()
        for attempt in range(CLEAN_ATTEMPTS):
            if attempt:
                self._course.clock.wait(attempt)
            try:
                leftovers = self._course.backend.clean()
            except DeployError as error:
                leftovers = [error.message]
            if not leftovers:
                break
        return Cleaned(time=self._course.clock.now(), leftovers=tuple(leftovers))


def _content(invocation: Invocation) -> tuple[str, ...]:
    """What makes two outputs equal, as far as it is known without reading them."""
    record = invocation.record
    if record is None or not (record.stdout_sha256 and record.stderr_sha256):
        return (invocation.target,)
    return (str(invocation.status), record.stdout_sha256, record.stderr_sha256)
