from typing import Any

import pytest

from ssm_deployer.sandbox.agent import AgentStatus, Message, Result
from ssm_deployer.sandbox.command import Command, limit
from ssm_deployer.sandbox.run_command import KEPT_COMMANDS, ManagedInstance, Pace, Refusal, RunCommand

START = 1_000.0


class FakeAgents:
    """Takes messages and keeps them."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.cancelled: list[str] = []
        self.messages: list[Message] = []

    def deliver(self, instance_id: str, message: Message) -> None:
        self.delivered.append(instance_id)
        self.messages.append(message)

    def cancel(self, instance_id: str, command_id: str) -> None:
        assert command_id
        self.cancelled.append(instance_id)


class Bench:
    """The service with `size` instances i-…00, i-…01 and so on, and a clock that stands."""

    def __init__(self, size: int = 3) -> None:
        self.now = START
        self.managed = {
            name(number): ManagedInstance(name(number), tags={"Name": f"n{number}"}) for number in range(size)
        }
        self.agents = FakeAgents()
        self.service = RunCommand(lambda: self.managed, self.agents, lambda: self.now, Pace)

    def send(self, **request: Any) -> Command:
        request.setdefault("Parameters", {"commands": ["true"]})
        if "Targets" not in request:
            request.setdefault("InstanceIds", list(self.managed))
        return self.service.send({"DocumentName": "AWS-RunShellScript", **request})

    def later(self, seconds: float) -> None:
        """Let time pass the way the loop does: tick by tick, at each moment that something is due."""
        until = self.now + seconds
        while True:
            due = self.service.tick()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
        self.now = until
        self.service.tick()

    def finish(self, command: Command, *statuses: AgentStatus) -> None:
        """Report these ends of the first deliveries that have none yet."""
        open_ids = [id_ for id_ in self.agents.delivered if not command.invocations[id_].final]
        for instance_id, status in zip(open_ids, statuses, strict=False):
            code = {"Success": 0, "Failed": 1}.get(status, 137)
            self.service.finished(command.id, instance_id, Result(status, code, "out", "err", "short", ran=True))


def name(number: int) -> str:
    return f"i-{number:017x}"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def details(command: Command) -> list[str]:
    return [each.details for each in command.invocations.values()]


def refusal(bench: Bench, **request: Any) -> str:
    with pytest.raises(Refusal) as caught:
        bench.send(**request)
    return caught.value.code


def test_a_new_command_cannot_be_seen_at_first(bench: Bench) -> None:
    command = bench.send()
    assert bench.service.command(command.id) is None
    assert list(bench.service.commands()) == []
    bench.now += 0.1
    assert bench.service.command(command.id) is command
    assert details(command) == ["Pending"] * 3
    assert command.details == "Pending"


def test_pending_comes_before_in_progress(bench: Bench) -> None:
    command = bench.send()
    bench.later(0.15)
    assert command.details == "Pending"
    bench.later(0.06)
    assert details(command) == ["InProgress", "Pending", "Pending"]
    assert command.details == "InProgress"


def test_the_ramp_doubles_up_to_max_concurrency() -> None:
    bench = Bench(20)
    command = bench.send(MaxConcurrency="10")
    seen: list[int] = []
    for _ in range(6):
        bench.later(0.2 if not seen else 0.03)
        seen.append(len(bench.agents.delivered))
    assert seen == [1, 2, 4, 8, 10, 10]
    bench.finish(command, "Success", "Success")
    bench.later(0.0)
    assert len(bench.agents.delivered) == 12


@pytest.mark.parametrize(
    ("text", "targets", "expected"), [("5", 3, 5), ("0", 9, 0), ("100%", 7, 7), ("50%", 7, 3), ("1%", 50, 0)]
)
def test_percentages_are_of_the_commands_own_targets(text: str, targets: int, expected: int) -> None:
    assert limit(text, targets) == expected


def test_fifty_run_at_once_by_default() -> None:
    bench = Bench(60)
    bench.send(MaxErrors="100%")
    bench.later(60)
    assert len(bench.agents.delivered) == 50


def test_the_same_command_sent_twice_runs_twice(bench: Bench) -> None:
    first, second = bench.send(), bench.send()
    bench.later(60)
    assert first.id != second.id
    assert len(bench.agents.delivered) == 2 * len(bench.managed)


def test_targets_that_the_sandbox_has_not_match_nothing(bench: Bench) -> None:
    command = bench.send(Targets=[{"Key": "resource-groups:Name", "Values": ["group"]}])
    assert command.details == "NoInstancesInTag"


def test_the_first_failure_ends_the_rest_by_default(bench: Bench) -> None:
    command = bench.send(MaxConcurrency="1")
    bench.later(1)
    bench.finish(command, "Failed")
    bench.later(1)
    assert details(command) == ["Failed", "Terminated", "Terminated"]
    assert (command.details, command.errors, command.completed) == ("Failed", 1, 3)
    assert len(bench.agents.delivered) == 1


def test_with_100_percent_of_errors_every_instance_runs(bench: Bench) -> None:
    command = bench.send(MaxConcurrency="1", MaxErrors="100%")
    for _ in range(3):
        bench.later(1)
        bench.finish(command, "Failed")
    assert details(command) == ["Failed"] * 3
    assert command.details == "Incomplete"


def test_one_error_more_than_allowed_ends_the_rest() -> None:
    bench = Bench(4)
    command = bench.send(MaxConcurrency="1", MaxErrors="1")
    for status in ("Failed", "TimedOut"):
        bench.later(1)
        bench.finish(command, status)
    bench.later(1)
    assert details(command) == ["Failed", "ExecutionTimedOut", "Terminated", "Terminated"]


def test_a_stopped_instance_waits_and_gets_the_command_when_it_is_back(bench: Bench) -> None:
    bench.managed[name(1)] = ManagedInstance(name(1), state="stopped")
    command = bench.send()
    bench.later(1)
    assert details(command) == ["InProgress", "Delayed", "InProgress"]
    bench.managed[name(1)] = ManagedInstance(name(1))
    bench.later(0)
    assert details(command)[1] == "InProgress"


def test_without_a_final_answer_delivery_times_out_after_both_timeouts(bench: Bench) -> None:
    bench.managed[name(1)] = ManagedInstance(name(1), agent="silent")
    command = bench.send(TimeoutSeconds=30, Parameters={"commands": ["x"], "executionTimeout": ["60"]})
    bench.later(1)
    bench.finish(command, "Success")
    bench.later(88)
    assert details(command) == ["Success", "Delayed", "InProgress"]
    bench.later(1)
    assert details(command) == ["Success", "DeliveryTimedOut", "DeliveryTimedOut"]
    assert (command.errors, command.count("DeliveryTimedOut"), command.details) == (0, 2, "Incomplete")


def test_the_default_timeouts_are_two_hours_together(bench: Bench) -> None:
    assert bench.send().expires == START + 7_200


def test_a_report_after_the_end_changes_nothing(bench: Bench) -> None:
    command = bench.send()
    bench.later(1)
    bench.finish(command, "Success", "Success", "Success")
    bench.service.finished(command.id, name(0), Result("Failed", 1))
    bench.service.finished("no such command", name(0), Result("Failed", 1))
    bench.service.finished(command.id, "no such instance", Result("Failed", 1))
    assert details(command) == ["Success"] * 3
    assert command.details == "Success"


def test_cancel_reaches_agents_and_ends_what_never_left() -> None:
    bench = Bench(3)
    command = bench.send(MaxConcurrency="1")
    bench.later(1)
    bench.service.cancel(command.id, [])
    assert details(command) == ["Cancelling", "Cancelled", "Cancelled"]
    assert command.details == "Cancelling"
    bench.service.cancel(command.id, [])
    assert bench.agents.cancelled == [name(0)]
    bench.finish(command, "Cancelled")
    assert command.details == "Cancelled"


def test_cancel_of_one_instance_leaves_the_others(bench: Bench) -> None:
    command = bench.send()
    bench.later(1)
    bench.service.cancel(command.id, [name(2)])
    assert details(command) == ["InProgress", "InProgress", "Cancelling"]


def test_cancel_of_what_does_not_exist_is_refused(bench: Bench) -> None:
    command = bench.send()
    with pytest.raises(Refusal) as caught:
        bench.service.cancel("x" * 36, [])
    assert caught.value.code == "InvalidCommandId"
    with pytest.raises(Refusal) as caught:
        bench.service.cancel(command.id, [name(9)])
    assert caught.value.code == "InvalidInstanceId"


def test_undeliverable_denied_and_windows_are_no_errors_and_the_command_reads_success() -> None:
    bench = Bench(4)
    command = bench.send()
    bench.managed[name(0)] = ManagedInstance(name(0), state="terminated")
    bench.managed[name(1)] = ManagedInstance(name(1), denied=True)
    bench.managed[name(2)] = ManagedInstance(name(2), platform="Windows")
    bench.later(1)
    bench.finish(command, "Success")
    assert details(command) == ["Undeliverable", "AccessDenied", "InvalidPlatform", "Success"]
    assert command.details == "Success"


def test_one_bad_id_refuses_the_whole_call_without_naming_it(bench: Bench) -> None:
    with pytest.raises(Refusal) as caught:
        bench.send(InstanceIds=[name(0), name(99)])
    assert (caught.value.code, caught.value.message) == ("InvalidInstanceId", "")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"InstanceIds": []}, "ValidationException"),
        ({"InstanceIds": [name(0)], "Targets": [{"Key": "tag:a", "Values": ["b"]}]}, "ValidationException"),
        ({"InstanceIds": [name(0), name(0)]}, "DuplicateInstanceId"),
        ({"DocumentName": "Nothing"}, "InvalidDocument"),
        ({"Parameters": {}}, "InvalidParameters"),
    ],
)
def test_what_cannot_be_sent_is_refused(bench: Bench, request_: dict[str, Any], code: str) -> None:
    assert refusal(bench, **request_) == code


@pytest.mark.parametrize(
    "instance", [ManagedInstance(name(0), state="terminated"), ManagedInstance(name(0), agent="missing")]
)
def test_an_instance_without_agent_is_an_invalid_id(bench: Bench, instance: ManagedInstance) -> None:
    bench.managed[name(0)] = instance
    assert refusal(bench, InstanceIds=[name(0)]) == "InvalidInstanceId"


def test_targets_are_anded(bench: Bench) -> None:
    bench.managed[name(0)] = ManagedInstance(name(0), tags={"a": "1", "b": "1"})
    bench.managed[name(1)] = ManagedInstance(name(1), tags={"a": "1"})
    both = bench.send(Targets=[{"Key": "tag:a", "Values": ["1", "2"]}, {"Key": "tag:b", "Values": ["1"]}])
    assert list(both.invocations) == [name(0)]
    ids = bench.send(Targets=[{"Key": "InstanceIds", "Values": [name(1), name(77)]}])
    assert list(ids.invocations) == [name(1)]


def test_targets_that_match_nothing_end_at_once(bench: Bench) -> None:
    command = bench.send(Targets=[{"Key": "tag:no", "Values": ["1"]}])
    assert (command.details, command.invocations) == ("NoInstancesInTag", {})
    assert bench.service.tick() is None


def test_the_oldest_finished_commands_are_forgotten(bench: Bench) -> None:
    first = bench.send(Targets=[{"Key": "tag:no", "Values": ["1"]}])
    for _ in range(KEPT_COMMANDS):
        bench.send(Targets=[{"Key": "tag:no", "Values": ["1"]}])
    bench.now += 1
    assert bench.service.command(first.id) is None
    assert len(list(bench.service.commands())) == KEPT_COMMANDS


def test_more_unfinished_commands_than_are_kept_are_throttled(bench: Bench) -> None:
    for _ in range(KEPT_COMMANDS):
        bench.send()
    assert refusal(bench) == "ThrottlingException"
