import io
import json
from collections.abc import Iterable, Sequence
from threading import RLock
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import botocore.session
import pytest
from botocore.parsers import create_parser

from ssm_deployer.sandbox.agent import Message, Result
from ssm_deployer.sandbox.run_command import ManagedInstance, Pace, Refusal, RunCommand
from ssm_deployer.sandbox.ssm_api import DOCUMENT_BYTES, Region, SsmApi

I0, I1, I2 = (f"i-{number:017x}" for number in range(3))
SHELL: dict[str, Any] = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}


class Deaf:
    """Agents that take messages and say nothing."""

    def deliver(self, instance_id: str, message: Message) -> None:
        """Take it."""

    def cancel(self, instance_id: str, command_id: str) -> None:
        """Take it."""


class Bench:
    """The API over three instances, a clock that stands, and an application behind that says `behind`."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.changes = 0
        self.managed = {
            I0: ManagedInstance(I0, tags={"Name": "a", "env": "x"}, pinged=self.now),
            I1: ManagedInstance(I1, tags={"env": "x"}, agent="silent"),
            I2: ManagedInstance(I2, state="stopped"),
        }
        self.service = RunCommand(lambda: self.managed, Deaf(), lambda: self.now, Pace)
        region = Region(self.service, lambda: self.managed)

        def find(name: str) -> Region:
            if name != "eu-west-1":
                raise Refusal("UnrecognizedClientException")
            return region

        def changed() -> None:
            self.changes += 1

        self.api = SsmApi(_behind, find, RLock(), changed)

    def raw(self, operation: str, body: bytes, region: str = "eu-west-1") -> tuple[str, bytes]:
        environ = {
            "REQUEST_METHOD": "POST",
            "HTTP_X_AMZ_TARGET": f"AmazonSSM.{operation}",
            "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/{region}/ssm/aws4_request, x",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        statuses: list[str] = []
        answer = b"".join(self.api(environ, lambda status, _headers: statuses.append(status)))  # type: ignore[arg-type]  # no write()
        return statuses[0], answer

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        _, answer = self.raw(operation, json.dumps(request).encode())
        return dict(json.loads(answer))

    def code(self, operation: str, **request: Any) -> str:
        return str(self.call(operation, **request).get("__type", ""))

    def send(self, *instances: str, **request: Any) -> str:
        return str(self.call("SendCommand", **SHELL, InstanceIds=instances or (I0,), **request)["Command"]["CommandId"])


def _behind(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"behind"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("operation", ["GetParameter", "DescribeDocument", "", "sendcommand"])
def test_other_operations_are_passed_on(bench: Bench, operation: str) -> None:
    assert bench.raw(operation, b"{}") == ("200 OK", b"behind")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"InstanceIds": ["i-123"]}, "ValidationException"),
        ({"InstanceIds": [I0] * 51}, "ValidationException"),
        ({"InstanceIds": [I0], "Comment": "x" * 101}, "ValidationException"),
        ({"InstanceIds": [I0], "TimeoutSeconds": 29}, "ValidationException"),
        ({"InstanceIds": [I0], "TimeoutSeconds": 2_592_001}, "ValidationException"),
        ({"InstanceIds": [I0], "MaxConcurrency": "0"}, "ValidationException"),
        ({"InstanceIds": [I0], "MaxErrors": "101%"}, "ValidationException"),
        ({"InstanceIds": [I0], "OutputS3BucketName": "ab"}, "ValidationException"),
        ({"InstanceIds": [I0], "DocumentHashType": "Md5"}, "ValidationException"),
        ({"Targets": [{"Key": "tag:a", "Values": ["b"]}] * 6}, "ValidationException"),
        ({"Targets": [{"Key": "tag:a", "Values": ["b"] * 51}]}, "ValidationException"),
        ({"Targets": [{"Key": "tag:%", "Values": ["b"]}]}, "ValidationException"),
        ({"InstanceIds": [I0], "DocumentVersion": "7"}, "InvalidDocumentVersion"),
        ({"InstanceIds": I0}, "SerializationException"),
        ({"InstanceIds": [I0], "TimeoutSeconds": "60"}, "SerializationException"),
        ({"InstanceIds": [I0], "TimeoutSeconds": True}, "SerializationException"),
        ({"InstanceIds": [I0], "Parameters": {"commands": "true"}}, "SerializationException"),
        (
            {"InstanceIds": [I0], "Parameters": {"commands": ["x" * (DOCUMENT_BYTES - 1_000)]}},
            "MaxDocumentSizeExceeded",
        ),
        ({"InstanceIds": [I0], "Parameters": {"commands": ["x"] * DOCUMENT_BYTES}}, "MaxDocumentSizeExceeded"),
        ({"InstanceIds": [I0, "i-0badbadbadbadbad0"]}, "InvalidInstanceId"),
        ({"DocumentName": "a"}, "ValidationException"),
        ({"DocumentName": None}, "ValidationException"),
    ],
)
def test_requests_that_the_service_refuses_are_refused(bench: Bench, request_: dict[str, Any], code: str) -> None:
    assert bench.code("SendCommand", **{**SHELL, **request_}) == code
    assert bench.call("ListCommands") == {"Commands": []}


@pytest.mark.parametrize(
    "request_",
    [
        {"InstanceIds": [I0], "Comment": "x" * 100, "TimeoutSeconds": 30, "MaxConcurrency": "1%", "MaxErrors": "100%"},
        {"InstanceIds": [I2]},
        {"Targets": [{"Key": "tag:Größe /:-@", "Values": ["b"]}]},
        {"InstanceIds": [I0], "Unknown": 1, "Comment": None},
        # As JSON each of these is longer than 64 KB: their text is what counts.
        {"InstanceIds": [I0], "Parameters": {"commands": ["\n" * 60_000]}},
        {"InstanceIds": [I0], "Parameters": {"commands": ["ü" * 30_000]}},
    ],
)
def test_requests_that_the_service_takes_are_taken(bench: Bench, request_: dict[str, Any]) -> None:
    assert "Command" in bench.call("SendCommand", **{**SHELL, **request_})
    assert bench.changes == 1


def test_every_complaint_is_told_at_once_in_the_services_words(bench: Bench) -> None:
    answer = bench.call("SendCommand", InstanceIds=[I0], TimeoutSeconds=1, Comment="x" * 101)
    assert answer["message"].startswith("3 validation errors detected: Value null at 'documentName' failed")
    constraint = "failed to satisfy constraint: Member must have value greater than or equal to 30"
    assert f"Value '1' at 'timeoutSeconds' {constraint}" in answer["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'"x"', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(bench: Bench, body: bytes) -> None:
    status, answer = bench.raw("ListCommands", body)
    assert status == "400 Bad Request"
    assert json.loads(answer)["__type"] == "SerializationException"


def test_an_unknown_region_is_refused(bench: Bench) -> None:
    assert json.loads(bench.raw("ListCommands", b"{}", "nowhere-1")[1])["__type"] == "UnrecognizedClientException"


def test_the_first_moments_know_of_nothing(bench: Bench) -> None:
    command = bench.send()
    assert bench.code("GetCommandInvocation", CommandId=command, InstanceId=I0) == "InvocationDoesNotExist"
    assert bench.call("ListCommandInvocations", CommandId=command) == {"CommandInvocations": []}
    assert bench.call("ListCommands", CommandId=command) == {"Commands": []}
    bench.now += 0.1
    got = bench.call("GetCommandInvocation", CommandId=command, InstanceId=I0)
    assert (got["Status"], got["ResponseCode"], got["StandardOutputContent"]) == ("Pending", -1, "")
    assert len(bench.call("ListCommandInvocations", CommandId=command)["CommandInvocations"]) == 1


def test_an_invocation_of_another_instance_does_not_exist(bench: Bench) -> None:
    command = bench.send()
    bench.now += 1
    assert bench.code("GetCommandInvocation", CommandId=command, InstanceId=I1) == "InvocationDoesNotExist"


@pytest.mark.parametrize(
    ("plugin", "code"), [("aws:runShellScript", ""), ("runShellScript", ""), ("aws:other", "InvalidPluginName")]
)
def test_the_plugin_can_be_named(bench: Bench, plugin: str, code: str) -> None:
    command = bench.send()
    bench.now += 1
    assert bench.code("GetCommandInvocation", CommandId=command, InstanceId=I0, PluginName=plugin) == code


def test_stderr_is_cut_at_8000_characters(bench: Bench) -> None:
    command = bench.send()
    bench.now += 1
    bench.service.tick()
    bench.service.finished(command, I0, Result("Failed", 1, "o" * 24_000, "e" * 24_000, "o", ran=True))
    got = bench.call("GetCommandInvocation", CommandId=command, InstanceId=I0)
    assert (len(got["StandardOutputContent"]), len(got["StandardErrorContent"])) == (24_000, 8_000)


def test_counters_follow_the_invocations(bench: Bench) -> None:
    command = bench.send(I0, I2, MaxErrors="1")
    bench.now += 1
    bench.service.tick()
    bench.service.finished(command, I0, Result("Failed", 1, ran=True))
    (listed,) = bench.call("ListCommands", CommandId=command)["Commands"]
    counters = ("TargetCount", "CompletedCount", "ErrorCount", "DeliveryTimedOutCount", "Status")
    assert [listed[name] for name in counters] == [2, 1, 1, 0, "InProgress"]


def test_a_delivery_that_timed_out_is_counted_by_itself(bench: Bench) -> None:
    command = bench.send(I0, I2, TimeoutSeconds=30)
    bench.now += 30 + 3600
    bench.service.tick()
    (listed,) = bench.call("ListCommands", CommandId=command)["Commands"]
    counters = ("TargetCount", "CompletedCount", "ErrorCount", "DeliveryTimedOutCount")
    assert [listed[name] for name in counters] == [2, 2, 0, 2]
    assert listed["StatusDetails"] == "DeliveryTimedOut"


@pytest.mark.parametrize("operation", ["ListCommands", "ListCommandInvocations", "DescribeInstanceInformation"])
def test_a_page_has_fifty_entries_by_default(bench: Bench, operation: str) -> None:
    for number in range(60):
        bench.managed[f"i-{number + 16:017x}"] = ManagedInstance(f"i-{number + 16:017x}")
        bench.send(I0)
    bench.now += 1
    answer = bench.call(operation)
    (page,) = [value for value in answer.values() if isinstance(value, list)]
    assert len(page) == 50
    assert answer["NextToken"]


@pytest.mark.parametrize("instance_id", ["i-12345678", "mi-0123456789abcdef0"])
def test_every_form_of_an_instance_id_is_known(bench: Bench, instance_id: str) -> None:
    assert bench.code("SendCommand", **SHELL, InstanceIds=[instance_id]) == "InvalidInstanceId"
    bench.managed[instance_id] = ManagedInstance(instance_id)
    assert bench.send(instance_id)


def test_pages_follow_each_other_and_a_token_belongs_to_its_question(bench: Bench) -> None:
    commands = [bench.send() for _ in range(5)]
    bench.now += 1
    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = bench.call("ListCommands", MaxResults=2, **token)
        seen += [each["CommandId"] for each in page["Commands"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert seen == commands[::-1]
    assert bench.code("ListCommands", MaxResults=3, **token) == "InvalidNextToken"
    assert bench.code("ListCommandInvocations", MaxResults=2, **token) == "InvalidNextToken"
    assert bench.code("ListCommands", NextToken="é") == "InvalidNextToken"


@pytest.mark.parametrize(
    ("criterion", "count"),
    [
        (("Status", "Pending"), 1),
        (("Status", "Success"), 0),
        (("ExecutionStage", "Executing"), 1),
        (("ExecutionStage", "Complete"), 0),
        (("DocumentName", "AWS-RunShellScript"), 1),
        (("InvokedAfter", "2023-11-14T00:00:00Z"), 1),
        (("InvokedAfter", "2030-01-01T00:00:00Z"), 0),
        (("InvokedBefore", "2030-01-01T00:00:00Z"), 1),
    ],
)
def test_lists_are_filtered(bench: Bench, criterion: tuple[str, str], count: int) -> None:
    bench.send()
    bench.now += 0.15
    filters = [{"key": criterion[0], "value": criterion[1]}]
    assert len(bench.call("ListCommands", Filters=filters)["Commands"]) == count
    assert len(bench.call("ListCommandInvocations", Filters=filters)["CommandInvocations"]) == count


def test_lists_can_be_of_one_instance(bench: Bench) -> None:
    bench.send(I0)
    both = bench.send(I0, I1)
    bench.now += 1
    assert [each["CommandId"] for each in bench.call("ListCommands", InstanceId=I1)["Commands"]] == [both]
    assert len(bench.call("ListCommandInvocations", InstanceId=I0)["CommandInvocations"]) == 2


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], [I0, I1]),
        ([("InstanceIds", [I1, I2])], [I1]),
        ([("PingStatus", ["Online"])], [I0]),
        ([("tag:env", ["x"]), ("tag:Name", ["a", "b"])], [I0]),
        ([("tag-key", ["Name"])], [I0]),
        ([("PlatformTypes", ["Windows"])], []),
        ([("ActivationIds", ["x"])], []),
    ],
)
def test_instances_are_found_by_filters(
    bench: Bench, filters: Sequence[tuple[str, list[str]]], expected: list[str]
) -> None:
    asked = [{"Key": key, "Values": values} for key, values in filters]
    listed = bench.call("DescribeInstanceInformation", Filters=asked)["InstanceInformationList"]
    assert [each["InstanceId"] for each in listed] == expected


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"Filters": [{"Key": "Color", "Values": ["x"]}]}, "InvalidFilterKey"),
        ({"Filters": [{"Key": "InstanceIds", "Values": [I0] * 101}]}, "ValidationException"),
        ({"MaxResults": 51}, "ValidationException"),
        ({"MaxResults": 4}, "ValidationException"),
    ],
)
def test_discovery_refuses_what_the_service_refuses(bench: Bench, request_: dict[str, Any], code: str) -> None:
    assert bench.code("DescribeInstanceInformation", **request_) == code


def test_a_body_above_a_megabyte_is_not_read(bench: Bench) -> None:
    assert bench.raw("SendCommand", b" " * (1 << 20) + b"{}")[0] == "400 Bad Request"


def test_the_answers_fit_botocores_own_description(bench: Bench) -> None:
    model = botocore.session.get_session().get_service_model("ssm")
    command = bench.send(I0, OutputS3BucketName="bucket")
    bench.now += 1
    bench.service.tick()
    bench.service.finished(command, I0, Result("Success", 0, "o", "", "o", ran=True, started=1.0, ended=2.5))
    one = {"CommandId": command}
    for operation, request in (
        ("ListCommands", one),
        ("ListCommandInvocations", one | {"Details": True}),
        ("GetCommandInvocation", one | {"InstanceId": I0}),
        ("DescribeInstanceInformation", {}),
    ):
        _, body = bench.raw(operation, json.dumps(request).encode())
        shape = model.operation_model(operation).output_shape
        parsed = create_parser("json").parse({"status_code": 200, "headers": {}, "body": body}, shape)
        assert _unknown(json.loads(body), shape) == []
        assert parsed["ResponseMetadata"]["HTTPStatusCode"] == 200


def _unknown(value: Any, shape: Any) -> list[str]:
    """Members that the model does not know."""
    if shape.type_name == "structure":
        missing = [name for name in value if name not in shape.members]
        return missing + [
            each for k, v in value.items() if k in shape.members for each in _unknown(v, shape.members[k])
        ]
    if shape.type_name == "list":
        return [each for item in value for each in _unknown(item, shape.member)]
    return []
