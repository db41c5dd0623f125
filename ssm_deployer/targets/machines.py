"""What AWS knows of the machines that are meant: instances of EC2, and hybrid nodes of SSM."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ssm_deployer.aws import Aws
from ssm_deployer.model import Target
from ssm_deployer.selector import ALL, Selector
from ssm_deployer.targets.choice import Choice, Resolution
from ssm_deployer.targets.finder import Finder

SILENT_MINUTES = 15  # agents report every 5 minutes; SSM goes on calling one Online for a while after it fell silent
HYBRID_BY_SSH = "SSM alone knows a managed node (its host can be named as ssh:HOST)"
_ADDRESSES = ("PublicIpAddress", "PrivateIpAddress", "Ipv6Address", "PublicDnsName", "PrivateDnsName", "IPAddress")


class _Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What one region showed: machines by id, which of these were meant by name or tag, and which tags nobody has."""

    region: str
    instances: dict[str, Mapping[str, Any]]
    agents: dict[str, Mapping[str, Any]]
    named: set[str]
    unmatched: list[Selector]


def find(
    selectors: Sequence[Selector], regions: Sequence[Aws], choice: Choice, now: datetime | None = None
) -> Resolution:
    """Find what AWS knows of the machines that the selectors stand for.

    Raises:
        CloudError: AWS refused or did not answer.
    """
    moment = now or datetime.now(UTC)
    sights = [_look(selectors, Finder(aws, managed=choice.backend != "ssh"), aws.region) for aws in regions]
    candidates = {target.id: target for sight in sights for target in _targets(sight, choice, moment)}
    names = ", ".join(aws.region for aws in regions)
    for key in _ids(selectors) - candidates.keys():
        candidates[key] = Target(id=key, reason=_why_unknown(key, choice, names))
    named = _ids(selectors).union(*(sight.named for sight in sights))
    ordered = sorted(candidates.values(), key=lambda target: target.id)
    targets = tuple(target for target in ordered if target.reachable or target.id in named)
    return Resolution(
        targets=targets,
        left_out=tuple(target for target in ordered if not (target.reachable or target.id in named)),
        notes=tuple(
            f"no machine has the tag {each.key}={','.join(each.values)} in {names}"
            for each in selectors
            if sights and all(each in sight.unmatched for sight in sights)
        ),
        addresses=dict(_addresses(sights, targets)),
    )


def _why_unknown(key: str, choice: Choice, names: str) -> str:
    if key.startswith("i-"):
        return f"no such instance in {names}"
    if choice.backend == "ssh":
        return f"{HYBRID_BY_SSH}, and --backend ssh leaves that out"
    return f"no such managed node in {names}"


def _ids(selectors: Sequence[Selector]) -> set[str]:
    return {value for selector in selectors if selector.kind == "id" for value in selector.values}


def _look(selectors: Sequence[Selector], finder: Finder, region: str) -> _Sight:
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
        instances |= dict(finder.instances())
        agents |= dict(finder.agents())
        # SSM goes on calling an agent Online for a while after its instance is gone.
        instances |= dict(finder.instances_by_id(agents.keys() - instances.keys()))
    else:
        agents |= dict(finder.agents_by_id((named | _ids(selectors)) - agents.keys()))
    return _Sight(region=region, instances=instances, agents=agents, named=named, unmatched=unmatched)


def _targets(sight: _Sight, choice: Choice, now: datetime) -> Iterator[Target]:
    for key in sight.instances.keys() | sight.agents.keys():
        instance, agent = sight.instances.get(key, {}), sight.agents.get(key, {})
        address = key if choice.tunnel else _address(instance, choice)
        never = _why_never(instance, agent)
        yield choice.reached(
            _target(key, instance, agent, sight.region),
            ssm=never or _why_not_ssm(agent, now),
            ssh=never or (choice.why_no_ssh(address) if instance else HYBRID_BY_SSH),
            address=address,
        )


def _target(key: str, instance: Mapping[str, Any], agent: Mapping[str, Any], region: str) -> Target:
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
    platform = f"{agent.get('PlatformName', '')} {agent.get('PlatformVersion', '')}".strip()
    return Target(
        id=key,
        region=region,
        name=tags.get("Name", "") or agent.get("Name", ""),
        state=instance.get("State", {}).get("Name", ""),
        platform=platform or instance.get("PlatformDetails", ""),
    )


def _why_never(instance: Mapping[str, Any], agent: Mapping[str, Any]) -> str:
    """Why no backend can reach a machine now, in the user's words; empty if one may."""
    state = instance.get("State", {}).get("Name", "running")
    if state != "running":
        return f"the instance is {state}"
    if "windows" in {agent.get("PlatformType", "").lower(), instance.get("Platform", "").lower()}:
        return "it runs Windows; the payload is for POSIX shells"
    return ""


def _why_not_ssm(agent: Mapping[str, Any], now: datetime) -> str:
    if not agent:
        return "no SSM agent has registered (is it installed, and does the instance's role allow SSM?)"
    minutes = max(0, int((now - agent.get("LastPingDateTime", now)).total_seconds() // 60))
    if agent.get("PingStatus") != "Online" or minutes >= SILENT_MINUTES:
        return f"its SSM agent has been silent for {minutes} min"
    return ""


def _address(instance: Mapping[str, Any], choice: Choice) -> str:
    """Where SSH connects to; IPv6 addresses of EC2 are public ones, and serve where there is no other."""
    public = [instance.get("PublicIpAddress"), instance.get("Ipv6Address")]
    private = [instance.get("PrivateIpAddress"), instance.get("Ipv6Address")]
    wanted = {"public": public, "private": private, "": [*public[:1], *private]}[choice.address]
    return next((address for address in wanted if address), "")


def _addresses(sights: Sequence[_Sight], targets: Sequence[Target]) -> Iterator[tuple[str, str]]:
    ids = {target.id for target in targets}
    for sight in sights:
        for key in ids & (sight.instances.keys() | sight.agents.keys()):
            machine = {**sight.agents.get(key, {}), **sight.instances.get(key, {})}
            cards = [machine, *machine.get("NetworkInterfaces", ())]
            names = {card.get(name, "") for card in cards for name in _ADDRESSES}
            names |= {each.get("Ipv6Address", "") for card in cards[1:] for each in card.get("Ipv6Addresses", ())}
            yield from ((name.lower(), key) for name in names if name)
