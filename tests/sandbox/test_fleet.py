from collections.abc import Callable

import pytest

from ssm_deployer.sandbox import fleet
from ssm_deployer.sandbox.agent import Boot, Ending, Message, Result
from ssm_deployer.sandbox.document import DOCUMENTS
from ssm_deployer.sandbox.faults import InstanceFaults
from ssm_deployer.sandbox.fleet import Fleet
from ssm_deployer.sandbox.run_command import ManagedInstance


class FakeMachine:
    """Ends each script at once, if it is meant to."""

    def __init__(self, ended: Callable[[Ending], None], *, lasting: bool) -> None:
        self.ended = ended
        self.lasting = lasting
        self.on = True
        self.runs = 0
        self.killed: list[str] = []

    def run(self, key: str, script: str, command_id: str, cwd: str) -> None:
        assert script
        assert command_id
        assert cwd
        self.runs += 1
        if not self.lasting:
            self.ended(Ending(key, alone=True))

    def kill(self, key: str) -> None:
        self.killed.append(key)
        self.ended(Ending(key, killed=True))

    def upload(self, message: Message, appended: tuple[bytes, bytes], done: Callable[[], None]) -> None:
        """Nothing is asked for."""

    def off(self, *, keep: bool = False) -> None:
        self.on = keep and False


class Bench:
    """A fleet over instances that a test can change."""

    def __init__(self, *, lasting: bool = True) -> None:
        self.managed = {name: ManagedInstance(name) for name in ("a", "b")}
        self.faults: dict[str, InstanceFaults] = {}
        self.machines: dict[str, list[FakeMachine]] = {}
        self.reports: list[tuple[str, str, str]] = []
        self.lasting = lasting
        self.now = 1_000.0
        self.fleet = Fleet(
            lambda: self.managed, self._boots, self._finished, lambda _: None, lambda: self.now, lambda: self.faults
        )

    def _boots(self, instance_id: str) -> Boot:
        def boot(ended: Callable[[Ending], None], _lost: Callable[[], None]) -> FakeMachine:
            machine = FakeMachine(ended, lasting=self.lasting)
            self.machines.setdefault(instance_id, []).append(machine)
            return machine

        return boot

    def _finished(self, command_id: str, instance_id: str, result: Result) -> None:
        self.reports.append((command_id, instance_id, result.status))

    def deliver(self, instance_id: str, command_id: str = "c1") -> None:
        self.fleet.deliver(instance_id, Message(command_id, DOCUMENTS["AWS-RunShellScript"], {"commands": ["x"]}))
        self.fleet.tick()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_each_instance_has_its_own_agent_and_only_when_it_is_needed(bench: Bench) -> None:
    assert bench.fleet.tick() is None
    bench.deliver("a")
    assert list(bench.machines) == ["a"]


def test_reports_carry_the_instance(bench: Bench) -> None:
    bench.deliver("a")
    bench.fleet.cancel("a", "c1")
    assert bench.reports == [("c1", "a", "Cancelled")]


def test_a_delivery_that_came_due_while_a_machine_booted_is_begun_too(bench: Bench) -> None:
    due = [["a"], ["b"], []]

    def service() -> float:
        for instance_id in due.pop(0) if due else []:
            bench.fleet.deliver(instance_id, Message("c1", DOCUMENTS["AWS-RunShellScript"], {"commands": ["x"]}))
        return bench.now + 7_200

    assert bench.fleet.work(service) == bench.now + 3_600
    assert {name: machine.runs for name, (machine,) in bench.machines.items()} == {"a": 1, "b": 1}


def test_what_ends_at_once_makes_room_for_the_next_delivery() -> None:
    bench, seen = Bench(lasting=False), []
    bench.deliver("a")

    def service() -> None:
        seen.append(len(bench.reports))
        if seen == [1]:
            bench.fleet.deliver("a", Message("c2", DOCUMENTS["AWS-RunShellScript"], {"commands": ["x"]}))

    bench.fleet.work(service)
    assert seen[-1] == 2


def test_a_silent_agent_reports_once_it_is_back(bench: Bench) -> None:
    bench.deliver("a")
    bench.faults["a"] = InstanceFaults(agent="silent")
    bench.machines["a"][0].kill("c1/0")
    bench.fleet.tick()
    assert bench.reports == []
    bench.faults.clear()
    bench.fleet.tick()
    assert bench.reports == [("c1", "a", "TimedOut")]


def test_a_cancel_reaches_a_silent_agent_once_it_is_back(bench: Bench) -> None:
    bench.deliver("a")
    bench.faults["a"] = InstanceFaults(agent="silent")
    bench.fleet.cancel("a", "c1")
    bench.fleet.tick()
    assert bench.machines["a"][0].killed == []
    bench.faults.clear()
    bench.fleet.tick()
    assert bench.reports == [("c1", "a", "Cancelled")]


def test_the_power_follows_ec2(bench: Bench) -> None:
    bench.deliver("a")
    bench.managed["a"] = ManagedInstance("a", state="stopped")
    bench.fleet.tick()
    assert not bench.machines["a"][0].on
    bench.managed["a"] = ManagedInstance("a")
    bench.fleet.tick()
    assert bench.reports == [("c1", "a", "Failed")]


def test_an_instance_that_is_gone_has_no_power(bench: Bench) -> None:
    bench.deliver("a")
    del bench.managed["a"]
    bench.fleet.tick()
    assert not bench.machines["a"][0].on


def test_a_reboot_concerns_the_instances_named(bench: Bench) -> None:
    bench.deliver("a")
    bench.deliver("b")
    bench.fleet.reboot(["b", "never-used"])
    assert (bench.machines["a"][0].on, bench.machines["b"][0].on) == (True, False)


def test_a_duplicated_delivery_runs_once(bench: Bench) -> None:
    bench.faults["a"] = InstanceFaults(duplicate=True)
    bench.deliver("a")
    assert bench.machines["a"][0].runs == 1


def test_the_next_deadline_is_the_earliest_of_all(bench: Bench) -> None:
    bench.deliver("a")
    bench.now += 10
    bench.deliver("b")
    assert bench.fleet.tick() == 1_000 + 3_600


def test_only_so_many_machines_stay_up_with_nothing_to_do() -> None:
    bench = Bench(lasting=False)
    bench.managed = {str(number): ManagedInstance(str(number)) for number in range(fleet.AWAKE + 5)}
    for name in bench.managed:
        bench.deliver(name)
    assert sum(machine.on for machines in bench.machines.values() for machine in machines) == fleet.AWAKE


def test_power_off_ends_all(bench: Bench) -> None:
    bench.deliver("a")
    bench.deliver("b")
    bench.fleet.power_off()
    assert not any(machine.on for machines in bench.machines.values() for machine in machines)
