"""Selectors to targets: which machines are meant, and how each is reached, or why it is not.

Nothing here loads boto3 unless AWS must be asked.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ssm_deployer.selector import Selector
from ssm_deployer.targets.choice import AUTO, Choice, Resolution
from ssm_deployer.targets.hosts import hosts_of, with_hosts

if TYPE_CHECKING:
    from ssm_deployer.aws import Aws

__all__ = ["AUTO", "Choice", "Resolution", "in_aws", "resolve"]


def in_aws(selectors: Sequence[Selector]) -> bool:
    """Whether AWS must be asked who is meant."""
    return any(selector.kind not in {"ssh", "file"} for selector in selectors)


def resolve(
    selectors: Sequence[Selector], regions: Sequence["Aws"], choice: Choice = AUTO, now: datetime | None = None
) -> Resolution:
    """Find the machines that the selectors stand for, each once, in the order of their ids.

    Takes page-wise calls to EC2 and to SSM for each region and kind of selector, none per target.

    Raises:
        UsageError: an inventory is wrong.
        CloudError: AWS refused or did not answer.
    """
    hosts = hosts_of(selectors)
    found = Resolution(targets=())
    if in_aws(selectors):
        from ssm_deployer.targets.machines import find  # noqa: PLC0415 - boto3 takes long, and not everybody needs it

        found = find(selectors, regions, choice, now)
    return with_hosts(found, hosts, choice)
