"""The SSM backend's requests, parameter by parameter, and what it makes of the answers. No service is behind these."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from botocore.stub import ANY, Stubber
from fakes import RUN_ID, make_record
from stubbed import Stubbed

from ssm_deployer import result
from ssm_deployer.backends.content import Content, Limits
from ssm_deployer.backends.ssm import SsmBackend
from ssm_deployer.errors import Ambiguous, BadTarget, Declined
from ssm_deployer.model import Handle, Staged, Status, Target
from ssm_deployer.staging import Staging

IDS = ("i-00000000000000001", "i-00000000000000002")
TARGETS = [Target(id=key, region="eu-west-1", via="ssm") for key in IDS]
COMMAND = "00000000-0000-4000-8000-000000000001"
LIMITS = Limits(script=300, fetch=60, delivery=600, grace=10)
HANDLE = Handle(command=COMMAND, region="eu-west-1", targets=IDS, deadline=LIMITS.total)
STAGED = Staged(location="s3://bucket/folder/", size=1)
LISTED = {"CommandId": COMMAND, "Details": True, "MaxResults": 50}


@pytest.fixture(scope="module")
def aws() -> Stubbed:
    return Stubbed("ec2", "ssm", "s3")


@pytest.fixture
def backend(aws: Stubbed) -> SsmBackend:
    aws.attempts.clear()
    return SsmBackend([aws], Staging(aws.clients["s3"], "bucket", "folder"), RUN_ID, Content(script=b"x"), LIMITS)


@pytest.fixture
def ssm(aws: Stubbed) -> Iterator[Stubber]:
    with Stubber(aws.clients["ssm"]) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def listed(target: str, word: str, output: str) -> dict[str, Any]:
    return {"InstanceId": target, "StatusDetails": word, "CommandPlugins": [{"Output": output}]}


def line(code: int = 0) -> str:
    return f"{result.MARK}{msgspec.json.encode(make_record(code)).decode()}\n"


# -- start


def test_a_command_is_sent_once_with_every_limit_set_on_purpose(
    backend: SsmBackend, ssm: Stubber, aws: Stubbed
) -> None:
    ssm.add_response(
        "send_command",
        {"Command": {"CommandId": COMMAND}},
        {
            "InstanceIds": list(IDS),
            "DocumentName": "AWS-RunShellScript",
            "Comment": f"ssm-deploy {RUN_ID}",
            "TimeoutSeconds": 600,
            "MaxConcurrency": "50",
            "MaxErrors": "100%",
            "Parameters": {"commands": [ANY], "executionTimeout": ["400"]},
        },
    )
    assert backend.start(TARGETS, STAGED) == HANDLE
    assert ("ssm", 1) in aws.attempts


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 400, Declined),
        ("InvalidInstanceId", 400, BadTarget),
        ("InternalServerError", 500, Ambiguous),
    ],
)
def test_a_refused_command_says_whether_it_may_be_sent_again(
    backend: SsmBackend, ssm: Stubber, code: str, status: int, kind: type[Exception]
) -> None:
    ssm.add_client_error("send_command", code, http_status_code=status)
    with pytest.raises(kind):
        backend.start(TARGETS, STAGED)


class Lending(Staging):
    """Tells which loan a URL comes from."""

    loans = 0

    def lend(self, name: str, seconds: int) -> str:  # noqa: ARG002 - as Staging has it
        self.loans += 1
        return f"https://bucket.example/{name}?loan={self.loans}"


def test_every_command_gets_urls_that_are_signed_for_it_since_waves_may_take_longer_than_those_last(
    aws: Stubbed, ssm: Stubber
) -> None:
    sent: list[str] = []
    events = aws.clients["ssm"].meta.events
    note = lambda params, **_: sent.append(params["Parameters"]["commands"][0])  # noqa: E731 - to take it off again
    staging = Lending(aws.clients["s3"], "bucket", "folder")
    backend = SsmBackend([aws], staging, RUN_ID, Content(script=b"x"), LIMITS)
    events.register("provide-client-params.ssm.SendCommand", note)
    for _ in range(2):
        ssm.add_response("send_command", {"Command": {"CommandId": COMMAND}})
        backend.start(TARGETS, STAGED)
    events.unregister("provide-client-params.ssm.SendCommand", note)
    assert [f"'loan={number}'" in text for number, text in enumerate(sent, 1)] == [True, True]


def test_a_comment_has_room_for_the_run_id(backend: SsmBackend) -> None:
    assert len(backend._comment) <= 100


# -- find


def test_commands_are_found_by_their_comment_each_with_those_of_the_targets_that_it_has(
    backend: SsmBackend, ssm: Stubber
) -> None:
    comment = f"ssm-deploy {RUN_ID}"
    commands = [
        {"CommandId": COMMAND[:-1] + "7", "Comment": "somebody's", "InstanceIds": list(IDS)},
        {"CommandId": COMMAND[:-1] + "8", "Comment": comment, "InstanceIds": [IDS[0]]},
        {"CommandId": COMMAND[:-1] + "9", "InstanceIds": list(IDS)},
        {"CommandId": COMMAND, "Comment": comment, "InstanceIds": list(reversed(IDS))},
    ]
    ssm.add_response("list_commands", {"Commands": commands[:2], "NextToken": "more"}, {})
    ssm.add_response("list_commands", {"Commands": commands[2:]}, {"NextToken": "more"})
    assert list(backend.find(TARGETS)) == [
        msgspec.structs.replace(HANDLE, command=COMMAND[:-1] + "8", targets=IDS[:1]),
        HANDLE,
    ]


# -- observe


def test_a_look_reads_every_page_and_makes_no_call_per_target(backend: SsmBackend, ssm: Stubber) -> None:
    first = listed(IDS[0], "Success", line() + "hello\n")
    second = listed(IDS[1], "Failed", line(3) + "\n----------ERROR-------\nboomfailed to run commands: exit status 3")
    ssm.add_response("list_command_invocations", {"CommandInvocations": [first], "NextToken": "more"}, LISTED)
    ssm.add_response("list_command_invocations", {"CommandInvocations": [second]}, LISTED | {"NextToken": "more"})
    good, bad = backend.observe(HANDLE)
    assert (good.target, good.status, good.stdout, good.command) == (IDS[0], Status.SUCCEEDED, "hello\n", COMMAND)
    assert (bad.target, bad.status, bad.stderr) == (IDS[1], Status.FAILED, "boom")


def test_a_first_look_may_be_empty_and_other_targets_are_nobodys_business(backend: SsmBackend, ssm: Stubber) -> None:
    ssm.add_response("list_command_invocations", {"CommandInvocations": []}, LISTED)
    ssm.add_response("list_commands", {"Commands": [{"StatusDetails": "Pending"}]}, {"CommandId": COMMAND})
    assert list(backend.observe(HANDLE)) == []
    stranger = listed("i-00000000000000009", "Success", line())
    ssm.add_response("list_command_invocations", {"CommandInvocations": [stranger]}, LISTED)
    assert list(backend.observe(HANDLE)) == []


@pytest.mark.parametrize("word", ["RateExceeded", "LimitExceeded", "NoInstancesInTag"])
def test_a_command_that_was_refused_as_a_whole_ran_nowhere(backend: SsmBackend, ssm: Stubber, word: str) -> None:
    ssm.add_response("list_command_invocations", {"CommandInvocations": []}, LISTED)
    ssm.add_response("list_commands", {"Commands": [{"StatusDetails": word}]}, {"CommandId": COMMAND})
    seen = backend.observe(HANDLE)
    assert [(each.target, each.status, each.word) for each in seen] == [(key, Status.SKIPPED, word) for key in IDS]
    assert all(each.detail for each in seen)


def test_an_end_without_a_record_is_told_as_such_without_a_further_call(backend: SsmBackend, ssm: Stubber) -> None:
    ssm.add_response("list_command_invocations", {"CommandInvocations": [listed(IDS[0], "Success", "odd")]}, LISTED)
    [seen] = backend.observe(HANDLE)
    assert (seen.status, seen.record) == (Status.UNKNOWN, None)


def test_an_entry_without_details_is_judged_by_its_status(backend: SsmBackend, ssm: Stubber) -> None:
    entry = {"InstanceId": IDS[0], "Status": "InProgress"}
    ssm.add_response("list_command_invocations", {"CommandInvocations": [entry]}, LISTED)
    assert [each.status for each in backend.observe(HANDLE)] == [Status.RUNNING]


# -- read, cancel, lost


def test_the_whole_extract_comes_without_the_record_and_the_agents_sentence(backend: SsmBackend, ssm: Stubber) -> None:
    answer = {
        "StandardOutputContent": line(3) + "all of it",
        "StandardErrorContent": "boomfailed to run commands: exit status 3",
    }
    ssm.add_response("get_command_invocation", answer, {"CommandId": COMMAND, "InstanceId": IDS[0]})
    assert backend.read(HANDLE, IDS[0]) == ("all of it", "boom")


def test_an_output_that_is_not_there_yet_does_not_replace_what_was_seen(backend: SsmBackend, ssm: Stubber) -> None:
    ssm.add_response("get_command_invocation", {"StandardOutputContent": "", "StandardErrorContent": ""})
    assert backend.read(HANDLE, IDS[0]) is None


def test_a_command_is_cancelled_by_its_id(backend: SsmBackend, ssm: Stubber) -> None:
    ssm.add_response("cancel_command", {}, {"CommandId": COMMAND})
    backend.cancel(HANDLE)


def test_instances_that_are_gone_are_told_and_hybrid_nodes_are_not_asked_about(
    backend: SsmBackend, aws: Stubbed
) -> None:
    ids = ["i-1", "i-2", "i-3", "i-4"]
    states = {"i-1": "running", "i-2": "terminated", "i-3": "stopped"}
    reservations = [{"Instances": [{"InstanceId": key, "State": {"Name": state}} for key, state in states.items()]}]
    with Stubber(aws.clients["ec2"]) as ec2:
        asked = {"Filters": [{"Name": "instance-id", "Values": ids}]}
        ec2.add_response("describe_instances", {"Reservations": reservations}, asked)
        assert dict(backend.lost([Target(id=key, region="eu-west-1") for key in [*ids, "mi-5"]])) == {
            "i-2": "the instance is terminated; no verdict was seen",
            "i-4": "the instance is gone; no verdict was seen",
        }
