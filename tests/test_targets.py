"""Which machines the selectors mean, with which calls they are found, and why some are not reached."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.stub import Stubber
from moto import mock_aws

from ssm_deployer.aws import Aws
from ssm_deployer.errors import CloudError
from ssm_deployer.model import Target
from ssm_deployer.selector import Selector, parse_selector
from ssm_deployer.targets import Finder, Resolution, resolve

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
ALIVE = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
RUNNING = {"Name": "instance-state-name", "Values": ["running"]}


def i(number: int) -> str:
    return f"i-{number:017x}"


def mi(number: int) -> str:
    return f"mi-{number:017x}"


class StubbedAws(Aws):
    """The real clients, each of which answers what it was told to, and takes no call that was not announced."""

    def __init__(self, region: str = "eu-west-1") -> None:
        super().__init__(region=region, credentials=("testing", "testing"))
        self.clients = {service: super(StubbedAws, self).client(service) for service in ("ec2", "ssm")}
        self.stubbers = {service: Stubber(client) for service, client in self.clients.items()}

    def client(self, service: str, *, attempts: int = 3) -> Any:
        assert attempts == 3
        return self.clients[service]

    def ec2(self, filters: Sequence[dict[str, Any]], *instances: dict[str, Any]) -> None:
        """Announce a call of DescribeInstances, and its answer."""
        reservations = [{"Instances": [each]} for each in instances]
        asked = {"Filters": list(filters)}
        self.stubbers["ec2"].add_response("describe_instances", {"Reservations": reservations}, asked)

    def ssm(self, filters: Sequence[dict[str, Any]], *agents: dict[str, Any], page: str = "", then: str = "") -> None:
        """Announce a call of DescribeInstanceInformation, and its answer."""
        asked = {"Filters": list(filters), "MaxResults": 50} | ({"NextToken": page} if page else {})
        answer = {"InstanceInformationList": list(agents)} | ({"NextToken": then} if then else {})
        self.stubbers["ssm"].add_response("describe_instance_information", answer, asked)


@pytest.fixture(scope="module")
def clients() -> StubbedAws:
    return StubbedAws()


@pytest.fixture
def aws(clients: StubbedAws) -> Iterator[StubbedAws]:
    clients.stubbers = {service: Stubber(client) for service, client in clients.clients.items()}
    for stubber in clients.stubbers.values():
        stubber.activate()
    yield clients
    for stubber in clients.stubbers.values():
        stubber.assert_no_pending_responses()
        stubber.deactivate()


def instance(key: str, state: str = "running", **tags: str) -> dict[str, Any]:
    tag_list = [{"Key": name, "Value": value} for name, value in tags.items()]
    return {"InstanceId": key, "State": {"Name": state}, "PlatformDetails": "Linux/UNIX", "Tags": tag_list}


def agent(key: str, *, ping: str = "Online", minutes: float = 1, platform: str = "Linux") -> dict[str, Any]:
    return {
        "InstanceId": key,
        "PingStatus": ping,
        "LastPingDateTime": NOW - timedelta(minutes=minutes),
        "PlatformType": platform,
        "PlatformName": "Debian GNU/Linux",
        "PlatformVersion": "13",
    }


def found(aws: Aws, *selectors: str) -> Resolution:
    return resolve([parse_selector(text) for text in selectors], [aws], NOW)


def by_ids(*ids: str) -> list[dict[str, Any]]:
    return [{"Name": "instance-id", "Values": list(ids)}]


def agents_of(*ids: str) -> list[dict[str, Any]]:
    return [{"Key": "InstanceIds", "Values": list(ids)}]


# -- the calls


def test_ids_are_looked_up_with_one_call_each_to_ec2_and_ssm(aws: StubbedAws) -> None:
    aws.ec2(by_ids(i(1), i(2)), instance(i(1), Name="web"), instance(i(2)))
    aws.ssm(agents_of(i(1), i(2)), agent(i(1)), agent(i(2)))
    assert found(aws, i(2), i(1), i(2)).targets == (
        Target(id=i(1), region="eu-west-1", name="web", state="running", platform="Debian GNU/Linux 13", via="ssm"),
        Target(id=i(2), region="eu-west-1", state="running", platform="Debian GNU/Linux 13", via="ssm"),
    )


def test_each_region_is_asked_and_an_id_is_taken_where_it_is_found(aws: StubbedAws) -> None:
    other = StubbedAws("us-east-1")
    for stubber in other.stubbers.values():
        stubber.activate()
    for asked, key in ((aws, i(1)), (other, i(2))):
        asked.ec2(by_ids(i(1), i(2), i(3)), instance(key))
        asked.ssm(agents_of(i(1), i(2), i(3)), agent(key))
    selectors = [parse_selector(i(number)) for number in (1, 2, 3)]
    targets = resolve(selectors, [aws, other], NOW).targets
    assert [(target.id, target.region, target.reason) for target in targets] == [
        (i(1), "eu-west-1", ""),
        (i(2), "us-east-1", ""),
        (i(3), "", "no such instance in eu-west-1, us-east-1"),
    ]


def test_ids_of_hybrid_nodes_are_no_matter_of_ec2(aws: StubbedAws) -> None:
    aws.ssm(agents_of(mi(1)), agent(mi(1)) | {"Name": "printer"})
    [target] = found(aws, mi(1)).targets
    assert (target.id, target.name, target.state, target.via) == (mi(1), "printer", "", "ssm")


def test_a_tag_is_looked_up_in_ec2_and_among_the_hybrid_nodes(aws: StubbedAws) -> None:
    aws.ec2([{"Name": "tag:Role", "Values": ["web", "db"]}, ALIVE], instance(i(1), Role="web"))
    aws.ssm([{"Key": "tag:Role", "Values": ["web", "db"]}], agent(i(1)), agent(mi(2)))
    aws.ssm(agents_of(i(1)), agent(i(1)))
    resolution = found(aws, "tag:Role=web,db")
    assert [target.id for target in resolution.targets] == [i(1), mi(2)]
    assert all(target.reachable for target in resolution.targets)
    assert resolution.notes == ()


def test_a_tag_that_nobody_has_is_remarked_and_the_others_are_found(aws: StubbedAws) -> None:
    aws.ec2(by_ids(i(1)), instance(i(1)))
    aws.ec2([{"Name": "tag:Role", "Values": ["web", "db"]}, ALIVE])
    aws.ssm([{"Key": "tag:Role", "Values": ["web", "db"]}])
    aws.ssm(agents_of(i(1)), agent(i(1)))
    resolution = found(aws, "tag:Role=web,db", i(1))
    assert [target.id for target in resolution.targets] == [i(1)]
    assert resolution.notes == ("no machine has the tag Role=web,db in eu-west-1",)


def test_all_is_every_running_instance_and_every_hybrid_node_with_an_agent(aws: StubbedAws) -> None:
    aws.ec2([RUNNING], instance(i(1)), instance(i(2), Name="bare"))
    aws.ssm([], agent(i(1)), then="more")
    aws.ssm([], agent(mi(3)), page="more")
    resolution = found(aws, "all")
    assert [target.id for target in resolution.targets] == [i(1), mi(3)]
    assert [target.id for target in resolution.left_out] == [i(2)]
    assert resolution.left_out[0].reason.startswith("no SSM agent has registered")


def test_all_does_not_mean_an_instance_that_has_just_stopped_though_ssm_calls_its_agent_online(aws: StubbedAws) -> None:
    aws.ec2([RUNNING], instance(i(1)))
    aws.ssm([], agent(i(1)), agent(i(2)), agent(mi(3)))
    aws.ec2(by_ids(i(2)), instance(i(2), "stopped"))
    resolution = found(aws, "all")
    assert [target.id for target in resolution.targets] == [i(1), mi(3)]
    assert [(target.id, target.reason) for target in resolution.left_out] == [(i(2), "the instance is stopped")]


def test_what_is_named_besides_all_stays_a_target_though_it_is_not_reached(aws: StubbedAws) -> None:
    aws.ec2(by_ids(i(2)), instance(i(2), "stopped"))
    aws.ec2([RUNNING], instance(i(1)))
    aws.ssm([], agent(i(1)))
    resolution = found(aws, "all", i(2))
    assert [target.id for target in resolution.targets] == [i(1), i(2)]
    assert resolution.left_out == ()


def test_many_ids_are_asked_for_in_as_many_values_as_a_call_takes(aws: StubbedAws) -> None:
    ids = [i(number) for number in range(450)]
    for first in range(0, 450, 200):
        aws.ec2(by_ids(*ids[first : first + 200]), *(instance(key) for key in ids[first : first + 200]))
    for first in range(0, 450, 100):
        some = ids[first : first + 100]
        aws.ssm(agents_of(*some), *(agent(key) for key in some[:50]), then="more")
        aws.ssm(agents_of(*some), *(agent(key) for key in some[50:]), page="more")
    resolution = found(aws, *reversed(ids))
    assert [target.id for target in resolution.targets] == ids
    assert all(target.reachable for target in resolution.targets)


def test_a_refusal_of_aws_is_told(aws: StubbedAws) -> None:
    aws.stubbers["ec2"].add_client_error("describe_instances", "UnauthorizedOperation", "not yours", 403)
    with pytest.raises(CloudError, match="cannot list the instances: UnauthorizedOperation: not yours"):
        found(aws, i(1))
    aws.ec2(by_ids(i(1)), instance(i(1)))
    aws.stubbers["ssm"].add_client_error("describe_instance_information", "AccessDeniedException", "not yours")
    with pytest.raises(CloudError, match="cannot list what SSM manages"):
        found(aws, i(1))


# -- why not

WHY_NOT: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None, str]] = {
    "it does not exist": (None, None, "no such instance in eu-west-1"),
    "it is stopped": (instance(i(1), "stopped"), None, "the instance is stopped"),
    "it stopped a moment ago": (instance(i(1), "stopped"), agent(i(1)), "the instance is stopped"),
    "it is being stopped": (instance(i(1), "stopping"), agent(i(1)), "the instance is stopping"),
    "it is terminated": (instance(i(1), "terminated"), None, "the instance is terminated"),
    "it is starting": (instance(i(1), "pending"), None, "the instance is pending"),
    "it has no agent": (instance(i(1)), None, "no SSM agent has registered"),
    "it runs Windows": (instance(i(1)), agent(i(1), platform="Windows"), "it runs Windows"),
    "its agent is lost": (instance(i(1)), agent(i(1), ping="ConnectionLost", minutes=7.9), "silent for 7 minutes"),
    "its agent is inactive": (instance(i(1)), agent(i(1), ping="Inactive", minutes=90), "silent for 90 minutes"),
    "its agent is said to be online": (instance(i(1)), agent(i(1), minutes=15), "silent for 15 minutes"),
}


@pytest.mark.parametrize("case", WHY_NOT, ids=lambda case: case.replace(" ", "-"))
def test_why_a_target_is_not_reached(aws: StubbedAws, case: str) -> None:
    machine, ssm, reason = WHY_NOT[case]
    aws.ec2(by_ids(i(1)), *([machine] if machine else []))
    aws.ssm(agents_of(i(1)), *([ssm] if ssm else []))
    [target] = found(aws, i(1)).targets
    assert reason in target.reason
    assert (target.via, target.reachable) == ("", False)


def test_a_hybrid_node_that_does_not_exist(aws: StubbedAws) -> None:
    aws.ssm(agents_of(mi(1)))
    assert found(aws, mi(1)).targets[0].reason == "no such managed node in eu-west-1"


@pytest.mark.parametrize("changes", [{"minutes": 14.9}, {"minutes": -3}, {"platform": "MacOS"}])
def test_an_agent_that_was_heard_lately_is_reached(aws: StubbedAws, changes: dict[str, Any]) -> None:
    aws.ec2(by_ids(i(1)), instance(i(1)))
    aws.ssm(agents_of(i(1)), agent(i(1), **changes))
    assert found(aws, i(1)).targets[0].reason == ""


# -- with EC2 as moto has it


@mock_aws
def test_the_filters_mean_to_ec2_what_we_mean() -> None:
    aws = Aws(region="eu-west-1", credentials=("testing", "testing"))
    ec2 = aws.client("ec2")

    def start(count: int, **tags: str) -> list[str]:
        tagged = [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
        made = ec2.run_instances(ImageId="ami-12c6146b", MinCount=count, MaxCount=count, TagSpecifications=tagged)
        return [each["InstanceId"] for each in made["Instances"]]

    web, [worker], [stopped], [gone] = (
        start(2, Role="web"),
        start(1, Role="worker"),
        start(1, Role="web"),
        start(1, Role="web"),
    )
    ec2.stop_instances(InstanceIds=[stopped])
    ec2.terminate_instances(InstanceIds=[gone])
    finder = Finder(aws)
    assert set(dict(finder.running_instances())) == {*web, worker}
    assert set(dict(finder.instances_by_tag(Selector("tag", ("web",), "Role")))) == {*web, stopped}
    assert set(dict(finder.instances_by_tag(Selector("tag", ("web", "worker"), "Role")))) == {*web, worker, stopped}
    assert not dict(finder.instances_by_tag(Selector("tag", ("none",), "Role")))
    states = {key: each["State"]["Name"] for key, each in finder.instances_by_id([worker, gone, i(1)])}
    assert states == {worker: "running", gone: "terminated"}
