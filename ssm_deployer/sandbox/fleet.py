"""The agents of one region's instances: makes them, reaches them, ticks them, and follows EC2's power switch."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ssm_deployer.sandbox.agent import Agent, Boot, Message, Result
from ssm_deployer.sandbox.document import ParameterStore
from ssm_deployer.sandbox.faults import InstanceFaults
from ssm_deployer.sandbox.run_command import ManagedInstance

AWAKE = 32
"""How many machines stay up with nothing to do: each costs two processes and 6 MB, and 50 ms to bring back."""


class Fleet:
    """It implements `run_command.Agents`.

    Args:
        managed: gives all instances of the region, by id, as they are now.
        boot: makes the `Boot` of an instance.
        finished: takes (command id, instance id, result).
        store: the region's Parameter Store.
        clock: seconds since the epoch.
        faults: gives the present faults by instance id.
    """

    def __init__(
        self,
        managed: Callable[[], Mapping[str, ManagedInstance]],
        boot: Callable[[str], Boot],
        finished: Callable[[str, str, Result], None],
        store: ParameterStore,
        clock: Callable[[], float],
        faults: Callable[[], Mapping[str, InstanceFaults]],
    ) -> None:
        self._managed = managed
        self._boot = boot
        self._finished = finished
        self._store = store
        self._clock = clock
        self._faults = faults
        self._agents: dict[str, Agent] = {}
        self._held: dict[str, list[Callable[[], None]]] = {}
        self._news = 0

    def deliver(self, instance_id: str, message: Message) -> None:
        """Hand a message to the instance's agent."""
        self._news += 1
        agent = self._agent(instance_id)
        agent.deliver(message)
        if self._faulty(instance_id).duplicate:
            agent.deliver(replace(message))

    def cancel(self, instance_id: str, command_id: str) -> None:
        """Have the instance's agent stop a command."""
        self._reach(instance_id, lambda: self._agent(instance_id).cancel(command_id))

    def tick(self) -> float | None:
        """Tick every agent; return when the next thing is due."""
        if not self._agents:
            return None
        managed = self._managed()
        for instance_id in [each for each in self._held if self._faulty(each).agent != "silent"]:
            for held in self._held.pop(instance_id):
                held()
        due = [agent.tick(on=_on(managed.get(instance_id))) for instance_id, agent in self._agents.items()]
        awake = [agent for agent in self._agents.values() if agent.idle]
        for agent in awake[: max(0, len(awake) - AWAKE)]:
            agent.rest()
        return min((each for each in due if each is not None), default=None)

    def work(self, service: Callable[[], float | None]) -> float | None:
        """Tick `service` and every agent until they have nothing new for each other; return when something is due.

        A delivery may have come due while a machine booted, and what an agent ends at once makes room for the next.
        """
        while True:
            before = self._news
            due = [service(), self.tick()]
            if self._news == before:
                return min((each for each in due if each is not None), default=None)

    def reboot(self, instance_ids: Iterable[str]) -> None:
        """Power-cycle instances."""
        for instance_id in instance_ids:
            if instance_id in self._agents:
                self._agents[instance_id].reboot()

    def power_off(self) -> None:
        """Cut the power of all, side by side: each waits for its kernel namespaces to go, some 40 ms."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(Agent.power_off, self._agents.values()))

    def _reach(self, instance_id: str, tell: Callable[[], None]) -> None:
        """Have service and agent tell each other something, now or once the agent is in touch again."""
        if self._faulty(instance_id).agent == "silent":
            self._held.setdefault(instance_id, []).append(tell)
        else:
            tell()

    def _report(self, command_id: str, instance_id: str, result: Result) -> None:
        self._news += 1
        self._finished(command_id, instance_id, result)

    def _faulty(self, instance_id: str) -> InstanceFaults:
        return self._faults().get(instance_id, InstanceFaults())

    def _agent(self, instance_id: str) -> Agent:
        if instance_id not in self._agents:
            self._agents[instance_id] = Agent(
                self._boot(instance_id),
                lambda command_id, result: self._reach(
                    instance_id, lambda: self._report(command_id, instance_id, result)
                ),
                self._store,
                self._clock,
            )
        return self._agents[instance_id]


def _on(instance: ManagedInstance | None) -> bool:
    return instance is not None and instance.state == "running"
