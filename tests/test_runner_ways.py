"""One run over several ways to its targets, and in waves with a budget of failures that all of them share."""

from collections.abc import Sequence

import msgspec
import pytest
from fakes import FakeBackend, FakeClock, FakeStop, duplicate, failed, make_plan, succeeded

from ssm_deployer.errors import CloudError, Declined, DeployError, ExitCode, UsageError
from ssm_deployer.events import (
    CancelRequested,
    Event,
    Noted,
    Run,
    SendIntended,
    Sent,
    StagingFinished,
    StagingProgressed,
    exit_status,
    replay,
)
from ssm_deployer.model import Invocation, Plan, Status, Target
from ssm_deployer.runner import deploy
from ssm_deployer.runner.course import FIRST_PAUSE


class Stage:
    """Two backends, one of which is looked at for nothing, as SSH is."""

    def __init__(self) -> None:
        self.ssm = FakeBackend()
        self.ssh = FakeBackend(batch=10_000)
        self.ssh.metered, self.ssh.noun = False, "connection"
        self.clock = FakeClock()
        self.stop = FakeStop()
        self.events: list[Event] = []

    def run(self, plan: Plan) -> Run:
        self.events = list(deploy(plan, {"ssm": self.ssm, "ssh": self.ssh}, self.clock, self.stop))
        return replay(self.events)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def mixed(*ids: str, wave: int = 0, max_failures: int | None = None) -> Plan:
    """`i-…` by SSM, `ssh:…` by SSH."""
    targets = tuple(Target(id=key, via="ssh" if key.startswith("ssh:") else "ssm") for key in ids)
    return msgspec.structs.replace(make_plan(), targets=targets, wave=wave, max_failures=max_failures)


def started(backend: FakeBackend) -> list[object]:
    return [what for name, what in backend.calls if name == "start"]


def looks(backend: FakeBackend) -> int:
    return backend.names().count("observe")


def statuses(run: Run) -> Sequence[str]:
    return [str(invocation.status) for invocation in run.invocations.values()]


def test_each_target_is_sent_to_by_its_own_backend_and_told_in_one_run(stage: Stage) -> None:
    run = stage.run(mixed("i-1", "ssh:a", "i-2", "ssh:b"))
    assert started(stage.ssm) == [("i-1", "i-2")]
    assert started(stage.ssh) == [("ssh:a", "ssh:b")]
    assert statuses(run) == ["succeeded"] * 4
    assert [event.handle.via for event in stage.of(Sent) if isinstance(event, Sent)] == ["ssm", "ssh"]


def test_every_backend_stages_once_and_the_sizes_add_up(stage: Stage) -> None:
    stage.run(mixed("i-1", "ssh:a"))
    sent = [event.sent for event in stage.events if isinstance(event, StagingProgressed)]
    assert sent == [100, 200, 300, 400]
    [finished] = [event for event in stage.events if isinstance(event, StagingFinished)]
    assert finished.size == 400


def test_where_nothing_is_sent_twice_a_duplicate_is_a_second_name_and_told_at_once(stage: Stage) -> None:
    stage.ssh.looks["ssh:b"] = [duplicate("ssh:b", "connection-1")]
    begin = stage.clock.now()
    run = stage.run(mixed("ssh:a", "ssh:b"))
    assert statuses(run) == ["succeeded", "refused"]
    assert stage.clock.now() - begin < 1


def test_a_backend_that_no_target_needs_is_neither_staged_nor_asked(stage: Stage) -> None:
    stage.run(mixed("ssh:a"))
    assert set(stage.ssm.names()) <= {"clean"}


def test_every_backend_is_cleaned_and_what_each_leaves_is_told(stage: Stage) -> None:
    stage.ssm.leftovers, stage.ssh.leftovers = ["an object"], ["a folder"]
    assert stage.run(mixed("i-1", "ssh:a")).leftovers == ("an object", "a folder")


def test_a_stop_cancels_by_every_way(stage: Stage) -> None:
    stage.ssm.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    stage.ssh.looks["ssh:a"] = [Invocation(target="ssh:a", status=Status.RUNNING)]
    stage.clock.on_wait = lambda _: setattr(stage.stop, "requested", True)
    run = stage.run(mixed("i-1", "ssh:a"))
    assert statuses(run) == ["cancelled"] * 2
    assert "cancel" in stage.ssm.names()
    assert "cancel" in stage.ssh.names()


def test_a_stop_is_passed_on_to_all_though_some_service_does_not_answer(stage: Stage) -> None:
    stage.ssm.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    stage.ssh.looks["ssh:a"] = [Invocation(target="ssh:a", status=Status.RUNNING)]
    stage.ssm.fail["cancel"] = [Declined("no connection")] * 1000
    stage.clock.on_wait = lambda _: setattr(stage.stop, "requested", True)
    run = stage.run(mixed("i-1", "ssh:a"))
    assert statuses(run) == ["unknown", "cancelled"]
    assert "no connection; no verdict within" in run.invocations["i-1"].detail
    assert "asked to cancel" not in run.invocations["i-1"].detail


def test_a_stop_is_passed_on_first_where_no_service_has_to_be_asked(stage: Stage) -> None:
    stage.ssm.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    stage.ssh.looks["ssh:a"] = [Invocation(target="ssh:a", status=Status.RUNNING)]
    stage.clock.on_wait = lambda _: setattr(stage.stop, "requested", True)
    asked: list[str] = []
    for backend in (stage.ssm, stage.ssh):
        backend.on_call = lambda name, what: asked.append(str(what)) if name == "cancel" else None
    stage.run(mixed("i-1", "ssh:a"))
    assert asked == ["connection-1", "command-1"]


def test_news_of_one_backend_make_no_extra_request_to_cancel_by_another(stage: Stage) -> None:
    stage.ssm.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)] * 3 + [succeeded("i-1")]
    busy = [Invocation(target="ssh:a", status=Status.RUNNING, word=str(number)) for number in range(50)]
    stage.ssh.looks["ssh:a"] = [*busy, succeeded("ssh:a")]
    stage.ssh.fail["cancel"] = [CloudError("it does not listen")]
    stage.ssm.fail["cancel"] = [Declined("slow down")] * 1000
    stage.clock.longest_wait = 0.02  # news wake it
    stage.clock.on_wait = lambda _: setattr(stage.stop, "requested", True)
    stage.run(mixed("i-1", "ssh:a"))
    assert looks(stage.ssh) == 51
    assert stage.ssm.names().count("cancel") <= looks(stage.ssm) <= 8


def test_news_of_one_backend_make_no_extra_request_to_the_service_of_another(stage: Stage) -> None:
    running = Invocation(target="i-1", status=Status.RUNNING)
    stage.ssm.looks["i-1"] = [running] * 3 + [succeeded("i-1")]
    busy = [Invocation(target="ssh:a", status=Status.RUNNING, word=str(number)) for number in range(50)]
    stage.ssh.looks["ssh:a"] = [*busy, succeeded("ssh:a")]
    stage.clock.longest_wait = 0.02  # news wake it
    stage.run(mixed("i-1", "ssh:a"))
    assert looks(stage.ssh) == 51
    assert looks(stage.ssm) <= 1 + 51 * 0.02 / FIRST_PAUSE + 4


@pytest.mark.parametrize("refusal", [CloudError("the credentials have expired"), UsageError("no such profile")])
def test_a_look_that_is_refused_costs_the_targets_of_other_ways_nothing(stage: Stage, refusal: DeployError) -> None:
    stage.ssm.fail["observe"] = [refusal] * 1000
    busy = Invocation(target="ssh:a", status=Status.RUNNING)
    stage.ssh.looks["ssh:a"] = [busy, busy, succeeded("ssh:a")]
    run = stage.run(mixed("i-1", "ssh:a"))
    assert statuses(run) == ["unknown", "succeeded"]
    assert run.invocations["i-1"].detail == f"no longer followed: {refusal.message}"
    assert run.notes == (f"{refusal.message}; the targets that this concerns are no longer followed",)
    assert (run.aborted, exit_status(run)) == (None, ExitCode.TARGET_FAILED)


def test_the_deadline_of_each_handle_is_its_own(stage: Stage) -> None:
    stage.ssm.deadline, stage.ssh.deadline = 100, 10_000
    stage.ssm.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    stage.ssh.looks["ssh:a"] = [*[Invocation(target="ssh:a", status=Status.RUNNING)] * 500, succeeded("ssh:a")]
    assert statuses(stage.run(mixed("i-1", "ssh:a"))) == ["unknown", "succeeded"]


# -- waves


def test_a_wave_is_sent_only_when_the_one_before_has_its_verdicts(stage: Stage) -> None:
    stage.run(mixed("i-1", "ssh:a", "i-2", "ssh:b", wave=2))
    assert started(stage.ssm) == [("i-1",), ("i-2",)]
    assert started(stage.ssh) == [("ssh:a",), ("ssh:b",)]
    order = [event for event in stage.events if isinstance(event, SendIntended) or _final(event)]
    assert [isinstance(event, SendIntended) for event in order] == [True, True, False, False] * 2


def _final(event: Event) -> bool:
    invocation = getattr(event, "invocation", None)
    return isinstance(invocation, Invocation) and invocation.status.final


def test_without_a_wave_all_are_sent_to_at_once(stage: Stage) -> None:
    stage.run(mixed("i-1", "i-2", "i-3"))
    assert started(stage.ssm) == [("i-1", "i-2", "i-3")]


def test_the_budget_counts_failures_by_every_way_and_holds_back_what_is_left(stage: Stage) -> None:
    stage.ssm.looks["i-1"], stage.ssh.looks["ssh:a"] = [failed("i-1")], [failed("ssh:a")]
    run = stage.run(mixed("i-1", "ssh:a", "i-2", "ssh:b", wave=2, max_failures=1))
    assert statuses(run) == ["failed", "failed", "skipped", "skipped"]
    assert run.invocations["i-2"].detail == "more than 1 had failed before"
    assert started(stage.ssh) == [("ssh:a",)]


def test_failures_within_the_budget_hold_nothing_back(stage: Stage) -> None:
    stage.ssm.looks["i-1"] = [failed("i-1")]
    assert statuses(stage.run(mixed("i-1", "i-2", wave=1, max_failures=1))) == ["failed", "succeeded"]


def test_targets_that_there_was_no_way_to_spend_no_budget(stage: Stage) -> None:
    plan = mixed("i-1", "i-2", wave=1, max_failures=0)
    gone = Target(id="i-9", reason="the instance is stopped")
    run = stage.run(msgspec.structs.replace(plan, targets=(*plan.targets, gone)))
    assert statuses(run) == ["succeeded", "succeeded", "unreached"]


@pytest.mark.parametrize("max_failures", [None, 0])
def test_a_stop_between_waves_sends_no_further_one(stage: Stage, max_failures: int | None) -> None:
    stage.clock.on_wait = lambda _: setattr(stage.stop, "requested", True)
    run = stage.run(mixed("i-1", "i-2", wave=1, max_failures=max_failures))
    assert statuses(run) == ["cancelled", "skipped"]
    assert run.invocations["i-2"].detail == "stopped before it was sent"
    assert run.cancelled
    assert stage.of(Noted) == []


def test_a_stop_while_a_wave_is_sent_after_all_before_have_ended_is_told(stage: Stage) -> None:
    class Second(FakeBackend):
        def start(self, targets, staged):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if len(self.commands) == 1:
                stage.stop.requested = True
                raise Declined("slow down")
            return super().start(targets, staged)

    stage.ssm = Second()
    run = stage.run(mixed("i-1", "i-2", "i-3", wave=1))
    assert statuses(run) == ["succeeded", "skipped", "skipped"]
    assert run.cancelled
    assert len(stage.of(CancelRequested)) == 1
    assert exit_status(run) == ExitCode.INTERRUPTED


def test_a_stop_after_the_last_verdict_changes_nothing(stage: Stage) -> None:
    stage.ssm.on_call = lambda name, _: setattr(stage.stop, "requested", stage.stop.requested or name == "clean")
    run = stage.run(mixed("i-1"))
    assert stage.stop.requested
    assert (run.cancelled, exit_status(run)) == (False, ExitCode.SUCCESS)
