"""The orchestration, against a fake backend and a clock that takes no time."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import msgspec
import pytest
from fakes import FakeBackend, FakeClock, FakeStop, duplicate, failed, make_plan, succeeded

from ssm_deployer.errors import Ambiguous, BadTarget, CloudError, Declined, DeployError, ExitCode, UsageError
from ssm_deployer.events import (
    CancelRequested,
    Cleaned,
    Event,
    InvocationChanged,
    Noted,
    Run,
    RunAborted,
    RunFinished,
    RunStarted,
    SendIntended,
    Sent,
    StagingFinished,
    exit_status,
    replay,
)
from ssm_deployer.model import Handle, Invocation, Plan, Staged, Status, Target
from ssm_deployer.runner import deploy
from ssm_deployer.runner.course import FIRST_PAUSE, LONGEST_PAUSE
from ssm_deployer.runner.deployment import READS
from ssm_deployer.runner.following import ADOPT_SECONDS, BLIND_SECONDS, CANCEL_SECONDS, GROWTH, RECORD_SECONDS
from ssm_deployer.runner.sending import SEND_ATTEMPTS


class Stage:
    """What a test of the runner needs, with sound defaults."""

    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.clock = FakeClock()
        self.stop = FakeStop()
        self.events: list[Event] = []

    def run(self, plan: Plan, on_event: Callable[[Event], None] = lambda _: None) -> Run:
        for event in deploy(plan, {"ssm": self.backend}, self.clock, self.stop):
            self.events.append(event)
            on_event(event)
        return replay(self.events)

    def kinds(self) -> list[type]:
        return [type(event) for event in self.events]

    def stop_at(self, kind: type[Event]) -> Callable[[Event], None]:
        def request(event: Event) -> None:
            self.stop.requested = self.stop.requested or isinstance(event, kind)

        return request


@pytest.fixture
def stage() -> Stage:
    return Stage()


def statuses(run: Run) -> dict[str, Status]:
    return {key: invocation.status for key, invocation in run.invocations.items()}


def of_regions(**regions: str) -> Plan:
    targets = tuple(Target(id=key.replace("_", "-"), region=region, via="ssm") for key, region in regions.items())
    return msgspec.structs.replace(make_plan(), targets=targets, regions=tuple(dict.fromkeys(regions.values())))


def test_a_run_stages_sends_follows_and_cleans_in_this_order(stage: Stage) -> None:
    run = stage.run(make_plan("i-1", "i-2"))
    order = [RunStarted, StagingFinished, SendIntended, Sent, InvocationChanged, Cleaned, RunFinished]
    positions = [stage.kinds().index(kind) for kind in order]
    assert positions == sorted(positions)
    assert statuses(run) == {"i-1": Status.SUCCEEDED, "i-2": Status.SUCCEEDED}
    assert exit_status(run) == ExitCode.SUCCESS
    assert not stage.backend.staged


def test_the_intention_to_send_is_told_before_the_request_leaves(stage: Stage) -> None:
    def check(event: Event) -> None:
        if isinstance(event, SendIntended):
            assert "start" not in stage.backend.names()

    stage.run(make_plan("i-1"), check)
    assert "start" in stage.backend.names()


def test_a_failed_target_is_a_value_and_the_others_go_on(stage: Stage) -> None:
    stage.backend.looks["i-2"] = [failed("i-2")]
    run = stage.run(make_plan("i-1", "i-2"))
    assert statuses(run) == {"i-1": Status.SUCCEEDED, "i-2": Status.FAILED}
    assert exit_status(run) == ExitCode.TARGET_FAILED


def test_unreachable_targets_are_told_and_never_sent_to(stage: Stage) -> None:
    run = stage.run(make_plan("i-1", unreachable={"i-9": "the instance is stopped"}))
    assert run.invocations["i-9"].status is Status.UNREACHED
    assert run.invocations["i-9"].detail == "the instance is stopped"
    assert [what for name, what in stage.backend.calls if name == "start"] == [("i-1",)]
    assert exit_status(run) == ExitCode.TARGET_FAILED


def test_targets_are_sent_in_batches(stage: Stage) -> None:
    stage.backend = FakeBackend(batch=2)
    stage.run(make_plan("i-1", "i-2", "i-3", "i-4", "i-5"))
    sent = [what for name, what in stage.backend.calls if name == "start"]
    assert sent == [("i-1", "i-2"), ("i-3", "i-4"), ("i-5",)]


def test_targets_of_several_regions_are_sent_to_apart_and_what_they_fetch_is_staged_once(stage: Stage) -> None:
    run = stage.run(of_regions(i_1="a", i_2="b", i_3="a"))
    assert [(handle.region, handle.targets) for handle in run.handles] == [("a", ("i-1", "i-3")), ("b", ("i-2",))]
    assert stage.backend.names().count("stage") == 1
    assert exit_status(run) == ExitCode.SUCCESS


@pytest.mark.parametrize("bad", [{"i-3"}, {"i-1", "i-5"}, {"i-1", "i-2", "i-3", "i-4", "i-5"}])
def test_a_bad_id_costs_that_target_and_not_its_batch(stage: Stage, bad: set[str]) -> None:
    stage.backend.bad = bad
    run = stage.run(make_plan("i-1", "i-2", "i-3", "i-4", "i-5"))
    unreached = {key for key, status in statuses(run).items() if status is Status.UNREACHED}
    assert unreached == bad
    assert {status for key, status in statuses(run).items() if key not in bad} <= {Status.SUCCEEDED}


def test_a_throttled_send_is_repeated_after_growing_pauses(stage: Stage) -> None:
    stage.backend.fail["start"] = [Declined("slow down")] * 3
    run = stage.run(make_plan("i-1"))
    assert statuses(run) == {"i-1": Status.SUCCEEDED}
    assert stage.backend.names().count("start") == 4
    assert stage.clock.waits[:3] == [1.0, 2.0, 4.0]


def test_a_send_without_an_answer_is_looked_for_before_it_is_repeated(stage: Stage) -> None:
    stage.backend.fail["start"] = [Ambiguous("no answer")]
    stage.run(make_plan("i-1"))
    names = stage.backend.names()
    assert names.index("find") < len(names) - 1 - names[::-1].index("start")
    assert names.count("start") == 2


def test_a_send_without_an_answer_that_was_accepted_is_not_repeated(stage: Stage) -> None:
    class Accepted(FakeBackend):
        def start(self, targets, staged):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            super().start(targets, staged)
            raise Ambiguous("read timeout")

    stage.backend = Accepted()
    run = stage.run(make_plan("i-1"))
    assert stage.backend.names().count("start") == 1
    assert statuses(run) == {"i-1": Status.SUCCEEDED}


class Late(FakeBackend):
    """Accepts the first send without an answer, and shows it only when the second has been made."""

    looks_at_second: Mapping[str, Sequence[Status]] = {}  # what that one shows of a target before `duplicate`

    def start(self, targets, staged):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        handle = super().start(targets, staged)
        if handle.command == "command-1":
            raise Ambiguous("read timeout")
        return handle

    def find(self, targets):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        found = super().find(targets)
        return found if len(self.commands) > 1 else []

    def _look(self, handle: Handle, target: str) -> Invocation:
        if handle.command != "command-2":
            return super()._look(handle, target)
        number = self._seen[f"{target} again"] = self._seen.get(f"{target} again", -1) + 1
        before = self.looks_at_second.get(target, ())
        if number < len(before):
            return Invocation(target=target, status=before[number], command=handle.command)
        return duplicate(target, handle.command)


def test_a_send_that_turns_out_to_be_a_second_one_gives_way_to_the_verdict_of_the_first(stage: Stage) -> None:
    stage.backend = Late()
    run = stage.run(make_plan("i-1", "i-2"))
    assert statuses(run) == {"i-1": Status.SUCCEEDED, "i-2": Status.SUCCEEDED}
    assert [handle.command for handle in run.handles] == ["command-2", "command-1"]


def test_a_target_that_shows_later_than_another_that_it_had_the_first_command_gets_its_verdict(stage: Stage) -> None:
    stage.backend = Late()
    stage.backend.looks_at_second = {"i-2": [Status.RUNNING]}
    run = stage.run(make_plan("i-1", "i-2"))
    assert statuses(run) == {"i-1": Status.SUCCEEDED, "i-2": Status.SUCCEEDED}
    assert [(handle.command, handle.targets) for handle in run.handles] == [
        ("command-2", ("i-1", "i-2")),
        ("command-1", ("i-1", "i-2")),
    ]


def test_a_command_that_came_too_late_is_not_looked_at_any_more(stage: Stage) -> None:
    stage.backend = Late({"i-1": [*[Invocation(target="i-1", status=Status.RUNNING)] * 9, succeeded("i-1")]})
    stage.run(make_plan("i-1"))
    looked_at = [what.command for name, what in stage.backend.calls if isinstance(what, Handle) and name == "observe"]
    assert looked_at == ["command-2", *["command-1"] * 10]


def test_an_end_of_the_first_command_without_a_record_is_looked_at_again_like_any_other(stage: Stage) -> None:
    bare = Invocation(target="i-1", status=Status.UNKNOWN, word="Success", detail="no record")
    running = Invocation(target="i-1", status=Status.RUNNING)
    stage.backend = Late({"i-1": [*[running] * 20, bare, bare, succeeded("i-1")]})
    assert statuses(stage.run(make_plan("i-1"))) == {"i-1": Status.SUCCEEDED}


def test_a_duplicate_whose_first_command_nobody_finds_is_unknown_after_a_while(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [duplicate("i-1", "command-1")]
    started = stage.clock.now()
    run = stage.run(make_plan("i-1"))
    assert statuses(run) == {"i-1": Status.UNKNOWN}
    assert "cannot be seen" in run.invocations["i-1"].detail
    assert exit_status(run) == ExitCode.TARGET_FAILED
    assert ADOPT_SECONDS <= stage.clock.now() - started < ADOPT_SECONDS + 10


def test_a_bad_id_after_a_request_without_an_answer_costs_its_batch_only(stage: Stage) -> None:
    stage.backend = FakeBackend(batch=1)
    stage.backend.fail["start"] = [Ambiguous("read timeout"), BadTarget("no such id")]
    run = stage.run(make_plan("i-1", "i-2"))
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.SUCCEEDED}


def test_a_target_whose_first_command_can_be_found_but_not_seen_has_its_end_all_the_same(stage: Stage) -> None:
    class Hidden(FakeBackend):
        """Accepts the first command without an answer, lets it be found after a second, and refuses looks at it."""

        def start(self, targets: Sequence[Target], staged: Staged) -> Handle:
            handle = super().start(targets, staged)
            if handle.command == "command-1":
                raise Ambiguous("read timeout")
            return handle

        def find(self, targets: Sequence[Target]) -> Sequence[Handle]:
            return [each for each in super().find(targets) if len(self.commands) > 1 and each.command == "command-1"]

        def observe(self, handle: Handle) -> Sequence[Invocation]:
            self._call("observe", handle)
            if handle.command == "command-1":
                raise CloudError("denied")
            known = {"i-1"} if self.names().count("observe") < 3 else {"i-1", "i-2"}
            return [duplicate(target, handle.command) for target in handle.targets if target in known]

    stage.backend = Hidden()
    assert statuses(stage.run(make_plan("i-1", "i-2"))) == {"i-1": Status.UNKNOWN, "i-2": Status.UNKNOWN}


class Dark(FakeBackend):
    """Refuses looks in region `a`, where scripts run on."""

    def observe(self, handle: Handle) -> Sequence[Invocation]:
        if handle.region == "a":
            raise CloudError("denied")
        return super().observe(handle)


def test_no_later_wave_goes_where_verdicts_cannot_be_seen(stage: Stage) -> None:
    stage.backend = Dark()
    plan = msgspec.structs.replace(of_regions(i_1="a", i_2="b", i_3="a", i_4="b"), wave=2)
    run = stage.run(plan)
    ends = (Status.UNKNOWN, Status.SUCCEEDED, Status.SKIPPED, Status.SUCCEEDED)
    assert statuses(run) == dict(zip(("i-1", "i-2", "i-3", "i-4"), ends, strict=True))
    assert run.invocations["i-3"].detail == "its verdict could not be seen: denied"


def test_a_stop_reaches_what_is_not_looked_at_any_more_however_late_it_comes(stage: Stage) -> None:
    stage.backend = Dark()
    stage.backend.fail["cancel"] = [Declined("slow down")]

    def stop_at_the_second_wave(event: Event) -> None:
        if isinstance(event, InvocationChanged) and event.invocation.target == "i-2" and event.invocation.status.final:
            stage.stop.requested = True

    plan = msgspec.structs.replace(of_regions(i_1="a", i_2="b", i_3="b"), wave=2)
    run = stage.run(plan, stop_at_the_second_wave)
    assert [event.commands for event in stage.events if isinstance(event, CancelRequested)] == [("command-1",)]
    assert stage.backend.cancelled == {"command-1"}
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.SUCCEEDED, "i-3": Status.SKIPPED}


def test_what_could_not_be_stopped_unseen_is_told(stage: Stage) -> None:
    stage.backend = Dark({"i-2": [Invocation(target="i-2", status=Status.RUNNING)]})
    stage.backend.fail["cancel"] = [Declined("slow down")] * 1000

    def stop_at_a_note(event: Event) -> None:
        stage.stop.requested = stage.stop.requested or (isinstance(event, Noted) and "no longer" in event.message)

    run = stage.run(of_regions(i_1="a", i_2="b"), stop_at_a_note)
    assert run.notes[-1] == "slow down; it may still run"


def test_a_wave_of_nothing_but_what_cannot_be_seen_does_not_end_the_run(stage: Stage) -> None:
    stage.backend = Dark()
    run = stage.run(msgspec.structs.replace(of_regions(i_1="b", i_2="a", i_3="b", i_4="a"), wave=1))
    ends = (Status.SUCCEEDED, Status.UNKNOWN, Status.SUCCEEDED, Status.SKIPPED)
    assert statuses(run) == dict(zip(("i-1", "i-2", "i-3", "i-4"), ends, strict=True))
    assert run.aborted is None


def test_what_is_not_sent_as_nothing_could_be_seen_spends_no_budget(stage: Stage) -> None:
    stage.backend = Dark()
    plan = of_regions(i_1="b", i_2="a", i_3="a", i_4="a", i_5="b", i_6="b")
    run = stage.run(msgspec.structs.replace(plan, wave=2, max_failures=2))
    assert [run.invocations[key].status for key in ("i-5", "i-6")] == [Status.SUCCEEDED] * 2


def test_a_region_of_which_something_is_seen_again_is_sent_to(stage: Stage) -> None:
    class Dim(FakeBackend):
        def observe(self, handle: Handle) -> Sequence[Invocation]:
            if handle.command == "command-1":
                raise CloudError("denied")
            return super().observe(handle)

    stage.backend = Dim(batch=1)
    run = stage.run(msgspec.structs.replace(make_plan("i-1", "i-2", "i-3"), wave=2))
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.SUCCEEDED, "i-3": Status.SUCCEEDED}


def test_a_stop_names_no_command_that_is_not_cancelled(stage: Stage) -> None:
    lost = Invocation(target="i-1", status=Status.UNKNOWN)
    stage.backend = FakeBackend({"i-1": [lost]})

    def stop_after_the_first(event: Event) -> None:
        if isinstance(event, InvocationChanged) and event.invocation.status is Status.UNKNOWN:
            stage.stop.requested = True

    stage.run(msgspec.structs.replace(make_plan("i-1", "i-2"), wave=1), stop_after_the_first)
    assert [event.commands for event in stage.events if isinstance(event, CancelRequested)] == [()]
    assert not stage.backend.cancelled


def test_a_stop_is_said_again_though_the_last_that_was_seen_is_not_seen_any_more(stage: Stage) -> None:
    class Dimming(Dark):
        def observe(self, handle: Handle) -> Sequence[Invocation]:
            if "cancel" in self.names():
                raise CloudError("expired")
            return super().observe(handle)

    stage.backend = Dimming({"i-2": [Invocation(target="i-2", status=Status.RUNNING)]})
    stage.backend.fail["cancel"] = [Declined("slow down")]

    def stop_at_a_note(event: Event) -> None:
        stage.stop.requested = stage.stop.requested or (isinstance(event, Noted) and "no longer" in event.message)

    run = stage.run(of_regions(i_1="a", i_2="b"), stop_at_a_note)
    assert stage.backend.cancelled == {"command-1", "command-2"}
    assert exit_status(run) == ExitCode.INTERRUPTED


def test_a_duplicate_is_looked_for_again_where_the_service_would_not_say(stage: Stage) -> None:
    class Found(FakeBackend):
        def _look(self, handle: Handle, target: str) -> Invocation:
            return duplicate(target, handle.command) if handle.command == "command-1" else super()._look(handle, target)

    stage.backend = Found()
    stage.backend.commands["lost"] = Handle(command="lost", targets=("i-1",))
    stage.backend.fail["find"] = [Declined("slow down"), Ambiguous("timeout")]
    run = stage.run(make_plan("i-1"))
    assert [handle.command for handle in run.handles] == ["command-2", "lost"] or statuses(run)[
        "i-1"
    ] is Status.SUCCEEDED


def without_answer(stage: Stage, *, then: Callable[[], None] = lambda: None) -> FakeBackend:
    """A backend that accepts every send and answers none."""

    class Silent(FakeBackend):
        def start(self, targets, staged):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            super().start(targets, staged)
            then()
            raise Ambiguous("read timeout")

    stage.backend = Silent(batch=1)
    return stage.backend


def test_a_send_is_not_repeated_where_nobody_could_look_for_the_first(stage: Stage) -> None:
    without_answer(stage).fail["find"] = [Declined("slow down")] * 100
    run = stage.run(make_plan("i-1", "i-2"))
    assert stage.backend.names().count("start") == 1
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.SKIPPED}
    assert "may run" in run.invocations["i-1"].detail
    assert exit_status(run) == ExitCode.CLOUD


def test_who_may_not_look_for_a_send_without_an_answer_is_told_that_it_may_run(stage: Stage) -> None:
    without_answer(stage).fail["find"] = [CloudError("may not list commands")] * 100
    run = stage.run(make_plan("i-1"))
    assert stage.backend.names().count("start") == 1
    assert statuses(run) == {"i-1": Status.UNKNOWN}


def test_looks_that_fail_now_and_then_are_told_once(stage: Stage) -> None:
    running = Invocation(target="i-1", status=Status.RUNNING)
    stage.backend.looks["i-1"] = [*[running] * 9, succeeded("i-1")]

    def fail_every_other_look(_: float) -> None:
        stage.backend.fail["observe"] = [Declined("slow down")] * (stage.backend.names()[-1] == "observe")

    stage.clock.on_wait = fail_every_other_look
    stage.backend.deadline = 10_000
    run = stage.run(make_plan("i-1"))
    assert sum("slow down" in note for note in run.notes) == 1


def test_a_send_that_perhaps_was_accepted_is_never_called_skipped(stage: Stage) -> None:
    stage.backend.fail["start"] = [Ambiguous("read timeout")] + [Declined("slow down")] * 100
    run = stage.run(make_plan("i-1"))
    assert statuses(run) == {"i-1": Status.UNKNOWN}


@pytest.mark.parametrize("then", [CloudError("expired"), UsageError("no such profile")])
@pytest.mark.parametrize("earlier", [(), ("i-0",)])
def test_a_send_that_perhaps_was_accepted_is_unknown_however_the_next_attempt_is_refused(
    stage: Stage, then: DeployError, earlier: Sequence[str]
) -> None:
    stage.backend = FakeBackend(batch=1)

    def refuse(event: Event) -> None:
        if isinstance(event, SendIntended) and event.targets == ("i-1",):
            stage.backend.fail["start"] = [Ambiguous("read timeout"), then]

    run = stage.run(make_plan(*earlier, "i-1", "i-2"), refuse)
    assert statuses(run) == {**dict.fromkeys(earlier, Status.SUCCEEDED), "i-1": Status.UNKNOWN, "i-2": Status.SKIPPED}
    assert "may run" in run.invocations["i-1"].detail
    started = [what for name, what in stage.backend.calls if name == "start"]
    assert started == [*((key,) for key in earlier), ("i-1",), ("i-1",)]


def test_stopping_during_the_search_for_a_send_sends_nothing_more(stage: Stage) -> None:
    without_answer(stage).fail["find"] = [Declined("slow down")] * 100

    def ask(_: float) -> None:
        stage.stop.requested = True

    stage.clock.on_wait = ask
    run = stage.run(make_plan("i-1", "i-2"))
    assert stage.backend.names().count("start") == 1
    assert stage.backend.names().count("find") == 1
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.SKIPPED}
    assert exit_status(run) == ExitCode.INTERRUPTED


def test_stopping_while_a_bad_id_is_searched_for_sends_nothing_more(stage: Stage) -> None:
    class Halting(FakeBackend):
        def start(self, targets, staged):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            stage.stop.requested = True
            return super().start(targets, staged)

    stage.backend = Halting()
    stage.backend.bad = {"i-1"}
    run = stage.run(make_plan("i-1", "i-2", "i-3", "i-4"))
    assert stage.backend.names().count("start") == 1
    assert set(statuses(run).values()) == {Status.SKIPPED}
    assert exit_status(run) == ExitCode.INTERRUPTED


def test_a_service_that_refuses_the_first_send_aborts_the_run_and_cleans(stage: Stage) -> None:
    stage.backend.fail["start"] = [CloudError("not allowed", "ask for it")]
    run = stage.run(make_plan("i-1"))
    assert run.aborted is not None
    assert (run.aborted.message, run.aborted.hint) == ("not allowed", "ask for it")
    assert exit_status(run) == ExitCode.CLOUD
    assert statuses(run) == {"i-1": Status.SKIPPED}
    assert not stage.backend.staged


def test_a_service_that_refuses_a_later_send_leaves_the_sent_targets_followed(stage: Stage) -> None:
    stage.backend = FakeBackend(batch=1)

    def refuse_after_the_first(event: Event) -> None:
        if isinstance(event, Sent):
            stage.backend.fail["start"] = [CloudError("quota")]

    run = stage.run(make_plan("i-1", "i-2", "i-3"), refuse_after_the_first)
    assert statuses(run) == {"i-1": Status.SUCCEEDED, "i-2": Status.SKIPPED, "i-3": Status.SKIPPED}
    assert run.notes == ("quota; targets not sent to for this: 2",)
    assert exit_status(run) == ExitCode.TARGET_FAILED


def test_sending_gives_up_after_a_bounded_number_of_attempts(stage: Stage) -> None:
    stage.backend.fail["start"] = [Declined("slow down")] * 1000
    run = stage.run(make_plan("i-1"))
    assert stage.backend.names().count("start") == SEND_ATTEMPTS
    assert exit_status(run) == ExitCode.CLOUD


def test_an_error_while_staging_sends_nothing_and_cleans(stage: Stage) -> None:
    stage.backend.fail["stage"] = [CloudError("no such bucket")]
    run = stage.run(make_plan("i-1"))
    assert "start" not in stage.backend.names()
    assert "clean" in stage.backend.names()
    assert exit_status(run) == ExitCode.CLOUD


def test_an_error_of_the_users_input_while_staging_keeps_its_own_exit_code(stage: Stage) -> None:
    class Changed(FakeBackend):
        def stage(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            yield 1
            raise UsageError("a file changed while it was packed")

    stage.backend = Changed()
    assert exit_status(stage.run(make_plan("i-1"))) == ExitCode.USAGE


def test_looking_survives_throttling_and_silence(stage: Stage) -> None:
    stage.backend.fail["observe"] = [Declined("slow down"), Ambiguous("timeout"), Declined("slow down")]
    assert exit_status(stage.run(make_plan("i-1"))) == ExitCode.SUCCESS


def test_looking_gives_up_when_it_sees_nothing_for_too_long(stage: Stage) -> None:
    stage.backend.fail["observe"] = [Ambiguous("timeout")] * 10_000
    started = stage.clock.now()
    run = stage.run(make_plan("i-1"))
    assert run.invocations["i-1"].status is Status.UNKNOWN
    assert exit_status(run) == ExitCode.CLOUD
    assert stage.clock.now() - started < BLIND_SECONDS + 60
    assert "clean" in stage.backend.names()


def test_a_command_that_cannot_be_looked_at_costs_the_others_nothing(stage: Stage) -> None:
    class Half(FakeBackend):
        def observe(self, handle: Handle) -> Sequence[Invocation]:
            if handle.command == "command-1":
                raise Declined("slow down")
            return super().observe(handle)

    stage.backend = Half({"i-2": [Invocation(target="i-2", status=Status.RUNNING)] * 60 + [succeeded("i-2")]}, batch=1)
    stage.backend.deadline = 10_000
    run = stage.run(make_plan("i-1", "i-2", "i-3"))
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.SUCCEEDED, "i-3": Status.SUCCEEDED}
    assert exit_status(run) == ExitCode.TARGET_FAILED


class Shut(FakeBackend):
    """Refuses to be asked in some regions."""

    shut: Sequence[str] = ("a",)

    def observe(self, handle: Handle) -> Sequence[Invocation]:
        if handle.region in self.shut:
            raise CloudError(f"access denied in {handle.region}")
        return super().observe(handle)


def test_a_region_that_refuses_to_be_asked_costs_the_others_nothing(stage: Stage) -> None:
    stage.backend = Shut(batch=1)
    run = stage.run(of_regions(i_1="a", i_2="a", i_3="b"))
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.UNKNOWN, "i-3": Status.SUCCEEDED}
    assert run.notes == ("access denied in a; the targets that this concerns are no longer followed",)
    assert exit_status(run) == ExitCode.TARGET_FAILED


def test_what_is_no_longer_followed_is_asked_to_stop_all_the_same(stage: Stage) -> None:
    stage.backend = Shut({"i-2": [Invocation(target="i-2", status=Status.RUNNING)]})
    run = stage.run(of_regions(i_1="a", i_2="b"), stage.stop_at(Noted))
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.CANCELLED}
    assert stage.backend.cancelled == {"command-1", "command-2"}


def test_where_every_region_refuses_to_be_asked_the_run_cannot_go_on(stage: Stage) -> None:
    stage.backend = Shut()
    stage.backend.shut = ("a", "b")
    run = stage.run(of_regions(i_1="a", i_2="b"))
    assert set(statuses(run).values()) == {Status.UNKNOWN}
    assert exit_status(run) == ExitCode.CLOUD


def test_each_command_has_a_patience_of_its_own_with_looks_that_fail(stage: Stage) -> None:
    begin = stage.clock.now()

    class Flaky(FakeBackend):
        """Never shows the first command; and not the second at about the moment when the first is given up."""

        def observe(self, handle: Handle) -> Sequence[Invocation]:
            if handle.command == "command-1" or abs(stage.clock.now() - begin - BLIND_SECONDS) < 60:
                raise Declined("slow down")
            return super().observe(handle)

    stage.backend = Flaky({"i-2": [Invocation(target="i-2", status=Status.RUNNING)] * 60 + [succeeded("i-2")]}, batch=1)
    stage.backend.deadline = 10_000
    run = stage.run(make_plan("i-1", "i-2"))
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.SUCCEEDED}
    assert exit_status(run) == ExitCode.TARGET_FAILED


def test_after_a_suspend_the_first_failed_look_is_not_the_last(stage: Stage) -> None:
    def sleep_long(event: Event) -> None:
        if isinstance(event, Sent):
            stage.clock.time += 10_000
            stage.backend.fail["observe"] = [Declined("slow down")]

    stage.backend.looks["i-1"] = [succeeded("i-1")]
    stage.backend.deadline = 500
    run = stage.run(make_plan("i-1"), sleep_long)
    assert exit_status(run) == ExitCode.SUCCESS


def test_an_end_without_a_record_is_looked_at_again_before_it_is_believed(stage: Stage) -> None:
    bare = Invocation(target="i-1", status=Status.UNKNOWN, word="Success", detail="no record")
    stage.backend.looks["i-1"] = [bare, bare, succeeded("i-1")]
    stage.backend.looks["i-2"] = [Invocation(target="i-2", status=Status.UNKNOWN, word="Success", detail="no record")]
    started = stage.clock.now()
    run = stage.run(make_plan("i-1", "i-2"))
    assert statuses(run) == {"i-1": Status.SUCCEEDED, "i-2": Status.UNKNOWN}
    assert RECORD_SECONDS <= stage.clock.now() - started < RECORD_SECONDS + 2


def test_credentials_that_expire_while_following_are_told_and_nobody_is_called_successful(stage: Stage) -> None:
    stage.backend.fail["observe"] = [CloudError("the credentials have expired")]
    run = stage.run(make_plan("i-1"))
    assert statuses(run) == {"i-1": Status.UNKNOWN}
    assert exit_status(run) == ExitCode.CLOUD


def test_the_pauses_grow_while_nothing_changes_and_are_bounded(stage: Stage) -> None:
    running = Invocation(target="i-1", status=Status.RUNNING)
    stage.backend.looks["i-1"] = [*[running] * 40, succeeded("i-1")]
    stage.backend.deadline = 10_000
    stage.run(make_plan("i-1"))
    assert all(before <= after for before, after in pairwise(stage.clock.waits[1:]))
    assert max(stage.clock.waits) == LONGEST_PAUSE


def test_the_second_look_comes_soon_after_the_first_whatever_that_has_shown(stage: Stage) -> None:
    sent = Invocation(target="i-1", status=Status.SENT)
    stage.backend.looks["i-1"] = [sent, sent, succeeded("i-1")]
    stage.run(make_plan("i-1"))
    assert stage.clock.waits == [FIRST_PAUSE, GROWTH * FIRST_PAUSE]


def test_many_commands_are_looked_at_less_often(stage: Stage) -> None:
    stage.backend = FakeBackend(batch=1)
    stage.run(make_plan(*(f"i-{number}" for number in range(100))))
    assert min(stage.clock.waits) >= 100 / 5


def test_a_status_never_goes_back(stage: Stage) -> None:
    sent = Invocation(target="i-1", status=Status.SENT, word="Pending")
    running = Invocation(target="i-1", status=Status.RUNNING, word="InProgress")
    stage.backend.looks["i-1"] = [running, sent, running, succeeded("i-1")]
    stage.run(make_plan("i-1"))
    seen = [event.invocation.status for event in stage.events if isinstance(event, InvocationChanged)]
    assert seen == [Status.SENT, Status.RUNNING, Status.SUCCEEDED]


def test_an_instance_that_vanished_is_noticed_before_the_services_timeout(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    stage.backend.gone["i-1"] = "the instance is terminated"
    started = stage.clock.now()
    stage.backend.deadline = 7200
    run = stage.run(make_plan("i-1"))
    assert run.invocations["i-1"].status is Status.UNKNOWN
    assert run.invocations["i-1"].detail == "the instance is terminated"
    assert stage.clock.now() - started < 120


def test_a_region_that_cannot_tell_what_is_lost_costs_the_others_nothing(stage: Stage) -> None:
    class Half(FakeBackend):
        def lost(self, targets: Sequence[Target]) -> Mapping[str, str]:
            gone = super().lost(targets)
            if "a" in {target.region for target in targets}:
                raise CloudError("access denied in a")
            return gone

    stage.backend = Half({key: [Invocation(target=key, status=Status.RUNNING)] for key in ("i-1", "i-2")})
    stage.backend.gone = dict.fromkeys(("i-1", "i-2"), "the instance is terminated")
    stage.backend.deadline = 500
    run = stage.run(of_regions(i_1="a", i_2="b"))
    assert run.invocations["i-2"].detail == "the instance is terminated"
    assert run.invocations["i-1"].detail.startswith("no verdict within")


def test_an_instance_that_told_its_end_before_it_went_keeps_its_verdict(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    stage.backend.gone["i-1"] = "the instance is terminated"

    def show_its_end(name: str, _: object) -> None:  # which it had told since the look before
        if name == "lost":
            stage.backend.looks["i-1"] = [succeeded("i-1")]

    stage.backend.on_call = show_its_end
    stage.backend.deadline = 7200
    assert statuses(stage.run(make_plan("i-1"))) == {"i-1": Status.SUCCEEDED}


def test_an_instance_that_vanished_is_unknown_only_after_a_look_that_showed_no_end(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    stage.backend.gone["i-1"] = "the instance is terminated"

    def end_unseen(name: str, _: object) -> None:
        if name == "lost":
            stage.backend.looks["i-1"] = [succeeded("i-1")]
            stage.backend.fail.setdefault("observe", [Declined("slow down")] * 3)

    stage.backend.on_call = end_unseen
    stage.backend.deadline = 7200
    assert statuses(stage.run(make_plan("i-1"))) == {"i-1": Status.SUCCEEDED}


def test_a_target_without_a_verdict_is_unknown_after_the_deadline(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    stage.backend.deadline = 500
    run = stage.run(make_plan("i-1", "i-2"))
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.SUCCEEDED}
    assert exit_status(run) == ExitCode.TARGET_FAILED


def test_stopping_while_staging_sends_nothing_and_cleans(stage: Stage) -> None:
    stage.backend.stage_steps = 1000
    run = stage.run(make_plan("i-1"), stage.stop_at(RunStarted))
    assert statuses(run) == {"i-1": Status.SKIPPED}
    assert "start" not in stage.backend.names()
    assert not stage.backend.staged
    assert exit_status(run) == ExitCode.INTERRUPTED


def test_stopping_between_batches_skips_the_rest_and_cancels_what_was_sent(stage: Stage) -> None:
    stage.backend = FakeBackend(batch=1)
    run = stage.run(make_plan("i-1", "i-2"), stage.stop_at(Sent))
    assert statuses(run) == {"i-1": Status.CANCELLED, "i-2": Status.SKIPPED}
    assert stage.backend.cancelled == {"command-1"}


def test_stopping_while_following_asks_to_cancel_waits_for_the_verdicts_and_cleans(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    run = stage.run(make_plan("i-1"), stage.stop_at(Sent))
    assert [event.commands for event in stage.events if isinstance(event, CancelRequested)] == [("command-1",)]
    assert statuses(run) == {"i-1": Status.CANCELLED}
    assert exit_status(run) == ExitCode.INTERRUPTED
    assert not stage.backend.staged


def test_a_cancelled_target_that_gives_no_verdict_is_not_waited_for_for_ever(stage: Stage) -> None:
    class Deaf(FakeBackend):
        def cancel(self, handle):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            self._call("cancel", handle)

    stage.backend = Deaf({"i-1": [Invocation(target="i-1", status=Status.RUNNING)]})
    started = stage.clock.now()
    stage.backend.deadline = 7200
    run = stage.run(make_plan("i-1"), stage.stop_at(Sent))
    assert run.invocations["i-1"].status is Status.UNKNOWN
    assert run.invocations["i-1"].detail.startswith("asked to cancel; no verdict within")
    assert stage.clock.now() - started < CANCEL_SECONDS + 60


def test_every_command_is_asked_to_stop_though_one_request_is_not_answered(stage: Stage) -> None:
    class Half(FakeBackend):
        def cancel(self, handle: Handle) -> None:
            super().cancel(handle)
            if handle.command == "command-1":
                self.cancelled.remove("command-1")
                raise Ambiguous("timeout")

    running = {key: [Invocation(target=key, status=Status.RUNNING)] for key in ("i-1", "i-2")}
    stage.backend = Half(running, batch=1)

    def stop_at_the_second(event: Event) -> None:
        stage.stop.requested = stage.stop.requested or (isinstance(event, Sent) and "i-2" in event.handle.targets)

    run = stage.run(make_plan("i-1", "i-2"), stop_at_the_second)
    assert statuses(run) == {"i-1": Status.UNKNOWN, "i-2": Status.CANCELLED}
    assert run.invocations["i-1"].detail == f"timeout; no verdict within {CANCEL_SECONDS:.0f} s, it may still run"


def test_a_cancel_that_is_refused_is_told_and_the_verdicts_are_still_waited_for(stage: Stage) -> None:
    stage.backend.fail["cancel"] = [CloudError("not allowed to cancel")]
    run = stage.run(make_plan("i-1"), stage.stop_at(Sent))
    assert any("not allowed to cancel" in note for note in run.notes)
    assert statuses(run) == {"i-1": Status.SUCCEEDED}
    assert exit_status(run) == ExitCode.INTERRUPTED


def test_a_stop_is_passed_on_though_nothing_could_be_looked_at_for_long_before_it(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    begin = stage.clock.now()

    def lose_the_network(now: float) -> None:
        stage.stop.requested = now - begin > CANCEL_SECONDS + 30
        away = now - begin < CANCEL_SECONDS + 60
        stage.backend.fail = {name: [Ambiguous("timeout")] * away for name in ("observe", "cancel")}

    stage.clock.on_wait = lose_the_network
    stage.backend.deadline = 7200
    assert statuses(stage.run(make_plan("i-1"))) == {"i-1": Status.CANCELLED}


def test_a_cancel_that_was_throttled_is_asked_for_again(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [Invocation(target="i-1", status=Status.RUNNING)]
    stage.backend.fail["cancel"] = [Declined("slow down"), Ambiguous("timeout")]
    stage.backend.deadline = 7200
    run = stage.run(make_plan("i-1"), stage.stop_at(Sent))
    assert stage.backend.names().count("cancel") == 3
    assert statuses(run) == {"i-1": Status.CANCELLED}


def test_stopping_while_a_send_is_throttled_leaves_the_target_unsent(stage: Stage) -> None:
    stage.backend.fail["start"] = [Declined("slow down")] * 100

    def ask(_: float) -> None:
        stage.stop.requested = True

    stage.clock.on_wait = ask
    run = stage.run(make_plan("i-1"))
    assert statuses(run) == {"i-1": Status.SKIPPED}
    assert exit_status(run) == ExitCode.INTERRUPTED


def test_what_cleaning_could_not_remove_is_told(stage: Stage) -> None:
    stage.backend.leftovers = ["s3://bucket/run/bundle: denied"]
    assert stage.run(make_plan("i-1")).leftovers == ("s3://bucket/run/bundle: denied",)


def test_a_cleaning_that_was_throttled_is_repeated(stage: Stage) -> None:
    stage.backend.fail["clean"] = [Declined("slow down")]
    assert stage.run(make_plan("i-1")).leftovers == ()
    assert not stage.backend.staged


def test_a_refused_cleaning_is_told_and_does_not_hide_the_verdicts(stage: Stage) -> None:
    stage.backend.fail["clean"] = [CloudError("may not delete")] * 10
    run = stage.run(make_plan("i-1"))
    assert run.leftovers == ("may not delete",)
    assert statuses(run) == {"i-1": Status.SUCCEEDED}


def test_a_reader_that_goes_away_leaves_nothing_staged(stage: Stage) -> None:
    events = deploy(make_plan("i-1"), {"ssm": stage.backend}, stage.clock, stage.stop)
    for event in events:
        if isinstance(event, Sent):
            break
    assert stage.backend.staged
    events.close()
    assert not stage.backend.staged


def test_extracts_that_were_cut_are_read_for_failures_and_once_for_equal_outputs(stage: Stage) -> None:
    ids = [f"i-{number}" for number in range(10)]
    stage.backend.looks = {key: [succeeded(key, "the same", partial=True)] for key in ids[:8]}
    stage.backend.looks["i-8"] = [failed("i-8", partial=True)]
    stage.backend.extracts["i-8"] = ("whole stdout\n", "whole stderr\n")
    stage.backend.looks["i-9"] = [succeeded("i-9", "another", partial=False)]
    run = stage.run(make_plan(*ids))
    read = [what for name, what in stage.backend.calls if name == "read"]
    assert len(read) == 2
    assert read[0] == "i-8"
    assert run.invocations["i-8"].stderr == "whole stderr\n"
    assert not run.invocations["i-8"].partial


def test_equal_failures_are_read_once_so_that_there_is_room_for_the_others(stage: Stage) -> None:
    same = {f"i-{number}": failed(f"i-{number}", partial=True) for number in range(READS + 10)}
    stage.backend.looks = {key: [end] for key, end in same.items()}
    stage.backend.looks["i-x"] = [failed("i-x", "another\n", partial=True)]
    stage.run(make_plan(*stage.backend.looks))
    assert [what for name, what in stage.backend.calls if name == "read"] == ["i-0", "i-x"]


def test_an_extract_that_cannot_be_read_is_noted_and_changes_no_verdict(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [succeeded("i-1", partial=True)]
    stage.backend.fail["read"] = [CloudError("throttled")]
    run = stage.run(make_plan("i-1"))
    assert exit_status(run) == ExitCode.SUCCESS
    assert run.notes


def test_an_extract_that_is_not_there_yet_replaces_nothing_and_the_next_is_read(stage: Stage) -> None:
    stage.backend.looks = {key: [failed(key, f"{key}\n", partial=True)] for key in ("i-1", "i-2")}
    stage.backend.extracts["i-1"] = None
    run = stage.run(make_plan("i-1", "i-2"))
    assert (run.invocations["i-1"].stderr, run.invocations["i-1"].partial) == ("i-1\n", True)
    assert not run.invocations["i-2"].partial
    assert run.notes == ("the rest of i-1's output: it is not there yet",)


def test_what_was_staged_is_gone_before_longer_output_is_read(stage: Stage) -> None:
    stage.backend.looks["i-1"] = [succeeded("i-1", partial=True)]
    run = stage.run(make_plan("i-1"))
    assert stage.backend.names()[-2:] == ["clean", "read"]
    assert not run.invocations["i-1"].partial


def test_where_output_cannot_be_read_no_more_of_it_is_asked_for(stage: Stage) -> None:
    class Silent(FakeBackend):
        def read(self, handle: Handle, target: str) -> tuple[str, str] | None:
            text = super().read(handle, target)
            if handle.region == "a":
                raise Declined("no connection")
            return text

    ends = {f"i-{number}": [failed(f"i-{number}", f"{number}\n", partial=True)] for number in range(1, 5)}
    stage.backend = Silent(ends)
    run = stage.run(of_regions(i_1="a", i_2="b", i_3="a", i_4="b"))
    assert [what for name, what in stage.backend.calls if name == "read"] == ["i-1", "i-2", "i-4"]
    assert run.notes == ("the rest of i-1's output: no connection; no other is read there",)


def test_a_run_of_a_thousand_targets_makes_no_call_per_target(stage: Stage) -> None:
    stage.run(make_plan(*(f"i-{number}" for number in range(1000))))
    assert len(stage.backend.calls) <= 20 + 2 * 20 + 5


def test_the_last_event_says_how_the_run_ended(stage: Stage) -> None:
    stage.run(make_plan("i-1"))
    assert isinstance(stage.events[-1], RunFinished)
    other = Stage()
    other.backend.fail["start"] = [CloudError("no")]
    other.run(make_plan("i-1"))
    assert isinstance(other.events[-1], RunAborted)
