"""The policies in iam/ allow what the code calls, nothing less and nothing more."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import boto3
import botocore.session
import pytest
from botocore import xform_name
from moto import mock_aws
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.policy_validation import IAMPolicyDocumentValidator

from ssm_deployer.aws import Aws
from ssm_deployer.backends.ec2.tunnel import Way
from ssm_deployer.config import StagingSettings
from ssm_deployer.payload import build
from ssm_deployer.payload.recipe import Recipe, Source
from ssm_deployer.staging import Staging, bucket_region

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ssm_deployer"
POLICIES = sorted((ROOT / "iam").glob("*.json"))
PLACEHOLDERS = {
    "REGION": "eu-west-1",
    "ACCOUNT": "123456789012",
    "BUCKET": "some-bucket",
    "TAG_NAME": "Role",
    "TAG_VALUE": "web",
    "OS_USER": "ubuntu",
    "KMS_KEY_ID": "00000000-0000-0000-0000-000000000000",
}

# What the code says → what IAM must allow. Service Authorization Reference, and the "Permissions" of each API's page.
ACTIONS = {
    "describe_instances": {"ec2:DescribeInstances"},
    "describe_instance_information": {"ssm:DescribeInstanceInformation"},
    "send_command": {"ssm:SendCommand"},
    "cancel_command": {"ssm:CancelCommand"},
    "list_commands": {"ssm:ListCommands"},
    "list_command_invocations": {"ssm:ListCommandInvocations"},
    "get_command_invocation": {"ssm:GetCommandInvocation"},
    "head_bucket": {"s3:ListBucket"},
    "put_object": {"s3:PutObject"},
    "create_transfer_manager": {"s3:PutObject", "s3:AbortMultipartUpload"},
    "get_object": {"s3:GetObject"},  # presigned: the URL has the rights of its signer
    "list_multipart_uploads": {"s3:ListBucketMultipartUploads"},
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "list_object_versions": {"s3:ListBucketVersions"},
    "delete_objects": {"s3:DeleteObject", "s3:DeleteObjectVersion"},  # by version id
}
# Those for machines that are reached by SSH.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-connect-configure-IAM-role.html
SSH_ACTIONS = {
    "get_console_output": {"ec2:GetConsoleOutput"},
    "send_ssh_public_key": {"ec2-instance-connect:SendSSHPublicKey"},
}
# What the AWS CLI calls for a tunnel, and what its plugin does with the session.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/permissions-for-ec2-instance-connect-endpoint.html
# https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-restrict-access-quickstart.html
TUNNEL_ACTIONS = {
    "instance-connect": {
        *("ec2:DescribeInstances", "ec2:DescribeInstanceConnectEndpoints", "ec2-instance-connect:OpenTunnel"),
    },
    "session-manager": {"ssm:StartSession", "ssm:TerminateSession", "ssmmessages:OpenDataChannel"},
}
# The same calls where `staging.kms_key` is set. An upload in parts decrypts, too:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
KMS_ACTIONS = {
    "put_object": {"kms:GenerateDataKey"},
    "create_transfer_manager": {"kms:GenerateDataKey", "kms:Decrypt"},
    "get_object": {"kms:Decrypt"},
}
# What boto3's transfer manager makes of an upload, on the wire.
UPLOAD = {"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"}
# They name no resource in IAM, so that only "*" allows them.
WITHOUT_RESOURCE = {
    "ec2:DescribeInstanceConnectEndpoints",
    "ec2:DescribeInstances",
    "ssm:CancelCommand",
    "ssm:DescribeInstanceInformation",
    "ssm:GetCommandInvocation",
    "ssm:ListCommandInvocations",
    "ssm:ListCommands",
}


def policy(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / "iam" / f"{name}.json").read_text())
    return document


def statements(document: dict[str, Any]) -> Iterator[tuple[set[str], list[str], dict[str, Any]]]:
    for statement in document["Statement"]:
        yield set(listed(statement["Action"])), listed(statement["Resource"]), statement.get("Condition", {})


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allowed(name: str) -> set[str]:
    return {action for actions, _, _ in statements(policy(name)) for action in actions}


@cache
def called() -> frozenset[str]:
    """Every operation of AWS that the package names, as a method or (for paginators, presigning) as a string."""
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py") if "sandbox" not in path.parts]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    services = {
        str(node.args[0].value)
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "client"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert services == {"ec2", "ec2-instance-connect", "s3", "ssm"}, "a service that no policy was written for"
    words = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    words |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return frozenset(words & operations(services))


def operations(services: set[str]) -> set[str]:
    session = botocore.session.get_session()
    # boto3's own, on top
    injected = {"create_transfer_manager", "upload_file", "upload_fileobj", "download_file", "download_fileobj"}
    return injected | {
        xform_name(operation)
        for service in services
        for operation in session.get_service_model(service).operation_names
    }


def test_every_call_of_the_code_is_known_here_and_every_call_known_here_is_made() -> None:
    assert called() == ACTIONS.keys() | SSH_ACTIONS.keys()


def test_the_operator_may_do_what_the_code_calls_and_nothing_else() -> None:
    assert allowed("operator-policy") == set().union(*(ACTIONS.get(call, set()) for call in called()))


def test_for_ssh_the_operator_may_also_do_what_the_code_calls_for_it() -> None:
    assert allowed("operator-policy-ssh") == set().union(*(SSH_ACTIONS.get(call, set()) for call in called()))


@pytest.mark.parametrize("way", get_args(Way))
def test_for_each_tunnel_the_operator_may_do_what_the_aws_cli_does_for_it(way: Way) -> None:
    assert allowed(f"operator-policy-ssh-{way}") == TUNNEL_ACTIONS[way]


def test_keys_are_pushed_for_one_user_only_and_only_to_tagged_machines() -> None:
    [(_, machines, condition)] = [
        each for each in statements(policy("operator-policy-ssh")) if "ec2-instance-connect:SendSSHPublicKey" in each[0]
    ]
    assert machines == ["arn:aws:ec2:REGION:ACCOUNT:instance/*"]
    assert condition == {"StringEquals": {"aws:ResourceTag/TAG_NAME": "TAG_VALUE", "ec2:osuser": "OS_USER"}}


def test_consoles_are_read_of_tagged_machines_only() -> None:
    [(_, machines, condition)] = [
        each for each in statements(policy("operator-policy-ssh")) if "ec2:GetConsoleOutput" in each[0]
    ]
    assert machines == ["arn:aws:ec2:REGION:ACCOUNT:instance/*"]
    assert condition == {"StringEquals": {"aws:ResourceTag/TAG_NAME": "TAG_VALUE"}}


def test_sessions_are_for_ssh_only_and_only_on_tagged_machines() -> None:
    starts = [
        each for each in statements(policy("operator-policy-ssh-session-manager")) if "ssm:StartSession" in each[0]
    ]
    (_, documents, _), (_, machines, condition) = starts
    assert documents == ["arn:aws:ssm:REGION::document/AWS-StartSSHSession"]
    assert machines == ["arn:aws:ec2:REGION:ACCOUNT:instance/*"]
    # Without the second one a shell, which is another document, could be started, too.
    assert condition == {
        "StringEquals": {"ssm:resourceTag/TAG_NAME": "TAG_VALUE"},
        "BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"},
    }


def test_with_a_kms_key_the_operator_may_also_encrypt_and_lend() -> None:
    assert allowed("operator-policy-kms") == set().union(*(KMS_ACTIONS.get(call, set()) for call in called()))


def test_the_operator_sends_one_document_only_and_only_to_tagged_machines() -> None:
    sends = [each for each in statements(policy("operator-policy")) if "ssm:SendCommand" in each[0]]
    (_, documents, free), (_, machines, tagged) = sends
    assert documents == ["arn:aws:ssm:REGION::document/AWS-RunShellScript"]
    assert free == {}
    assert [machine.rpartition(":")[2] for machine in machines] == ["instance/*", "managed-instance/*"]
    assert tagged == {"StringEquals": {"ssm:resourceTag/TAG_NAME": "TAG_VALUE"}}


@pytest.mark.parametrize("name", [path.stem for path in POLICIES if path.stem.startswith("operator-policy")])
def test_a_resource_is_named_wherever_iam_can_tell_resources_apart(name: str) -> None:
    for actions, resources, _ in statements(policy(name)):
        assert (resources == ["*"]) == (actions <= WITHOUT_RESOURCE)
        assert (resources == ["*"]) == bool(actions & WITHOUT_RESOURCE)


@pytest.mark.parametrize("name", ["operator-policy", "instance-policy-role-delivery"])
def test_objects_are_reached_below_the_default_prefix_only(name: str) -> None:
    prefix = StagingSettings().prefix
    for actions, resources, condition in statements(policy(name)):
        if {action for action in actions if "Object" in action}:
            assert resources == [f"arn:aws:s3:::BUCKET/{prefix}/*"]
        if "s3:ListBucketVersions" in actions:
            assert condition == {"StringLike": {"s3:prefix": f"{prefix}/*"}}


def test_role_delivery_lets_a_machine_read_staged_objects_and_no_more() -> None:
    source = Source(location="s3://some-bucket/ssm-deploy/run/script", sha256="0" * 64, size=1)
    payload = build(Recipe(run_id="run", script=source, timeout=1, fetch_timeout=1))
    assert set(re.findall(r"\baws (\w+ [\w-]+)", payload)) == {"s3api get-object"}
    assert allowed("instance-policy-role-delivery") == {"s3:GetObject"}
    assert allowed("instance-policy-role-delivery-kms") == {"kms:Decrypt"}


def test_the_agents_policy_is_the_part_of_awss_own_that_carries_commands() -> None:
    core = json.loads(aws_managed_policies_data)["AmazonSSMManagedInstanceCore"]["Document"]
    everything = {action for actions, _, _ in statements(core) for action in actions}
    channels = {action for action in everything if action.startswith(("ssmmessages:", "ec2messages:"))}
    assert allowed("instance-policy") == channels | {"ssm:UpdateInstanceInformation"}


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_is_valid_once_its_placeholders_are_filled_in(path: Path) -> None:
    text = re.sub("|".join(PLACEHOLDERS), lambda match: PLACEHOLDERS[match[0]], path.read_text())
    IAMPolicyDocumentValidator(text).validate()
    filled = json.loads(text)
    assert filled["Version"] == "2012-10-17"
    assert len(json.dumps(filled, separators=(",", ":"))) < 6144  # the most that a managed policy may have
    sids = [statement["Sid"] for statement in filled["Statement"]]
    assert len(set(sids)) == len(sids)
    for statement in filled["Statement"]:
        assert statement["Effect"] == "Allow"
        assert statement["Sid"].isalnum()
        assert listed(statement["Action"]) == sorted(set(listed(statement["Action"])))
        assert all(re.fullmatch(r"[a-z0-9-]+:[A-Z]\w+", action) for action in listed(statement["Action"]))
        for resource in listed(statement["Resource"]):
            assert re.fullmatch(r"\*|arn:aws:[a-z0-9]+:[a-z0-9-]*:\d*:[A-Za-z0-9/*.-]+(\$\{aws:userid\}-\*)?", resource)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_the_readme_lists_every_policy(path: Path) -> None:
    assert f"[{path.name}]({path.name})" in (ROOT / "iam" / "README.md").read_text()


@mock_aws
def test_staging_sends_no_request_that_the_table_does_not_know() -> None:
    region = "eu-west-1"
    boto3.client("s3", region).create_bucket(
        Bucket="some-bucket", CreateBucketConfiguration={"LocationConstraint": region}
    )
    s3 = Aws(region=region, credentials=("testing", "testing")).client("s3")
    sent: set[str] = set()
    s3.meta.events.register("before-call.s3", lambda model, **_: sent.add(model.name))
    staging = Staging(s3, "some-bucket", "ssm-deploy/run", kms_key="some-key")
    bucket_region(s3, "some-bucket")
    staging.put("script", b"true")
    for size in (1, 20_000_000):
        for _ in staging.put_stream("bundle", lambda sink, size=size: sink.write(bytes(size))):  # type: ignore[misc]
            pass
    s3.create_multipart_upload(Bucket="some-bucket", Key="ssm-deploy/run/unfinished")
    staging.lend("script", 60)
    assert staging.empty() == []
    assert {xform_name(name) for name in sent - UPLOAD} <= ACTIONS.keys()
    assert sent >= UPLOAD, "both kinds of upload, and the end of an unfinished one, were tried"
