"""One run in progress, as its steps share it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from ssm_deployer import __version__
from ssm_deployer.errors import DeployError
from ssm_deployer.events import CancelRequested, Event, InvocationChanged, RunStarted, apply, begin
from ssm_deployer.model import Handle, Invocation, Plan, Status, Target
from ssm_deployer.runner.contract import Backend, Clock, Stop

FIRST_PAUSE = 0.25  # seconds between two looks at the start: most scripts are short
LONGEST_PAUSE = 15.0


class Course:
    """What a run needs of the world, and the run itself, folded from the very events that its steps yield."""

    def __init__(self, plan: Plan, backends: Mapping[str, Backend], clock: Clock, stop: Stop) -> None:
        self.plan = plan
        self.backends = backends
        self.clock = clock
        self.stop = stop
        self.targets = {target.id: target for target in plan.targets}
        self.given_up: set[str] = set()  # commands that are not looked at any more
        for backend in backends.values():
            backend.heed(clock.wake)
        self.started = RunStarted(time=clock.now(), plan=plan, version=__version__)
        self.run = begin(self.started)

    def told(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass events on, folding each before it is seen."""
        for event in events:
            self.run = apply(self.run, event)
            yield event

    @property
    def unwatched(self) -> list[Handle]:
        """What was sent and is not looked at any more; it may still run."""
        return [handle for handle in self.run.handles if handle.command in self.given_up]

    def handles_of(self, target: str) -> list[Handle]:
        """The commands that a target got."""
        return [handle for handle in self.run.handles if target in handle.targets]

    def unknown_handles(self, targets: Sequence[Target]) -> list[Handle] | None:
        """Commands of this run that these targets got without its knowledge; None where the service would not say.

        All of the targets are reached the same way, in one region.
        """
        known = {(handle.command, target) for handle in self.run.handles for target in handle.targets}
        try:
            found = self.backends[targets[0].via].find(targets)
        except DeployError:
            return None
        return narrowed(found, lambda handle, target: (handle.command, target) not in known)

    def changed(self, invocation: Invocation) -> Event:
        """Tell where a target stands."""
        return InvocationChanged(time=self.clock.now(), invocation=invocation)

    def settled(self, target: str, reason: str) -> Event:
        """Close a target whose end was not seen."""
        known = self.run.invocations[target]
        return self.changed(
            Invocation(target=target, status=Status.UNKNOWN, word=known.word, detail=reason, command=known.command)
        )

    def skipped(self, targets: Iterable[Target], reason: str) -> Iterator[Event]:
        """Close targets that were certainly not sent to."""
        for target in targets:
            yield self.changed(Invocation(target=target.id, status=Status.SKIPPED, detail=reason))

    def stopped(self, handles: Sequence[Handle] = ()) -> Iterator[Event]:
        """Tell, once, that the user asked to stop."""
        if not self.run.cancelled:
            yield CancelRequested(time=self.clock.now(), commands=tuple(handle.command for handle in handles))


def narrowed(handles: Iterable[Handle], matters: Callable[[Handle, str], bool]) -> list[Handle]:
    """The handles, each with those of its targets that matter; without those of which none does."""
    kept = (
        msgspec.structs.replace(handle, targets=tuple(target for target in handle.targets if matters(handle, target)))
        for handle in handles
    )
    return [handle for handle in kept if handle.targets]
