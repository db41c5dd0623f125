"""Selectors to targets: which machines are meant, and how each is reached, or why it is not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec

from ssm_deployer.aws import Aws, translated
from ssm_deployer.model import Target
from ssm_deployer.selector import ALL, Selector

EC2_FILTER_VALUES = 200  # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
SSM_FILTER_VALUES = (
    100  # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_InstanceInformationStringFilter.html
)
SILENT_MINUTES = 15  # agents report every 5 minutes; SSM goes on calling one Online for a while after it fell silent


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What selectors stand for: the targets, what `all` leaves out and why, and remarks for the user."""

    targets: tuple[Target, ...]
    left_out: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()


class _Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What one region showed: machines by id, which of these were meant by name or tag, and which tags nobody has."""

    region: str
    instances: dict[str, Mapping[str, Any]]
    agents: dict[str, Mapping[str, Any]]
    named: set[str]
    unmatched: list[Selector]


def resolve(selectors: Sequence[Selector], regions: Sequence[Aws], now: datetime | None = None) -> Resolution:
    """Find the machines that the selectors stand for, each once, in the order of their ids.

    Takes page-wise calls to EC2 and to SSM for each region and kind of selector, none per target.

    Raises:
        CloudError: AWS refused or did not answer.
    """
    moment = now or datetime.now(UTC)
    sights = [_look(selectors, aws) for aws in regions]
    candidates = {target.id: target for sight in sights for target in _targets(sight, moment)}
    names = ", ".join(aws.region for aws in regions)
    for key in _ids(selectors) - candidates.keys():
        kind = "instance" if key.startswith("i-") else "managed node"
        candidates[key] = Target(id=key, reason=f"no such {kind} in {names}")
    named = _ids(selectors).union(*(sight.named for sight in sights))
    ordered = sorted(candidates.values(), key=lambda target: target.id)
    return Resolution(
        targets=tuple(target for target in ordered if target.reachable or target.id in named),
        left_out=tuple(target for target in ordered if not (target.reachable or target.id in named)),
        notes=tuple(
            f"no machine has the tag {each.key}={','.join(each.values)} in {names}"
            for each in selectors
            if all(each in sight.unmatched for sight in sights)
        ),
    )


def _ids(selectors: Sequence[Selector]) -> set[str]:
    return {value for selector in selectors if selector.kind == "id" for value in selector.values}


def _look(selectors: Sequence[Selector], aws: Aws) -> _Sight:
    finder = Finder(aws)
    instances = dict(finder.instances_by_id(_ids(selectors)))
    agents: dict[str, Mapping[str, Any]] = {}
    unmatched = []
    for selector in selectors:
        if selector.kind == "tag":
            found = dict(finder.instances_by_tag(selector))
            hybrids = dict(finder.agents_by_tag(selector))
            if not found and not hybrids:
                unmatched.append(selector)
            instances |= found
            agents |= hybrids
    named = instances.keys() | agents.keys()
    if ALL in selectors:
        instances |= dict(finder.running_instances())
        agents |= dict(finder.agents())
        # SSM goes on calling an agent Online for a while after its instance has stopped.
        instances |= dict(finder.instances_by_id(agents.keys() - instances.keys()))
    else:
        agents |= dict(finder.agents_by_id((named | _ids(selectors)) - agents.keys()))
    return _Sight(region=aws.region, instances=instances, agents=agents, named=named, unmatched=unmatched)


def _targets(sight: _Sight, now: datetime) -> Iterator[Target]:
    for key in sight.instances.keys() | sight.agents.keys():
        yield _target(key, sight.instances.get(key), sight.agents.get(key), sight.region, now)


class Finder:
    """The calls to EC2 and SSM that look for machines; each method yields `(id, what the service says of it)`."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def instances_by_id(self, ids: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What EC2 knows of these ids; hybrid nodes and ids that do not exist are left out."""
        # A filter and not InstanceIds=…, which fails as a whole for one id that is not there.
        for some in _chunks((key for key in sorted(ids) if key.startswith("i-")), EC2_FILTER_VALUES):
            yield from self._instances([{"Name": "instance-id", "Values": some}])

    def instances_by_tag(self, selector: Selector) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What EC2 knows of the instances that a tag means now."""
        # A terminated instance keeps its tags for about an hour; a tag means those that can still be meant.
        alive = ["pending", "running", "stopping", "stopped"]
        filters = [
            {"Name": f"tag:{selector.key}", "Values": list(selector.values)},
            {"Name": "instance-state-name", "Values": alive},
        ]
        for key, instance in self._instances(filters):
            # EC2 takes `*` and `?` of a value for wildcards; who names a value means that one.
            if any(tag["Key"] == selector.key and tag["Value"] in selector.values for tag in instance["Tags"]):
                yield key, instance

    def running_instances(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What EC2 knows of every running instance."""
        yield from self._instances([{"Name": "instance-state-name", "Values": ["running"]}])

    def agents_by_id(self, ids: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What SSM knows of these ids; those without an agent are left out."""
        for some in _chunks(sorted(ids), SSM_FILTER_VALUES):
            yield from self._agents([{"Key": "InstanceIds", "Values": some}])

    def agents_by_tag(self, selector: Selector) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What SSM knows of the hybrid nodes with a tag."""
        for key, agent in self._agents([{"Key": f"tag:{selector.key}", "Values": list(selector.values)}]):
            if key.startswith("mi-"):  # EC2 itself tells of instances, also of those without an agent
                yield key, agent

    def agents(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What SSM knows of everything it manages."""
        yield from self._agents([])

    def _instances(self, filters: list[dict[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        with translated("list the instances"):
            for page in self._aws.client("ec2").get_paginator("describe_instances").paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    for instance in reservation["Instances"]:
                        yield instance["InstanceId"], instance

    def _agents(self, filters: list[dict[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        with translated("list what SSM manages"):
            paginator = self._aws.client("ssm").get_paginator("describe_instance_information")
            for page in paginator.paginate(Filters=filters, PaginationConfig={"PageSize": 50}):
                for agent in page["InstanceInformationList"]:
                    yield agent["InstanceId"], agent


def _chunks(values: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _target(
    key: str, instance: Mapping[str, Any] | None, agent: Mapping[str, Any] | None, region: str, now: datetime
) -> Target:
    tags = {tag["Key"]: tag["Value"] for tag in (instance or {}).get("Tags", [])}
    platform = f"{(agent or {}).get('PlatformName', '')} {(agent or {}).get('PlatformVersion', '')}".strip()
    reason = _why_not(instance, agent, now)
    return Target(
        id=key,
        region=region,
        name=tags.get("Name", "") or (agent or {}).get("Name", ""),
        state=(instance or {}).get("State", {}).get("Name", ""),
        platform=platform or (instance or {}).get("PlatformDetails", ""),
        via="" if reason else "ssm",
        reason=reason,
    )


def _why_not(instance: Mapping[str, Any] | None, agent: Mapping[str, Any] | None, now: datetime) -> str:
    """Why SSM cannot reach a machine now, in the user's words; empty if it can."""
    state = (instance or {}).get("State", {}).get("Name", "running")
    if state != "running":
        return f"the instance is {state}"
    if agent is None:
        return "no SSM agent has registered: is it installed, and does the instance's role allow SSM?"
    if agent.get("PlatformType", "Linux") == "Windows":
        return "it runs Windows; the payload is for POSIX shells"
    minutes = _silent_minutes(agent, now)
    if agent.get("PingStatus") != "Online" or minutes >= SILENT_MINUTES:
        return f"its SSM agent has been silent for {minutes} minutes"
    return ""


def _silent_minutes(agent: Mapping[str, Any], now: datetime) -> int:
    last = agent.get("LastPingDateTime", now)
    return max(0, int((now - last).total_seconds() // 60))
