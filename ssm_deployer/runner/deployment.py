"""The steps of a run, in their order."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

from ssm_deployer.errors import DeployError, Interrupted
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
from ssm_deployer.model import Handle, Invocation, Plan, Staged, Status, Target
from ssm_deployer.runner.contract import Backend, Clock, Stop
from ssm_deployer.runner.course import Course
from ssm_deployer.runner.following import Following
from ssm_deployer.runner.sending import send_all

READS = 40  # extracts fetched at the end at the most: nobody reads more on one screen
CLEAN_ATTEMPTS = 3


def deploy(plan: Plan, backends: Mapping[str, Backend], clock: Clock, stop: Stop) -> Generator[Event, None, None]:
    """Carry out `plan` and tell what happens, from `run-started` to `run-finished` or `run-aborted`.

    `backends` has one for each `Target.via` of the plan.
    """
    return _Deployment(Course(plan, backends, clock, stop)).events()


class _Deployment:
    def __init__(self, course: Course) -> None:
        self._course = course
        self._cleaned = False
        self._barred: set[str] = set()  # targets that nothing is sent to since nothing could be seen of them

    def events(self) -> Generator[Event, None, None]:
        try:
            yield from self._course.told(self._steps())
        finally:
            if not self._cleaned:  # a bug of ours, or a reader that went away: leave no bearer URL alive all the same
                self._clean_all()

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
            yield self._clean()  # before anything else that may take its time: what lies there can be fetched
            yield from self._read_extracts()
            yield RunFinished(time=course.clock.now())

    def _deploy(self, targets: Sequence[Target]) -> Iterator[Event]:
        staged = yield from self._stage(dict.fromkeys(target.via for target in targets))
        following = Following(self._course)
        for wave in _waves(targets, self._course.plan.wave):
            tried = [target for target in targets if target.id not in self._barred]
            if self._budget_spent(tried) and not self._course.stop.requested:
                yield from self._course.skipped(wave, f"more than {self._course.plan.max_failures} had failed before")
            else:
                visible = yield from self._visible(wave, following)
                yield from send_all(self._course, staged, visible)
                yield from following.follow()

    def _visible(self, wave: Sequence[Target], following: Following) -> Generator[Event, None, Sequence[Target]]:
        """Those of a wave whose verdicts can be seen, as far as is known by now; nothing is sent to the others."""
        for target in wave:
            if target.service in following.unseen:
                self._barred.add(target.id)
                reason = following.unseen[target.service]
                yield from self._course.skipped([target], f"its verdict could not be seen: {reason}")
        return [target for target in wave if target.id not in self._barred]

    def _budget_spent(self, targets: Sequence[Target]) -> bool:
        """Whether more targets have failed, of those that there was a way to, than the user allows."""
        most, invocations = self._course.plan.max_failures, self._course.run.invocations
        ends = [invocations[target.id].status for target in targets]
        return most is not None and sum(end.final and end is not Status.SUCCEEDED for end in ends) > most

    def _stage(self, ways: Iterable[str]) -> Generator[Event, None, Mapping[str, Staged]]:
        staged: dict[str, Staged] = {}
        for via in ways:
            before = sum(each.size for each in staged.values())
            staged[via] = yield from self._stage_by(self._course.backends[via], before)
        yield StagingFinished(
            time=self._course.clock.now(),
            location="".join(each.location for each in staged.values()),  # but one backend has one
            size=sum(each.size for each in staged.values()),
            digest=next((each.digest for each in staged.values()), ""),
        )
        return staged

    def _stage_by(self, backend: Backend, before: int) -> Generator[Event, None, Staged]:
        transfer = backend.stage()
        while True:
            if self._course.stop.requested:
                transfer.close()
                raise Interrupted("stopped while the files were staged; nothing was sent to any target")
            try:
                stored = next(transfer)
            except StopIteration as end:
                staged: Staged = end.value
                return staged
            yield StagingProgressed(time=self._course.clock.now(), sent=before + stored)

    def _read_extracts(self) -> Iterator[Event]:
        refused: set[tuple[str, str]] = set()  # services; where nothing answers, each read takes its time
        for target in self._worth_reading()[:READS]:
            command = self._course.run.invocations[target].command
            [handle] = [handle for handle in self._course.handles_of(target) if handle.command == command]
            if handle.service in refused:
                continue
            try:
                yield self._read(handle, target)
            except DeployError as error:
                refused.add(handle.service)
                reason = f"{error.message}; no other is read there"
                yield Noted(time=self._course.clock.now(), message=f"the rest of {target}'s output: {reason}")

    def _read(self, handle: Handle, target: str) -> Event:
        now, extract = self._course.clock.now(), self._course.backends[handle.via].read(handle, target)
        if extract is None:
            return Noted(time=now, message=f"the rest of {target}'s output: it is not there yet")
        stdout, stderr = extract
        return ExtractRead(time=now, target=target, stdout=stdout, stderr=stderr)

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
        leftovers: list[str] = []
        for attempt in range(CLEAN_ATTEMPTS):
            if attempt:
                self._course.clock.wait(attempt)
            leftovers = self._clean_all()
            if not leftovers:
                break
        return Cleaned(time=self._course.clock.now(), leftovers=tuple(leftovers))

    def _clean_all(self) -> list[str]:
        leftovers: list[str] = []
        for backend in self._course.backends.values():
            try:
                leftovers += backend.clean()
            except DeployError as error:
                leftovers.append(error.message)
        return leftovers


def _waves(targets: Sequence[Target], size: int) -> Iterator[Sequence[Target]]:
    size = size or max(len(targets), 1)
    return (targets[first : first + size] for first in range(0, len(targets), size))


def _content(invocation: Invocation) -> tuple[str, ...]:
    """What makes two outputs equal, as far as it is known without reading them."""
    record = invocation.record
    if record is None or not (record.stdout_sha256 and record.stderr_sha256):
        return (invocation.target,)
    return (str(invocation.status), record.stdout_sha256, record.stderr_sha256)
