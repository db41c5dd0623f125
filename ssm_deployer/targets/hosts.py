"""Targets that a user names by their addresses."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ssm_deployer.inventory import read_inventory
from ssm_deployer.model import Target
from ssm_deployer.selector import Host, Selector, parse_host
from ssm_deployer.targets.choice import Choice, Resolution

PORT = 22
SHOWN = 5


def hosts_of(selectors: Iterable[Selector]) -> Sequence[Host]:
    """Read the hosts that are named, in a selector or in an inventory.

    Raises:
        UsageError: an inventory is wrong.
    """
    return tuple(dict.fromkeys(_hosts(selectors)))


def _hosts(selectors: Iterable[Selector]) -> Iterator[Host]:
    for selector in selectors:
        for value in selector.values:
            if selector.kind == "ssh":
                yield parse_host(value.removeprefix("ssh:"))
            elif selector.kind == "file":
                yield from read_inventory(value)


def with_hosts(found: Resolution, hosts: Sequence[Host], choice: Choice) -> Resolution:
    """Add hosts to what AWS knows, and a machine that has several names then under one of them only."""
    targets = {target.id: target for target in found.targets}
    standing: dict[str, str] = {}  # which target is the one for a machine
    once: list[str] = []
    for target in map(choice.host, hosts):
        machine = found.addresses.get(target.address.lower(), "")
        # SSM is the surer way; but a login that somebody wrote down is surer than one that was guessed.
        kept = machine if _by_ssm(targets, machine) else standing.get(machine or _login(target), "")
        if kept:
            once.append(f"{target.id} as {kept}")
            continue
        if targets.pop(machine, None):
            once.append(f"{machine} as {target.id}")
        standing[machine or _login(target)] = target.id
        targets[target.id] = target
    return Resolution(
        targets=tuple(sorted(targets.values(), key=lambda target: target.id)),
        left_out=found.left_out,
        notes=(*found.notes, *_told(once)),
        addresses=found.addresses,
    )


def _by_ssm(targets: dict[str, Target], key: str) -> bool:
    return key in targets and targets[key].via == "ssm"


def _login(target: Target) -> str:
    return Host(target.address.lower(), target.user, target.port or PORT).selector


def _told(once: Sequence[str]) -> Iterator[str]:
    if once:
        more = f" and {len(once) - SHOWN} more" if len(once) > SHOWN else ""
        yield f"a machine with two names is deployed to once: {', '.join(islice(once, SHOWN))}{more}"
