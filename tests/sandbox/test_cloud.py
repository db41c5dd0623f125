"""EC2's power switch, discovery and faults, in a running sandbox of their own."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.httpsession import URLLib3Session
from sandbox.sandbox_bench import Client, client_of, final, runner

from ssm_deployer.sandbox import launch
from ssm_deployer.sandbox.faults import CONTROL_PATH
from ssm_deployer.sandbox.launch import Account

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with launch.throwaway(8, "eu-west-1") as account:
        yield account


@pytest.fixture(scope="module")
def client(account: Account) -> Client:
    return client_of(account)


@pytest.fixture(autouse=True)
def _healthy_again(account: Account) -> Iterator[None]:
    yield
    set_faults(account, "{}")


def set_faults(account: Account, faults: str) -> int:
    request = AWSRequest("POST", account.endpoint_url + CONTROL_PATH, data=faults.encode())
    SigV4Auth(Credentials(account.access_key, account.secret_key), "ssm", account.region).add_auth(request)
    return int(URLLib3Session().send(request.prepare()).status_code)


def send(ssm: Any, *instance_ids: str, script: str = "echo hello", **request: Any) -> str:
    sent = ssm.send_command(
        DocumentName="AWS-RunShellScript", InstanceIds=list(instance_ids), Parameters={"commands": [script]}, **request
    )
    return str(sent["Command"]["CommandId"])


def state(ssm: Any, command: str, instance_id: str) -> str:
    return str(ssm.get_command_invocation(CommandId=command, InstanceId=instance_id)["StatusDetails"])


def wait_for(ssm: Any, command: str, instance_id: str, details: str) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            if state(ssm, command, instance_id) == details:
                return
        except ssm.exceptions.InvocationDoesNotExist:
            pass
        assert time.monotonic() < until
        time.sleep(0.02)


def test_running_instances_are_managed_and_stopped_ones_are_omitted(client: Client, account: Account) -> None:
    ssm, ec2 = client("ssm"), client("ec2")
    stopped = account.instances[7]
    ec2.stop_instances(InstanceIds=[stopped])
    listed = ssm.describe_instance_information()["InstanceInformationList"]
    assert {each["InstanceId"] for each in listed} == set(account.instances) - {stopped}
    assert {(each["PingStatus"], each["PlatformType"]) for each in listed} == {("Online", "Linux")}
    ec2.start_instances(InstanceIds=[stopped])
    assert len(ssm.describe_instance_information()["InstanceInformationList"]) == 8


def test_discovery_filters_and_pages(client: Client, account: Account) -> None:
    ssm = client("ssm")
    pages = list(ssm.get_paginator("describe_instance_information").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(page["InstanceInformationList"]) for page in pages] == [5, 3]
    chosen = ssm.describe_instance_information(
        Filters=[
            {"Key": "InstanceIds", "Values": list(account.instances[:2])},
            {"Key": "tag:Name", "Values": ["sandbox-1"]},
        ]
    )
    assert [each["InstanceId"] for each in chosen["InstanceInformationList"]] == [account.instances[0]]


def test_instances_are_named_in_the_order_of_their_ids(client: Client, account: Account) -> None:
    tags = client("ec2").describe_tags(Filters=[{"Name": "key", "Values": ["Name"]}])["Tags"]
    assert [(each["ResourceId"], each["Value"]) for each in sorted(tags, key=lambda each: str(each["ResourceId"]))] == [
        (key, f"sandbox-{number}") for number, key in enumerate(account.instances, 1)
    ]


def test_stop_kills_what_runs_and_the_agent_tells_once_it_is_back(client: Client, account: Account) -> None:
    ssm, ec2, instance = client("ssm"), client("ec2"), account.instances[0]
    command = send(ssm, instance, script="sleep 4731")
    wait_for(ssm, command, instance, "InProgress")
    ec2.stop_instances(InstanceIds=[instance])
    assert state(ssm, command, instance) == "InProgress"
    delayed = send(ssm, instance)
    wait_for(ssm, delayed, instance, "Delayed")
    ec2.start_instances(InstanceIds=[instance])
    assert final(ssm, command, instance)["StatusDetails"] == "Failed"
    assert final(ssm, delayed, instance)["StandardOutputContent"] == "hello\n"
    assert "sleep 4731" not in runner(account, client)("ps ax")["StandardOutputContent"]


def test_a_terminated_instance_vanishes_and_its_invocation_stays_in_progress(client: Client, account: Account) -> None:
    ssm, instance = client("ssm"), account.instances[1]
    command = send(ssm, instance, script="sleep 4732")
    wait_for(ssm, command, instance, "InProgress")
    client("ec2").terminate_instances(InstanceIds=[instance])
    assert instance not in str(ssm.describe_instance_information())
    with pytest.raises(ssm.exceptions.InvalidInstanceId):
        send(ssm, instance)
    assert state(ssm, command, instance) == "InProgress"


def test_an_ec2_reboot_loses_what_runs(client: Client, account: Account) -> None:
    ssm, instance = client("ssm"), account.instances[2]
    command = send(ssm, instance, script="sleep 4733")
    wait_for(ssm, command, instance, "InProgress")
    client("ec2").reboot_instances(InstanceIds=[instance])
    assert final(ssm, command, instance)["StatusDetails"] == "Failed"


def test_an_instance_launched_later_runs_commands_too(client: Client, account: Account) -> None:
    ec2 = client("ec2")
    (new,) = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)["Instances"]
    ended = runner(account, client)("hostname", instance=new["InstanceId"])
    assert ended["StandardOutputContent"] == new["PrivateDnsName"].partition(".")[0] + "\n"
    ec2.terminate_instances(InstanceIds=[new["InstanceId"]])


def test_regions_know_nothing_of_each_other(client: Client, account: Account) -> None:
    ssm = client("ssm", "us-west-2")
    assert ssm.describe_instance_information()["InstanceInformationList"] == []
    with pytest.raises(ssm.exceptions.InvalidInstanceId):
        send(ssm, account.instances[3])


def test_keys_that_sts_gave_out_open_the_gate_too(client: Client, account: Account) -> None:
    given = client("sts").assume_role(RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="session")[
        "Credentials"
    ]
    ssm = boto3.client(
        "ssm",
        endpoint_url=account.endpoint_url,
        region_name=account.region,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )
    assert ssm.describe_instance_information()["InstanceInformationList"]


def test_throttling_is_refused_as_the_services_refuse_it(client: Client, account: Account) -> None:
    rules = ",".join(
        f'{{"operation": "{name}", "fault": "throttle", "times": 1}}'
        for name in ("ListCommands", "DescribeInstances", "s3:GET")
    )
    assert set_faults(account, f'{{"rules": [{rules}]}}') == 200
    codes = []
    for call in (client("ssm").list_commands, client("ec2").describe_instances, client("s3").list_buckets):
        with pytest.raises(ClientError) as caught:
            call()
        codes.append(caught.value.response["Error"]["Code"])
        call()
    assert codes == ["ThrottlingException", "RequestLimitExceeded", "SlowDown"]


def test_a_lost_answer_was_carried_out(client: Client, account: Account) -> None:
    set_faults(account, '{"rules": [{"operation": "SendCommand", "fault": "lost", "times": 1}]}')
    ssm = client("ssm")
    with pytest.raises(ConnectionClosedError):
        send(ssm, account.instances[3], Comment="lost-one")
    time.sleep(0.2)
    assert ssm.list_commands()["Commands"][0]["Comment"] == "lost-one"


def test_what_would_need_an_ssh_server_or_a_console_is_refused_and_says_why(client: Client, account: Account) -> None:
    instance = account.instances[6]
    connect = client("ec2-instance-connect")
    asked = {"InstanceId": instance, "SSHPublicKey": "ssh-ed25519 " + "A" * 68}
    with pytest.raises(ClientError, match=r"NotImplemented.*no SSH server"):
        connect.send_ssh_public_key(InstanceOSUser="ubuntu", **asked)
    with pytest.raises(ClientError, match=r"NotImplemented.*no serial console"):
        connect.send_serial_console_ssh_public_key(**asked)
    for latest in (True, False):
        with pytest.raises(ClientError, match=r"NotImplemented.*no host keys"):
            client("ec2").get_console_output(InstanceId=instance, Latest=latest)


def test_an_instance_can_lack_programs_and_disk(client: Client, account: Account) -> None:
    instance = account.instances[4]
    set_faults(account, f'{{"instances": {{"{instance}": {{"hidden": ["curl", "wget"], "disk_bytes": 65536}}}}}}')
    ended = runner(account, client)(
        "command -v curl; command -v wget; command -v sh; head -c 100000 /dev/zero > /tmp/big; stat -c %a /tmp",
        instance=instance,
    )
    assert ended["StandardOutputContent"] == "/usr/bin/sh\n1777\n"
    assert "No space left on device" in ended["StandardErrorContent"]


def test_a_silent_agent_is_lost_and_a_missing_one_unknown(client: Client, account: Account) -> None:
    silent, missing, denied, windows = account.instances[3:7]
    set_faults(
        account,
        f'{{"instances": {{"{silent}": {{"agent": "silent"}}, "{missing}": {{"agent": "missing"}},'
        f' "{denied}": {{"denied": true}}, "{windows}": {{"platform": "Windows"}}}}}}',
    )
    ssm = client("ssm")
    listed = {each["InstanceId"]: each for each in ssm.describe_instance_information()["InstanceInformationList"]}
    assert listed[silent]["PingStatus"] == "ConnectionLost"
    assert missing not in listed
    assert listed[windows]["PlatformType"] == "Windows"
    command = send(ssm, denied, windows)
    assert final(ssm, command, denied)["StatusDetails"] == "AccessDenied"
    assert final(ssm, command, windows)["StatusDetails"] == "InvalidPlatform"
    assert ssm.list_commands(CommandId=command)["Commands"][0]["StatusDetails"] == "Success"


def test_a_command_survives_its_agent_which_reports_and_is_cancelled_once_it_is_back(
    client: Client, account: Account
) -> None:
    instance, ssm = account.instances[5], client("ssm")
    go = Path(account.folder, instance, "var-tmp", "go")
    ends = send(ssm, instance, script="until [ -e /var/tmp/go ]; do sleep 0.1; done; echo lived on")
    lasts = send(ssm, instance, script="sleep 60")
    wait_for(ssm, ends, instance, "InProgress")
    wait_for(ssm, lasts, instance, "InProgress")
    set_faults(account, f'{{"instances": {{"{instance}": {{"agent": "silent"}}}}}}')
    ssm.cancel_command(CommandId=lasts)
    go.touch()
    time.sleep(1)
    assert (state(ssm, ends, instance), state(ssm, lasts, instance)) == ("InProgress", "Cancelling")
    set_faults(account, "{}")
    assert final(ssm, ends, instance)["StandardOutputContent"] == "lived on\n"
    assert final(ssm, lasts, instance)["StatusDetails"] == "Cancelled"


def test_a_refused_upload_of_output_is_nobodys_trouble(client: Client, account: Account) -> None:
    set_faults(account, '{"rules": [{"operation": "s3:PUT", "fault": "deny"}]}')
    ended = runner(account, client)("echo hello", instance=5, OutputS3BucketName=account.bucket)
    assert ended["Status"] == "Success"
    assert "Contents" not in client("s3").list_objects_v2(Bucket=account.bucket, Prefix=ended["CommandId"])


def test_a_clock_that_is_wrong_is_refused_as_the_services_refuse_it(client: Client, account: Account) -> None:
    set_faults(account, '{"rules": [{"operation": "*", "fault": "skew"}]}')
    for service, call, code in (
        ("ssm", "list_commands", "InvalidSignatureException"),
        ("s3", "list_buckets", "RequestTimeTooSkewed"),
        ("ec2", "describe_instances", "RequestExpired"),
    ):
        with pytest.raises(ClientError, match=code):
            getattr(client(service), call)()


def test_a_message_delivered_twice_runs_once(client: Client, account: Account) -> None:
    instance = account.instances[5]
    set_faults(account, f'{{"instances": {{"{instance}": {{"duplicate": true}}}}}}')
    run = runner(account, client)
    run("echo ran >> /var/tmp/ran", instance=instance)
    assert run("cat /var/tmp/ran", instance=instance)["StandardOutputContent"] == "ran\n"


def test_faults_that_make_no_sense_are_refused(account: Account) -> None:
    assert set_faults(account, '{"rules": [{"operation": "x"}]}') == 400
    assert set_faults(account, '{"unknown": 1}') == 400


def test_fifty_instances_answer_one_command_and_leave_no_zombie(client: Client) -> None:
    ec2, ssm = client("ec2", "eu-north-1"), client("ssm", "eu-north-1")
    launched = ec2.run_instances(ImageId="ami-12345678", MinCount=50, MaxCount=50)["Instances"]
    ids = [each["InstanceId"] for each in launched]
    began = time.monotonic()
    command = send(ssm, *ids, script="(sleep 0.01 &) ; hostname", MaxErrors="100%")
    while ssm.list_commands(CommandId=command)["Commands"][:1] == [] or (
        ssm.list_commands(CommandId=command)["Commands"][0]["CompletedCount"] < 50
    ):
        assert time.monotonic() - began < 90
        time.sleep(0.05)
    pages = ssm.get_paginator("list_command_invocations").paginate(CommandId=command, Details=True, MaxResults=20)
    sizes = [page["CommandInvocations"] for page in pages]
    assert [len(page) for page in sizes] == [20, 20, 10]
    assert len({each["CommandPlugins"][0]["Output"] for page in sizes for each in page}) == 50
    zombies = final(ssm, send(ssm, ids[0], script="sleep 0.1; ps ax -o stat= | grep -c Z"), ids[0])
    assert zombies["StandardOutputContent"] == "0\n"
    ec2.terminate_instances(InstanceIds=ids)
