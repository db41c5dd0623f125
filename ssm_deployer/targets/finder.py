"""The calls to EC2 and SSM that look for machines."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from ssm_deployer.aws import Aws, translated
from ssm_deployer.selector import Selector

EC2_FILTER_VALUES = 200  # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
SSM_FILTER_VALUES = (
    100  # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_InstanceInformationStringFilter.html
)
# A terminated instance is there for about an hour, with its tags; meant are those that can still be meant.
_ALIVE = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}


class Finder:
    """Looks for machines in one region; each method yields `(id, what the service says of it)`.

    Args:
        aws: the identity there.
        managed: whether SSM is asked, too; else nothing has an agent.
    """

    def __init__(self, aws: Aws, *, managed: bool = True) -> None:
        self._aws = aws
        self._managed = managed

    def instances_by_id(self, ids: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What EC2 knows of these ids; hybrid nodes and ids that do not exist are left out."""
        # A filter and not InstanceIds=…, which fails as a whole for one id that is not there.
        for some in _chunks((key for key in sorted(ids) if key.startswith("i-")), EC2_FILTER_VALUES):
            yield from self._instances([{"Name": "instance-id", "Values": some}])

    def instances_by_tag(self, selector: Selector) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What EC2 knows of the instances that a tag means now."""
        for key, instance in self._instances(
            [{"Name": f"tag:{selector.key}", "Values": list(selector.values)}, _ALIVE]
        ):
            # EC2 takes `*` and `?` of a value for wildcards; who names a value means that one.
            if any(tag["Key"] == selector.key and tag["Value"] in selector.values for tag in instance["Tags"]):
                yield key, instance

    def instances(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What EC2 knows of every instance, running or not."""
        yield from self._instances([_ALIVE])

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
        if not self._managed:
            return
        with translated("list what SSM manages"):
            paginator = self._aws.client("ssm").get_paginator("describe_instance_information")
            for page in paginator.paginate(Filters=filters, PaginationConfig={"PageSize": 50}):
                for agent in page["InstanceInformationList"]:
                    yield agent["InstanceId"], agent


def _chunks(values: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
