"""What is told of a run that ends before its targets do."""

import pytest
from fakes import RUN_ID, make_plan, succeeded
from msgspec.structs import replace

from ssm_deployer.events import (
    CancelRequested,
    Cleaned,
    Event,
    InvocationChanged,
    Run,
    RunAborted,
    RunStarted,
    SendIntended,
    Sent,
    StagingFinished,
    replay,
)
from ssm_deployer.model import Handle, Invocation, Plan, Status, Target
from ssm_deployer.views.leaving import aftermath, left_at_once

WEB = Target(id="ssh:web1", via="ssh", address="web1")
DB = Target(id="ssh:db1", via="ssh", address="db1")
SHOW = "  aws ssm list-command-invocations --region eu-west-1 --command-id c-1"
STOP = "  aws ssm cancel-command --region eu-west-1 --command-id c-1"
COMMENT = f"  a request had no answer; its Comment would be: ssm-deploy {RUN_ID}"
ABORTED = RunAborted(time=9, message="the network is gone", hint="run again", exit_code=3)


def plan(*, staging: str = "", ssh: tuple[Target, ...] = (WEB, DB), ssm: tuple[str, ...] = ("i-1",)) -> Plan:
    made = make_plan(*ssm)
    return replace(made, targets=(*made.targets, *ssh), staging=staging)


def by_ssm() -> list[Event]:
    return [
        SendIntended(time=1, targets=("i-1",)),
        Sent(time=2, handle=Handle(command="c-1", region="eu-west-1", targets=("i-1",))),
    ]


def by_ssh(*targets: str) -> list[Event]:
    return [
        SendIntended(time=1, targets=targets),
        Sent(time=2, handle=Handle(command="r-1", via="ssh", targets=targets)),
    ]


def run_of(plan: Plan, *events: Event) -> Run:
    return replay([RunStarted(time=0, plan=plan, version="1"), StagingFinished(time=1, location="", size=1), *events])


def change(invocation: Invocation) -> Event:
    return InvocationChanged(time=3, invocation=invocation)


CANCELLED = CancelRequested(time=3, commands=("r-1",))
UNKNOWN = Invocation(target="ssh:web1", status=Status.UNKNOWN)


# -- who leaves at once


def test_who_leaves_ssm_is_told_what_shows_and_stops_the_command_and_what_is_left_in_s3() -> None:
    run = run_of(plan(staging="s3://b/r/", ssh=()), *by_ssm())
    assert list(left_at_once(run, "aws")) == [
        "left at once: 1 of 1 target may still run the script",
        SHOW,
        STOP,
        "  left in S3: aws s3 rm --recursive s3://b/r/",
    ]


@pytest.mark.parametrize("leftovers", [(), ("an object",)])
def test_who_leaves_when_all_was_cleaned_is_told_of_s3_only_if_something_is_left(leftovers: tuple[str, ...]) -> None:
    cleaned = Cleaned(time=5, leftovers=leftovers)
    told = list(left_at_once(run_of(plan(staging="s3://b/r/"), *by_ssm(), change(succeeded("i-1")), cleaned), "aws"))
    assert ("  left in S3: aws s3 rm --recursive s3://b/r/" in told) == bool(leftovers)


def test_who_leaves_ssh_is_told_that_the_script_runs_on_and_of_no_command_of_aws() -> None:
    run = run_of(plan(ssm=()), *by_ssh("ssh:web1", "ssh:db1"), change(succeeded("ssh:db1")))
    assert list(left_at_once(run, "aws")) == [
        "left at once: 1 of 2 targets may still run the script",
        "  by SSH: the script may run on to its end on 1 target, and nobody hears how it ends",
    ]


def test_who_leaves_ssh_a_second_time_is_told_who_was_asked_to_stop_and_who_may_run_on() -> None:
    stopping = Invocation(target="ssh:web1", status=Status.CANCELLING)
    told = left_at_once(run_of(plan(ssm=()), *by_ssh("ssh:web1", "ssh:db1"), CANCELLED, change(stopping)), "aws")
    assert list(told) == [
        "left at once: 2 of 2 targets may still run the script",
        "  by SSH: the script was asked to stop on 1 target, and nobody hears how it ends",
        "  by SSH: the script may run on to its end on 1 target, and nobody hears how it ends",
    ]


def test_who_leaves_is_told_also_of_targets_that_are_no_longer_followed_and_of_no_command_that_has_ended() -> None:
    second = Sent(time=4, handle=Handle(command="c-2", region="eu-west-1", targets=("i-2",)))
    lost = Invocation(target="i-1", status=Status.UNKNOWN)
    run = run_of(plan(ssm=("i-1", "i-2"), ssh=()), *by_ssm(), second, change(lost), change(succeeded("i-2")))
    assert list(left_at_once(run, "aws")) == ["left at once: 1 of 2 targets may still run the script", SHOW, STOP]


def test_who_leaves_both_is_told_of_both() -> None:
    run = run_of(plan(), *by_ssm(), *by_ssh("ssh:web1", "ssh:db1"))
    assert list(left_at_once(run, "aws")) == [
        "left at once: 3 of 3 targets may still run the script",
        SHOW,
        STOP,
        "  by SSH: the script may run on to its end on 2 targets, and nobody hears how it ends",
    ]


def test_a_request_without_an_answer_has_a_comment_at_ssm_alone() -> None:
    assert COMMENT in list(left_at_once(run_of(plan(), SendIntended(time=1, targets=("i-1",))), "aws"))
    told = list(left_at_once(run_of(plan(), SendIntended(time=1, targets=("ssh:web1",))), "aws"))
    assert COMMENT not in told
    assert told[1:] == ["  by SSH: the script may run on to its end on 1 target, and nobody hears how it ends"]


def test_who_leaves_before_anything_was_sent_is_told_of_nothing_that_runs() -> None:
    assert list(left_at_once(run_of(plan()), "aws")) == ["left at once: 0 of 3 targets may still run the script"]


def test_a_rehearsal_leaves_nothing() -> None:
    assert list(left_at_once(run_of(plan(), *by_ssm()), "")) == ["left at once; the sandbox ends with this"]


# -- who is left


def test_after_an_end_before_anything_was_sent_the_usual_remedy_holds() -> None:
    assert list(aftermath(run_of(plan(), ABORTED), "aws")) == ["  try: run again"]
    assert not list(aftermath(run_of(plan(), replace(ABORTED, hint="")), "aws"))
    assert not list(aftermath(run_of(plan()), "aws"))


def test_after_an_end_in_the_middle_it_is_told_how_to_find_out() -> None:
    run = run_of(plan(), *by_ssm(), ABORTED)
    shows = "  try: first find out what became of it; this shows and that stops what still runs:"
    assert list(aftermath(run, "aws")) == [shows, SHOW, STOP]
    assert list(aftermath(run, "")) == ["  try: run again"]


def test_after_an_end_with_a_request_in_doubt_it_is_told_what_to_look_for() -> None:
    doubtful = change(Invocation(target="i-1", status=Status.UNKNOWN))
    assert list(aftermath(run_of(plan(), SendIntended(time=1, targets=("i-1",)), doubtful, ABORTED), "aws")) == [
        "  try: first find out what became of it, and run again only then",
        COMMENT,
    ]


def test_after_an_end_whose_last_request_was_refused_nothing_is_looked_for_in_vain() -> None:
    refused = [SendIntended(time=3, targets=("i-2",)), change(Invocation(target="i-2", status=Status.SKIPPED))]
    lost = change(Invocation(target="i-1", status=Status.UNKNOWN))
    told = list(aftermath(run_of(plan(ssm=("i-1", "i-2")), *by_ssm(), *refused, lost, ABORTED), "aws"))
    assert told[1:] == [SHOW, STOP]


def test_after_a_run_that_did_not_see_every_end_it_is_told_how_to_find_out() -> None:
    told = list(aftermath(run_of(plan(), *by_ssm(), change(replace(UNKNOWN, target="i-1"))), "aws"))
    assert told[1:] == [SHOW, STOP]


def test_after_an_end_in_the_middle_of_ssh_it_is_told_that_the_script_runs_on() -> None:
    ended = (change(UNKNOWN), change(succeeded("ssh:db1")))
    assert list(aftermath(run_of(plan(ssm=()), *by_ssh("ssh:web1", "ssh:db1"), *ended, ABORTED), "aws")) == [
        "  try: first find out what became of it, and run again only then",
        "  by SSH: the script may run on to its end on 1 target, and nobody hears how it ends",
    ]
