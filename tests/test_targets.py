"""Which machines the selectors mean, with which calls they are found, and why some are not reached."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from moto import mock_aws

from ssm_deployer.aws import Aws
from ssm_deployer.errors import CloudError, UsageError
from ssm_deployer.model import Target
from ssm_deployer.selector import Host, Selector, parse_selector
from ssm_deployer.targets import AUTO, Choice, Resolution, resolve
from ssm_deployer.targets.finder import Finder
from ssm_deployer.targets.machines import HYBRID_BY_SSH

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
ALIVE = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}


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


def found(aws: Aws, *selectors: str, choice: Choice = AUTO) -> Resolution:
    return resolve([parse_selector(text) for text in selectors], [aws], choice, NOW)


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
    targets = resolve(selectors, [aws, other], AUTO, NOW).targets
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


def test_all_is_every_instance_and_hybrid_node_with_an_agent_and_what_else_there_is_is_left_out(
    aws: StubbedAws,
) -> None:
    aws.ec2([ALIVE], instance(i(1)), instance(i(2), Name="bare"), instance(i(4), "stopped"))
    aws.ssm([], agent(i(1)), then="more")
    aws.ssm([], agent(mi(3)), page="more")
    resolution = found(aws, "all")
    assert [target.id for target in resolution.targets] == [i(1), mi(3)]
    assert [target.id for target in resolution.left_out] == [i(2), i(4)]
    assert resolution.left_out[0].reason.startswith("no SSM agent has registered")
    assert resolution.left_out[1].reason == "the instance is stopped"


def test_all_does_not_mean_an_instance_that_has_just_gone_though_ssm_calls_its_agent_online(aws: StubbedAws) -> None:
    aws.ec2([ALIVE], instance(i(1)))
    aws.ssm([], agent(i(1)), agent(i(2)), agent(mi(3)))
    aws.ec2(by_ids(i(2)), instance(i(2), "terminated"))
    resolution = found(aws, "all")
    assert [target.id for target in resolution.targets] == [i(1), mi(3)]
    assert [(target.id, target.reason) for target in resolution.left_out] == [(i(2), "the instance is terminated")]


def test_what_is_named_besides_all_stays_a_target_though_it_is_not_reached(aws: StubbedAws) -> None:
    aws.ec2(by_ids(i(2)), instance(i(2), "stopped"))
    aws.ec2([ALIVE], instance(i(1)))
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
    "it runs Windows by the word of EC2": (instance(i(1)) | {"Platform": "windows"}, None, "it runs Windows"),
    "its agent is lost": (instance(i(1)), agent(i(1), ping="ConnectionLost", minutes=7.9), "silent for 7 min"),
    "its agent is inactive": (instance(i(1)), agent(i(1), ping="Inactive", minutes=90), "silent for 90 min"),
    "its agent is said to be online": (instance(i(1)), agent(i(1), minutes=15), "silent for 15 min"),
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


# -- by SSM or by SSH

SILENT = "its SSM agent has been silent for 90 min"
NO_KEY = "there is no key for SSH to log in with"
KEY = Choice(key=True)


def listening(key: str, *, public: str = "", private: str = "", v6: str = "", **more: Any) -> dict[str, Any]:
    addresses = {"PublicIpAddress": public, "PrivateIpAddress": private, "Ipv6Address": v6}
    return instance(key) | {name: address for name, address in addresses.items() if address} | more


def way(target: Target) -> str:
    return target.reason or Host(target.address, target.user, target.port).selector if target.via != "ssm" else "ssm"


LOST = agent(i(1), ping="ConnectionLost", minutes=90)
BOTH = {"public": "54.0.0.1", "private": "10.0.0.1"}
WAYS: dict[str, tuple[Choice, dict[str, Any], dict[str, Any] | None, str]] = {
    "its agent is online": (KEY, BOTH, agent(i(1)), "ssm"),
    "its agent is silent": (KEY, BOTH, LOST, "ssh:54.0.0.1"),
    "it has no agent": (KEY, BOTH, None, "ssh:54.0.0.1"),
    "it has no public address": (KEY, {"private": "10.0.0.1"}, None, "ssh:10.0.0.1"),
    "it has an address of IPv6 alone": (KEY, {"v6": "2001:db8::1"}, None, "ssh:[2001:db8::1]"),
    "the private address is wanted": (Choice(key=True, address="private"), BOTH, None, "ssh:10.0.0.1"),
    "the public address is wanted": (Choice(key=True, address="public"), BOTH, None, "ssh:54.0.0.1"),
    "a user and a port are set": (Choice(key=True, user="me", port=2222), BOTH, None, "ssh:me@54.0.0.1:2222"),
    "there is no key": (AUTO, BOTH, LOST, f"{SILENT}; {NO_KEY}"),
    "there is no address": (KEY, {}, LOST, f"{SILENT}; it has no address"),
    "there is no public address but one is wanted": (
        Choice(key=True, address="public"), {"private": "10.0.0.1"}, LOST, f"{SILENT}; it has no public address"
    ),
    "a tunnel needs no address": (Choice(key=True, tunnel="instance-connect"), {}, LOST, f"ssh:{i(1)}"),
    "a tunnel beats an address": (Choice(key=True, tunnel="instance-connect"), BOTH, LOST, f"ssh:{i(1)}"),
    "a tunnel needs a key": (Choice(tunnel="instance-connect"), BOTH, LOST, f"{SILENT}; {NO_KEY}"),
    "only SSM is allowed": (Choice(key=True, backend="ssm"), BOTH, LOST, SILENT),
    "it has Windows by the word of EC2": (
        KEY, {**BOTH, "Platform": "windows"}, None, "it runs Windows; the payload is for POSIX shells"
    ),
    "it is stopped": (KEY, {**BOTH, "State": {"Name": "stopped"}}, LOST, "the instance is stopped"),
}  # fmt: skip


@pytest.mark.parametrize("case", WAYS, ids=lambda case: case.replace(" ", "-"))
def test_ssm_is_taken_or_else_ssh_or_the_reasons_are_told_in_one_line(aws: StubbedAws, case: str) -> None:
    choice, facts, ssm, expected = WAYS[case]
    aws.ec2(by_ids(i(1)), listening(i(1), **facts))
    aws.ssm(agents_of(i(1)), *([ssm] if ssm else []))
    [target] = found(aws, i(1), choice=choice).targets
    assert way(target) == expected
    assert target.reachable == (target.via in {"ssm", "ssh"})


def test_where_ssh_is_taken_it_is_told_why_ssm_was_not(aws: StubbedAws) -> None:
    aws.ec2(by_ids(i(1), i(2)), listening(i(1), **BOTH), listening(i(2), **BOTH))
    aws.ssm(agents_of(i(1), i(2)), LOST, agent(i(2)))
    targets = found(aws, i(1), i(2), choice=KEY).targets
    assert [(target.via, target.why) for target in targets] == [("ssh", SILENT), ("ssm", "")]
    assert [target.address for target in targets] == ["54.0.0.1", ""]


def test_a_hybrid_node_is_reached_by_ssm_alone(aws: StubbedAws) -> None:
    aws.ssm(agents_of(mi(1)), agent(mi(1), ping="ConnectionLost", minutes=90) | {"IPAddress": "10.0.0.9"})
    [target] = found(aws, mi(1), choice=KEY).targets
    assert target.reason == f"{SILENT}; {HYBRID_BY_SSH}"


BY_SSH = Choice(backend="ssh")


def test_with_ssh_alone_ssm_is_not_asked_and_openssh_may_know_of_a_key(aws: StubbedAws) -> None:
    aws.ec2(by_ids(i(1), i(2)), listening(i(1), **BOTH))
    web: dict[str, Any] = {"private": "10.0.0.3", "Tags": [{"Key": "Role", "Value": "web"}]}
    aws.ec2([{"Name": "tag:Role", "Values": ["web"]}, ALIVE], listening(i(3), **web))
    targets = found(aws, i(1), i(2), mi(1), "tag:Role=web", choice=BY_SSH).targets
    assert [(target.id, way(target), target.why) for target in targets] == [
        (i(1), "ssh:54.0.0.1", ""),
        (i(2), "no such instance in eu-west-1", ""),
        (i(3), "ssh:10.0.0.3", ""),
        (mi(1), f"{HYBRID_BY_SSH}, and --backend ssh leaves that out", ""),
    ]


def test_with_ssh_alone_all_is_every_running_instance_with_an_address(aws: StubbedAws) -> None:
    aws.ec2([ALIVE], listening(i(1), **BOTH), listening(i(2)))
    resolution = found(aws, "all", choice=BY_SSH)
    assert [target.id for target in resolution.targets] == [i(1)]
    assert [(target.id, target.reason) for target in resolution.left_out] == [(i(2), "it has no address")]


# -- hosts


def of_hosts(*selectors: str, choice: Choice = AUTO) -> Resolution:
    return resolve([parse_selector(text) for text in selectors], [], choice, NOW)


def test_a_host_is_reached_by_ssh_without_a_call_to_aws() -> None:
    host = Target(id="ssh:deploy@web1:2222", via="ssh", address="web1", user="deploy", port=2222)
    assert of_hosts("ssh:deploy@web1:2222") == Resolution(targets=(host,))


def test_a_host_has_the_user_and_the_port_that_are_set_unless_it_names_its_own() -> None:
    choice = Choice(user="me", port=22)
    targets = of_hosts("ssh:web1", "ssh:you@[::1]:23", choice=choice).targets
    assert [(target.id, way(target)) for target in targets] == [
        ("ssh:web1", "ssh:me@web1:22"),
        ("ssh:you@[::1]:23", "ssh:you@[::1]:23"),
    ]


def test_the_hosts_of_an_inventory_are_meant_each_once(tmp_path: Path) -> None:
    path = tmp_path / "machines.txt"
    path.write_text("web2\nssh:web1\nweb2\n")
    resolution = of_hosts(f"file:{path}", "ssh:web2", f"file:{path}")
    assert [target.id for target in resolution.targets] == ["ssh:web1", "ssh:web2"]
    assert resolution.notes == ()


def test_an_inventory_that_is_wrong_is_told_before_aws_is_asked(tmp_path: Path, aws: StubbedAws) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        found(aws, i(1), f"file:{tmp_path}/missing")


def test_one_login_by_two_names_is_one_target_and_two_users_are_two() -> None:
    resolution = of_hosts("ssh:web1", "ssh:WEB1:22", "ssh:me@web1", "ssh:you@web1", choice=Choice(user="me"))
    assert [target.id for target in resolution.targets] == ["ssh:web1", "ssh:you@web1"]
    assert resolution.notes == (
        "a machine with two names is deployed to once: ssh:WEB1:22 as ssh:web1, ssh:me@web1 as ssh:web1",
    )


def test_many_names_are_told_in_one_note() -> None:
    resolution = of_hosts(*(f"ssh:{name}{number}:22" for number in range(7) for name in ("web", "WEB")))
    assert len(resolution.targets) == 7
    assert resolution.notes[0].endswith("ssh:WEB4:22 as ssh:web4:22 and 2 more")


CARDS: dict[str, Any] = {
    "PublicDnsName": "ec2-54-0-0-1.example", "PrivateDnsName": "IP-10-0-0-1.internal",
    "NetworkInterfaces": [
        {"PrivateIpAddress": "10.0.0.2", "PrivateDnsName": "", "Ipv6Addresses": [{"Ipv6Address": "2001:db8::1"}]}
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "host",
    ["54.0.0.1", "me@10.0.0.1:2222", "10.0.0.2", "[2001:db8::1]", "EC2-54-0-0-1.example", "ip-10-0-0-1.internal"],
)
def test_an_instance_that_is_named_by_an_address_too_is_deployed_to_once_by_ssm(aws: StubbedAws, host: str) -> None:
    aws.ec2(by_ids(i(1)), listening(i(1), **BOTH, **CARDS))
    aws.ssm(agents_of(i(1)), agent(i(1)))
    resolution = found(aws, i(1), f"ssh:{host}")
    assert [(target.id, target.via) for target in resolution.targets] == [(i(1), "ssm")]
    assert resolution.notes == (f"a machine with two names is deployed to once: ssh:{host} as {i(1)}",)


@pytest.mark.parametrize("choice", [AUTO, KEY])
def test_where_ssm_is_no_way_the_login_that_was_named_stands_for_the_instance(aws: StubbedAws, choice: Choice) -> None:
    aws.ec2(by_ids(i(1)), listening(i(1), **BOTH))
    aws.ssm(agents_of(i(1)), LOST)
    resolution = found(aws, i(1), "ssh:me@10.0.0.1", "ssh:54.0.0.1", "ssh:other", choice=choice)
    assert [target.id for target in resolution.targets] == ["ssh:me@10.0.0.1", "ssh:other"]
    assert resolution.notes == (
        f"a machine with two names is deployed to once: {i(1)} as ssh:me@10.0.0.1, ssh:54.0.0.1 as ssh:me@10.0.0.1",
    )


def test_a_hybrid_node_that_is_named_by_its_address_too_is_deployed_to_once(aws: StubbedAws) -> None:
    aws.ssm(agents_of(mi(1)), agent(mi(1)) | {"IPAddress": "10.0.0.9"})
    assert [target.id for target in found(aws, mi(1), "ssh:10.0.0.9").targets] == [mi(1)]


def test_what_all_leaves_out_may_be_named_by_its_address(aws: StubbedAws) -> None:
    aws.ec2([ALIVE], listening(i(1), **BOTH))
    aws.ssm([])
    resolution = found(aws, "all", "ssh:10.0.0.1")
    assert [target.id for target in resolution.targets] == ["ssh:10.0.0.1"]
    assert [target.id for target in resolution.left_out] == [i(1)]


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
    assert set(dict(finder.instances())) == {*web, worker, stopped}
    assert set(dict(finder.instances_by_tag(Selector("tag", ("web",), "Role")))) == {*web, stopped}
    assert set(dict(finder.instances_by_tag(Selector("tag", ("web", "worker"), "Role")))) == {*web, worker, stopped}
    assert not dict(finder.instances_by_tag(Selector("tag", ("none",), "Role")))
    states = {key: each["State"]["Name"] for key, each in finder.instances_by_id([worker, gone, i(1)])}
    assert states == {worker: "running", gone: "terminated"}
