"""Whatever the services do, and whenever the user stops, what a run tells is true: random worlds, each from a seed."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import msgspec
from fakes import FakeBackend, FakeClock, FakeStop, duplicate, failed, make_plan, succeeded
from hypothesis import given, settings
from hypothesis import strategies as st

from ssm_deployer.errors import Ambiguous, BadTarget, CloudError, Declined, DeployError, ExitCode, UsageError
from ssm_deployer.events import (
    CancelRequested,
    Event,
    InvocationChanged,
    RunAborted,
    RunFinished,
    exit_status,
    replay,
)
from ssm_deployer.model import Handle, Invocation, Plan, Staged, Status, Target
from ssm_deployer.runner import deploy

MOST_EVENTS = 20_000
FAULTS: list[tuple[float, DeployError]] = [  # how often each comes, of all faults
    (0.4, Declined("slow down")),
    (0.4, Ambiguous("no answer")),
    (0.1, CloudError("denied")),
    (0.1, UsageError("no such profile")),
]


class World(FakeBackend):
    """Machines that run what reaches them first, behind a service that is as unreliable as `faults` says (0 to 1)."""

    def __init__(self, chance: Random, clock: FakeClock, noun: str, faults: float) -> None:
        super().__init__(batch=chance.choice([1, 2, 3, 50]))
        self.chance, self.clock, self.noun, self.faults = chance, clock, noun, faults
        self.metered = noun == "command"
        self.errors = (Declined("down"), CloudError("denied"))
        self.lasts = chance.choice([0, 5, 100, 400])
        self.runs: dict[str, str] = {}  # the command that each target runs
        self.ends: dict[str, float] = {}
        self.shown: dict[str, float] = {}  # when a command can be found
        self.down_until = 0.0
        self.dark: set[str] = set()  # commands that no look gets to
        self.asked: set[str] = set()  # commands whose cancelling was asked for
        self.on_call = self.asks

    def asks(self, name: str, what: object) -> None:
        if name == "cancel":
            self.asked.add(str(what))
        if name not in {"stage", "start"}:
            self.trouble()

    def trouble(self) -> None:
        if self.clock.now() < self.down_until:
            raise self.chance.choice([Declined("down"), Ambiguous("down")])
        if self.chance.random() < self.faults / 20:
            self.down_until = self.clock.now() + self.chance.choice([10, 100, 500])
        if self.chance.random() < self.faults:
            weights, errors = zip(*FAULTS, strict=True)
            raise self.chance.choices(errors, weights)[0]

    def start(self, targets: Sequence[Target], staged: Staged) -> Handle:
        silence = None
        try:
            self.trouble()
        except Ambiguous as error:
            silence = error
        if any(target.id.endswith("7") for target in targets):
            raise BadTarget("unknown")
        if silence and self.chance.random() < 0.5:
            raise silence
        handle = super().start(targets, staged)
        if self.chance.random() < self.faults / 5:
            self.dark.add(handle.command)
        self.shown[handle.command] = self.clock.now() + (self.chance.choice([0, 3, 40]) if silence else 0)
        for target in handle.targets:
            self.runs.setdefault(target, handle.command)
            self.ends.setdefault(target, self.clock.now() + self.chance.random() * self.lasts)
        if silence:
            raise silence
        return handle

    def find(self, targets: Sequence[Target]) -> Sequence[Handle]:
        return [handle for handle in super().find(targets) if self.shown[handle.command] <= self.clock.now()]

    def observe(self, handle: Handle) -> Sequence[Invocation]:
        self._call("observe", handle)
        if handle.command in self.dark:
            raise self.errors[self.chance.random() < 0.5]
        seen = (self.verdict(handle, target) for target in handle.targets if self.chance.random() < 0.8)
        return [msgspec.structs.replace(each, command=handle.command) for each in seen]

    def verdict(self, handle: Handle, target: str) -> Invocation:
        if self.runs[target] != handle.command:
            return duplicate(target, handle.command)
        if handle.command in self.cancelled:
            return Invocation(target=target, status=Status.CANCELLED)
        if self.clock.now() < self.ends[target]:
            return Invocation(target=target, status=Status.RUNNING)
        if self.chance.random() < 0.1:
            return Invocation(target=target, status=Status.UNKNOWN)  # its record is not there yet
        return failed(target, partial=True) if target[-1] in "35" else succeeded(target, partial=True)


class Course:
    """One run in a world of chance."""

    def __init__(self, seed: int) -> None:
        chance, self.clock, self.stop = Random(seed), FakeClock(), FakeStop()  # noqa: S311
        self.clock.longest_wait = chance.choice([float("inf"), 1, 15])
        faults = chance.choice([0, 0.05, 0.2, 0.5, 0.9])
        self.worlds = {
            "ssm": World(chance, self.clock, "command", faults),
            "ssh": World(chance, self.clock, "connection", 0),
        }
        self.stops_at = self.clock.now() + chance.choice([float("inf"), chance.random() * 20, chance.random() * 500])
        self.clock.on_wait = self.passes
        self.plan = self.planned(chance)
        self.events: list[Event] = []
        self.run()

    def planned(self, chance: Random) -> Plan:
        targets = [
            Target(id=f"i-{number}", region=chance.choice("ab"), via="ssm")
            if chance.random() < 0.7
            else Target(id=f"ssh:{number}", via="ssh")
            for number in range(chance.randint(1, 8))
        ]
        limits = {"wave": chance.choice([0, 1, 2, 3]), "max_failures": chance.choice([None, 0, 2])}
        return msgspec.structs.replace(make_plan(), targets=tuple(targets), **limits)

    def passes(self, now: float) -> None:
        self.stop.requested = self.stop.requested or now >= self.stops_at

    def run(self) -> None:
        for event in deploy(self.plan, self.worlds, self.clock, self.stop):
            self.events.append(event)
            assert len(self.events) < MOST_EVENTS
            if isinstance(event, InvocationChanged):
                self.check(event.invocation)

    def check(self, told: Invocation) -> None:
        reached = any(told.target in world.runs for world in self.worlds.values())
        assert not (reached and told.status in {Status.SKIPPED, Status.UNREACHED})
        assert reached or told.status not in {Status.SUCCEEDED, Status.FAILED}


@settings(max_examples=500)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_every_target_is_told_once_and_truly_and_everybody_is_asked_to_stop(seed: int) -> None:
    course = Course(seed)
    run, events = replay(course.events), course.events
    told = [event.invocation for event in events if isinstance(event, InvocationChanged)]
    ends = Counter(invocation.target for invocation in told if invocation.status.final)
    assert ends == Counter(target.id for target in course.plan.targets)
    assert isinstance(events[-1], RunFinished | RunAborted)
    assert [each.time for each in events] == sorted(each.time for each in events)
    assert not any(world.staged for world in course.worlds.values()) or run.leftovers
    if run.cancelled:
        assert exit_status(run) == ExitCode.INTERRUPTED
        assert run.aborted or not _never_asked(course)


def _never_asked(course: Course) -> list[str]:
    """Commands with targets that ended after the stop, which nobody was asked to cancel."""
    run = replay(course.events)
    [stopped] = [event.time for event in course.events if isinstance(event, CancelRequested)]
    return [
        handle.command
        for handle in run.handles
        if any(run.ended_at[t] > stopped and run.invocations[t].command == handle.command for t in handle.targets)
        and handle.command not in course.worlds[handle.via].asked
    ]
