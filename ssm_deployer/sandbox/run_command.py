"""Run Command's service side: accepts commands, delivers them at a rate, counts errors, cancels and expires.

It has no thread and no clock of its own: the API calls it, `tick` does what time has made due, and agents report to it.
The caller holds one lock around all of these.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from ssm_deployer.sandbox import document
from ssm_deployer.sandbox.agent import Message, Result
from ssm_deployer.sandbox.command import FINAL, Command, Details, Invocation, limit

DELIVERY_TIMEOUT = 3600
DEFAULT_CONCURRENCY = "50"
DEFAULT_ERRORS = "0"
KEPT_COMMANDS = 1_000
KEPT_INVOCATIONS = 5_000


class Refusal(Exception):
    """The service refuses a request: an error code of its API and a message."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class ManagedInstance:
    """What the service knows of an instance.

    Attributes:
        id: the instance id.
        state: EC2's word: `pending`, `running`, `stopping`, `stopped`, `shutting-down`, `terminated`.
        tags: its tags.
        platform: `Linux` or `Windows`.
        address: private IPv4 address.
        hostname: private DNS name.
        system: name and version of its distribution.
        pinged: when its agent was last heard of, in seconds since the epoch.
        agent: `online`; `silent` (registered, does not answer); `missing` (never registered).
        denied: an IAM condition on tags refuses Run Command here.
    """

    id: str
    state: str = "running"
    tags: Mapping[str, str] = field(default_factory=dict)
    platform: str = "Linux"
    address: str = "10.0.0.1"
    hostname: str = ""
    system: tuple[str, str] = ("Linux", "")
    pinged: float = 0.0
    agent: str = "online"
    denied: bool = False


class Agents(Protocol):
    """The agents of the instances, as the service reaches them."""

    def deliver(self, instance_id: str, message: Message) -> None:
        """Hand over a message; the agent has it when this returns."""

    def cancel(self, instance_id: str, command_id: str) -> None:
        """Have the agent stop a command."""


@dataclass(frozen=True)
class Pace:
    """How fast the service is, in seconds.

    Attributes:
        visible: until then GetCommandInvocation knows nothing and lists are empty.
        delivery: until then nothing is sent.
        ramp: after each of these the number of invocations under way may double.
    """

    visible: float = 0.1
    delivery: float = 0.2
    ramp: float = 0.03


class RunCommand:
    """The commands of one region.

    Args:
        managed: gives all instances of the region, by id, as they are now.
        agents: takes what is delivered.
        clock: seconds since the epoch.
        pace: gives how fast the service is at present.
    """

    def __init__(
        self,
        managed: Callable[[], Mapping[str, ManagedInstance]],
        agents: Agents,
        clock: Callable[[], float],
        pace: Callable[[], Pace] = Pace,
    ) -> None:
        self._managed = managed
        self._agents = agents
        self._clock = clock
        self._pace = pace
        self._commands: dict[str, Command] = {}

    def send(self, request: Mapping[str, Any]) -> Command:
        """Accept a SendCommand whose members are valid one by one. Raises Refusal."""
        found = document.find(request["DocumentName"])
        if found is None:
            raise Refusal("InvalidDocument", f"Document with name {request['DocumentName']} does not exist.")
        parameters = request.get("Parameters", {})
        if complaint := document.complaint(found, parameters):
            raise Refusal("InvalidParameters", complaint)
        managed = self._targets(request)
        now = self._clock()
        delivery = request.get("TimeoutSeconds", DELIVERY_TIMEOUT)
        execution = document.execution_timeout(parameters) or document.EXECUTION_TIMEOUT
        command = Command(
            id=str(uuid.uuid4()),
            request=request,
            document=found,
            requested=now,
            expires=now + delivery + execution,
            invocations={instance.id: Invocation(instance.id, instance.tags.get("Name", "")) for instance in managed},
            max_concurrency=max(1, limit(request.get("MaxConcurrency", DEFAULT_CONCURRENCY), len(managed))),
            max_errors=limit(request.get("MaxErrors", DEFAULT_ERRORS), len(managed)),
        )
        self._make_room(len(command.invocations))
        self._commands[command.id] = command
        return command

    def cancel(self, command_id: str, instance_ids: Sequence[str]) -> None:
        """Ask for a stop, of all the command's invocations where no id is given. Raises Refusal."""
        command = self._commands.get(command_id)
        if command is None:
            raise Refusal("InvalidCommandId")
        if set(instance_ids) - command.invocations.keys():
            raise Refusal("InvalidInstanceId")
        command.cancelled = command.cancelled or not instance_ids
        for instance_id in instance_ids or command.invocations:
            invocation = command.invocations[instance_id]
            if invocation.final or invocation.details == "Cancelling":
                continue
            if not invocation.delivered:
                self._end(invocation, "Cancelled")
                continue
            invocation.details = "Cancelling"
            self._agents.cancel(instance_id, command_id)

    def commands(self) -> Iterable[Command]:
        """Return the commands that can be seen by now, newest first."""
        horizon = self._clock() - self._pace().visible
        return [each for each in reversed(self._commands.values()) if each.requested <= horizon]

    def command(self, command_id: str) -> Command | None:
        """Return a command if it can be seen by now."""
        command = self._commands.get(command_id)
        return command if command and command.requested + self._pace().visible <= self._clock() else None

    def finished(self, command_id: str, instance_id: str, result: Result) -> None:
        """Take an agent's final report; after the end it changes nothing."""
        command = self._commands.get(command_id)
        invocation = command.invocations.get(instance_id) if command else None
        if invocation is None or invocation.final:
            return
        invocation.ran, invocation.code = result.ran, result.code
        invocation.stdout, invocation.stderr, invocation.short = result.stdout, result.stderr, result.short
        invocation.started = result.started or None
        self._end(invocation, "ExecutionTimedOut" if result.status == "TimedOut" else result.status)

    def tick(self) -> float | None:
        """Do what is due; return when the next thing is, in seconds since the epoch, None if nothing is."""
        active = [each for each in self._commands.values() if each.completed < len(each.invocations)]
        if not active:
            return None
        managed = self._managed()
        return min(self._advance(command, managed) for command in active)

    def _advance(self, command: Command, managed: Mapping[str, ManagedInstance]) -> float:
        now, pace = self._clock(), self._pace()
        if now >= command.expires:
            for invocation in command.invocations.values():
                if not invocation.final:
                    self._end(invocation, "DeliveryTimedOut")
            return now
        first = command.requested + pace.delivery
        if now < first:
            return first
        # The last digit of a float must not make a round that is due look as if it were not.
        command.rounds = max(command.rounds, int((now - first) / pace.ramp + 1e-3)) if pace.ramp else 16
        self._deliver(command, managed)
        if command.window < command.max_concurrency and command.count("Pending"):
            return first + (command.rounds + 1) * pace.ramp
        return command.expires

    def _deliver(self, command: Command, managed: Mapping[str, ManagedInstance]) -> None:
        under_way = command.count("InProgress", "Cancelling", "Delayed")
        for invocation in command.invocations.values():
            if invocation.delivered or invocation.final:
                continue
            if command.errors > command.max_errors:
                self._end(invocation, "Terminated")
            elif invocation.details == "Delayed":
                self._attempt(command, invocation, managed.get(invocation.instance_id))
            elif under_way < command.window:
                self._attempt(command, invocation, managed.get(invocation.instance_id))
                under_way += not invocation.final

    def _attempt(self, command: Command, invocation: Invocation, instance: ManagedInstance | None) -> None:
        if instance is None or instance.state == "terminated":
            self._end(invocation, "Undeliverable")
        elif instance.denied:
            self._end(invocation, "AccessDenied")
        elif instance.platform != "Linux" and command.document.platform == "Linux":
            self._end(invocation, "InvalidPlatform")
        elif instance.state != "running" or instance.agent != "online":
            invocation.details = "Delayed"
        else:
            invocation.details = "InProgress"
            invocation.delivered = True
            self._agents.deliver(instance.id, _message(command))

    def _end(self, invocation: Invocation, details: str) -> None:
        assert details in FINAL  # noqa: S101  # a programmer's promise, no input
        invocation.details = cast("Details", details)
        invocation.ended = self._clock()

    def _targets(self, request: Mapping[str, Any]) -> list[ManagedInstance]:
        """The instances that a request means; Refusal where it names one that is not there, without saying which."""
        known = {id_: instance for id_, instance in self._managed().items() if manageable(instance)}
        ids, targets = request.get("InstanceIds", []), request.get("Targets", [])
        if bool(ids) == bool(targets):
            raise Refusal("ValidationException", "Specify either InstanceIds or Targets.")
        if targets:
            return [instance for instance in known.values() if all(matches(instance, each) for each in targets)]
        if len(set(ids)) < len(ids):
            raise Refusal("DuplicateInstanceId")
        if not known.keys() >= set(ids):
            raise Refusal("InvalidInstanceId")
        return [known[instance_id] for instance_id in ids]

    def _make_room(self, invocations: int) -> None:
        kept = invocations + sum(len(each.invocations) for each in self._commands.values())
        for command in list(self._commands.values()):
            if len(self._commands) < KEPT_COMMANDS and kept <= KEPT_INVOCATIONS:
                return
            if command.completed == len(command.invocations):
                kept -= len(command.invocations)
                del self._commands[command.id]
        if len(self._commands) >= KEPT_COMMANDS:
            raise Refusal("ThrottlingException", "Rate exceeded")


def manageable(instance: ManagedInstance) -> bool:
    """Whether the service has the instance in its books; a stopped one counts, it just waits."""
    return instance.agent != "missing" and instance.state not in ("shutting-down", "terminated")


def matches(instance: ManagedInstance, target: Mapping[str, Any]) -> bool:
    """Whether an instance is meant by one entry of `Targets`."""
    key, values = target["Key"], target.get("Values", [])
    if key == "InstanceIds":
        return instance.id in values
    name = key.removeprefix("tag:")
    return key.startswith("tag:") and name in instance.tags and (not values or instance.tags[name] in values)


def _message(command: Command) -> Message:
    request = command.request
    return Message(
        command.id,
        command.document,
        request.get("Parameters", {}),
        request.get("OutputS3BucketName", ""),
        request.get("OutputS3KeyPrefix", ""),
    )
