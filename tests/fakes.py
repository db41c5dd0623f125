"""Fakes that implement our Protocols, shared by the tests."""

from collections.abc import Callable, Generator, Mapping, Sequence

import msgspec

from ssm_deployer.errors import BadTarget, DeployError
from ssm_deployer.model import Handle, Invocation, Plan, Staged, Status, Target
from ssm_deployer.result import FORMAT, Record

RUN_ID = "20260101T000000Z-00000000"


def make_plan(*ids: str, unreachable: Mapping[str, str] | None = None) -> Plan:
    targets = [Target(id=key, via="ssm") for key in ids]
    targets += [Target(id=key, reason=reason) for key, reason in (unreachable or {}).items()]
    return Plan(run_id=RUN_ID, regions=("eu-west-1",), script="s.sh", targets=tuple(targets))


def make_record(code: int = 0, *, stdout: str = "", stderr: str = "") -> Record:
    return Record(
        format=FORMAT, run=RUN_ID, outcome="exited", code=code, signal=0, started=1, ended=2,
        stdout_sha256=stdout, stderr_sha256=stderr,
    )  # fmt: skip


def succeeded(target: str, stdout: str = "hello\n", *, partial: bool = False) -> Invocation:
    return Invocation(
        target=target, status=Status.SUCCEEDED, word="Success", stdout=stdout, partial=partial,
        record=make_record(stdout=f"digest of {stdout}", stderr="digest of nothing"),
    )  # fmt: skip


def failed(target: str, stderr: str = "boom\n", *, partial: bool = False) -> Invocation:
    return Invocation(
        target=target, status=Status.FAILED, word="Failed", detail="exit 3", stderr=stderr, partial=partial,
        record=make_record(3, stdout="digest of nothing", stderr=f"digest of {stderr}"),
    )  # fmt: skip


def duplicate(target: str, command: str) -> Invocation:
    record = Record(
        format=FORMAT, run=RUN_ID, outcome="refused", error="duplicate", code=77, signal=0, started=1, ended=2
    )
    return Invocation(target=target, status=Status.REFUSED, word="Failed", record=record, command=command)


class FakeClock:
    """Implements `runner.Clock`: waiting takes no time, and makes time pass."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.waits: list[float] = []
        self.wakes = 0
        self.longest_wait = float("inf")
        self.on_wait: Callable[[float], None] = lambda _: None

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += min(seconds, self.longest_wait)
        self.on_wait(self.time)

    def wake(self) -> None:
        self.wakes += 1


class FakeStop:
    """Implements `runner.Stop`."""

    def __init__(self) -> None:
        self.requested = False


class FakeBackend:
    """Implements `runner.Backend` in memory.

    `looks` holds, for each target, what successive looks show; the last one stays. A target without an entry
    succeeds at the second look. `fail` holds, for each verb, errors that its next calls raise.
    """

    def __init__(self, looks: Mapping[str, Sequence[Invocation]] | None = None, batch: int = 50) -> None:
        self.looks = dict(looks or {})
        self.fail: dict[str, list[DeployError]] = {}
        self.gone: dict[str, str] = {}
        self.bad: set[str] = set()
        self.extracts: dict[str, tuple[str, str] | None] = {}
        self.leftovers: list[str] = []
        self.calls: list[tuple[str, object]] = []
        self.staged: set[str] = set()
        self.commands: dict[str, Handle] = {}
        self.cancelled: set[str] = set()
        self.on_call: Callable[[str, object], None] = lambda *_: None
        self._batch = batch
        self._seen: dict[str, int] = {}
        self.metered = True
        self.noun = "command"  # what the ids of handles begin with
        self.deadline = 1000.0
        self.stage_steps = 2

    @property
    def batch(self) -> int:
        return self._batch

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def heed(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def stage(self) -> Generator[int, None, Staged]:
        self._call("stage", None)
        self.staged.add("bundle")
        for step in range(self.stage_steps):
            yield (step + 1) * 100
        return Staged(location="memory://run/", size=self.stage_steps * 100)

    def start(self, targets: Sequence[Target], staged: Staged) -> Handle:
        assert staged.location == "memory://run/"
        ids = tuple(target.id for target in targets)
        self._call("start", ids)
        if self.bad.intersection(ids):
            raise BadTarget("the service does not know one of these")
        [region] = {target.region for target in targets}
        [via] = {target.via for target in targets}
        name = f"{self.noun}-{len(self.commands) + 1}"
        handle = Handle(command=name, via=via, region=region, targets=ids, deadline=self.deadline)
        self.commands[handle.command] = handle
        return handle

    def find(self, targets: Sequence[Target]) -> Sequence[Handle]:
        ids = tuple(target.id for target in targets)
        self._call("find", ids)
        narrowed = [
            msgspec.structs.replace(handle, targets=tuple(key for key in ids if key in handle.targets))
            for handle in self.commands.values()
        ]
        return [handle for handle in narrowed if handle.targets]

    def observe(self, handle: Handle) -> Sequence[Invocation]:
        self._call("observe", handle)
        return [self._look(handle, target) for target in handle.targets]

    def read(self, handle: Handle, target: str) -> tuple[str, str] | None:
        self._call("read", target)
        assert target in handle.targets
        last = self._look(handle, target)
        return self.extracts.get(target, (last.stdout, last.stderr))

    def lost(self, targets: Sequence[Target]) -> Mapping[str, str]:
        ids = tuple(target.id for target in targets)
        self._call("lost", ids)
        return {key: reason for key, reason in self.gone.items() if key in ids}

    def cancel(self, handle: Handle) -> None:
        self._call("cancel", handle.command)
        self.cancelled.add(handle.command)

    def clean(self) -> Sequence[str]:
        self._call("clean", None)
        self.staged.clear()
        return self.leftovers

    def _call(self, name: str, what: object) -> None:
        self.calls.append((name, what))
        self.on_call(name, what)
        errors = self.fail.get(name)
        if errors:
            raise errors.pop(0)

    def _look(self, handle: Handle, target: str) -> Invocation:
        if handle.command in self.cancelled:
            return Invocation(target=target, status=Status.CANCELLED, word="Cancelled", command=handle.command)
        running = Invocation(target=target, status=Status.RUNNING, word="InProgress", command=handle.command)
        looks = self.looks.get(target, [running, succeeded(target)])
        number = self._seen.get(target, 0)
        self._seen[target] = number + 1
        return msgspec.structs.replace(looks[min(number, len(looks) - 1)], command=handle.command)
