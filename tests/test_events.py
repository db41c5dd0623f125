"""The fold from events to a run, the exit code it earns, and the events as JSON lines."""

import json
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import pytest
from fakes import RUN_ID, failed, make_plan, make_record, succeeded
from hypothesis import given
from hypothesis import strategies as st

from ssm_deployer.errors import ExitCode
from ssm_deployer.events import (
    FORMAT,
    CancelRequested,
    Cleaned,
    Event,
    ExtractRead,
    InvocationChanged,
    Noted,
    Run,
    RunAborted,
    RunFinished,
    RunStarted,
    SendIntended,
    Sent,
    StagingFinished,
    StagingProgressed,
    apply,
    exit_status,
    from_json,
    replay,
    to_json,
)
from ssm_deployer.model import Handle, Invocation, Plan, Staged, Status, Target

STARTED = RunStarted(time=100.0, plan=make_plan("i-1", "i-2"), version="1")


def changed(target: str, status: Status, time: float = 101.0, **fields: Any) -> InvocationChanged:
    return InvocationChanged(time=time, invocation=Invocation(target=target, status=status, **fields))


def run_of(*events: Event) -> Run:
    return replay([STARTED, *events])


def sent(*targets: str, time: float = 101.0) -> Sent:
    return Sent(time=time, handle=Handle(command="c-1", targets=targets))


def ended(*invocations: Invocation) -> list[Event]:
    return [
        *(InvocationChanged(time=110.0, invocation=each) for each in invocations),
        Cleaned(time=111.0),
        RunFinished(time=112.0),
    ]


# -- the fold


def test_a_run_begins_with_every_target_pending() -> None:
    run = run_of()
    assert {key: each.status for key, each in run.invocations.items()} == dict.fromkeys(("i-1", "i-2"), Status.PENDING)
    assert (run.started, run.ended, run.open) == (100.0, None, ("i-1", "i-2"))


def test_every_event_leaves_its_trace() -> None:
    assert run_of(StagingProgressed(time=1, sent=7)).staged_bytes == 7
    staged = run_of(StagingProgressed(time=1, sent=7), StagingFinished(time=2, location="s3://b/", size=9))
    assert (staged.staged_bytes, staged.staged) == (9, True)
    assert run_of(SendIntended(time=1, targets=("i-1",))).intended == ("i-1",)
    assert run_of(SendIntended(time=1, targets=("i-1",)), sent("i-1")).intended == ()
    assert run_of(sent("i-1", time=5)).sent_at == {"i-1": 5}
    assert run_of(CancelRequested(time=1, commands=())).cancelled
    assert run_of(Noted(time=1, message="a"), Noted(time=1, message="b")).notes == ("a", "b")
    assert run_of(Cleaned(time=1, leftovers=("x",))).leftovers == ("x",)
    assert run_of(RunFinished(time=9)).ended == 9
    aborted = RunAborted(time=9, message="m")
    assert (run_of(aborted).ended, run_of(aborted).aborted) == (9, aborted)


def test_a_command_is_one_handle_however_often_it_is_told_for_further_targets() -> None:
    other = Sent(time=1, handle=Handle(command="c-2", targets=("i-1",)))
    run = run_of(sent("i-1", time=5), other, sent("i-2", "i-1", time=6))
    assert [(handle.command, handle.targets) for handle in run.handles] == [("c-1", ("i-1", "i-2")), ("c-2", ("i-1",))]
    assert run.sent_at == {"i-1": 6, "i-2": 6}


def test_folding_changes_no_earlier_run() -> None:
    before = run_of(sent("i-1"))
    copy = msgspec.structs.replace(before)
    apply(before, changed("i-1", Status.RUNNING))
    apply(before, sent("i-2"))
    assert before == copy


def test_a_status_only_moves_forward() -> None:
    run = run_of(changed("i-1", Status.RUNNING), changed("i-1", Status.SENT), changed("i-1", Status.PENDING))
    assert run.invocations["i-1"].status is Status.RUNNING
    assert apply(run, changed("i-1", Status.CANCELLING)).invocations["i-1"].status is Status.CANCELLING


def test_an_agent_may_go_away_and_come_back() -> None:
    run = run_of(changed("i-1", Status.RUNNING), changed("i-1", Status.DELAYED))
    assert run.invocations["i-1"].status is Status.DELAYED
    assert apply(run, changed("i-1", Status.RUNNING)).invocations["i-1"].status is Status.RUNNING


FINAL = [status for status in Status if status.final]


def test_the_final_statuses_are_those_from_succeeded_on() -> None:
    assert list(Status)[list(Status).index(Status.SUCCEEDED) :] == FINAL


@pytest.mark.parametrize("first", FINAL)
def test_the_first_final_status_is_final(first: Status) -> None:
    run = run_of(changed("i-1", first, time=105.0))
    for later in Status:
        assert apply(run, changed("i-1", later, time=106.0, detail="later")) == run
    assert run.ended_at == {"i-1": 105.0}
    assert run.open == ("i-2",)


@given(st.lists(st.tuples(st.sampled_from(["i-1", "i-2"]), st.sampled_from(Status)), max_size=30))
def test_whatever_comes_in_whatever_order_stages_never_go_back(steps: Sequence[tuple[str, Status]]) -> None:
    run = run_of()
    for target, status in steps:
        after = apply(run, changed(target, status))
        old, new = run.invocations[target].status, after.invocations[target].status
        assert new.stage >= old.stage
        assert new is old or not old.final
        run = after
    assert set(run.open) == {key for key, each in run.invocations.items() if not each.status.final}


def test_after_the_end_only_more_of_the_same_output_may_come() -> None:
    end = InvocationChanged(time=105, invocation=succeeded("i-1", "short", partial=True))
    run = run_of(end, ExtractRead(time=106, target="i-1", stdout="the whole", stderr="e"))
    read = run.invocations["i-1"]
    assert (read.stdout, read.stderr, read.partial) == ("the whole", "e", False)
    assert (read.status, read.record) == (Status.SUCCEEDED, end.invocation.record)
    assert run.ended_at == {"i-1": 105}


@pytest.mark.parametrize("events", [[], [RunFinished(time=1)], [Noted(time=1, message="m"), STARTED]])
def test_a_run_cannot_begin_otherwise(events: list[Event]) -> None:
    with pytest.raises(ValueError, match="begin with run-started"):
        replay(events)


# -- the exit code

GOOD, BAD = succeeded("i-1"), failed("i-2")
ABORTED = RunAborted(time=1, message="m", exit_code=ExitCode.CLOUD)
EXITS: dict[str, tuple[list[Event], int]] = {
    "all succeeded": ([*ended(GOOD, succeeded("i-2"))], 0),
    "one failed": ([*ended(GOOD, BAD)], 1),
    "nobody succeeded": ([*ended(failed("i-1"), BAD)], 1),
    "one never came to an end": ([*ended(GOOD)], 1),
    "all succeeded but the run has no end": (ended(GOOD, succeeded("i-2"))[:2], 1),
    "aborted": ([ABORTED], 3),
    "aborted after all succeeded": ([*ended(GOOD, succeeded("i-2"))[:2], ABORTED], 3),
    "aborted for no given reason": ([RunAborted(time=1, message="m")], 1),
    "cancelled": ([CancelRequested(time=1, commands=("c",)), *ended(GOOD, BAD)], 130),
    "cancelled and aborted": ([CancelRequested(time=1, commands=()), ABORTED], 130),
}


@pytest.mark.parametrize("case", EXITS, ids=lambda case: case.replace(" ", "-"))
def test_a_run_earns_its_exit_code(case: str) -> None:
    events, code = EXITS[case]
    assert exit_status(run_of(*events)) == code


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.SUCCEEDED])
def test_no_status_but_succeeded_is_a_success(status: Status) -> None:
    run = run_of(*ended(GOOD), changed("i-2", status), RunFinished(time=9))
    assert exit_status(run) == ExitCode.TARGET_FAILED


# -- JSON

WHOLE_PLAN = Plan(
    run_id=RUN_ID, regions=("eu-west-1",), script="ü s.sh", files="files", file_count=2, file_bytes=3, wave=2,
    max_failures=0, argument_count=1, variable_count=2, run_as="u", timeout=300, notes=("n",),
    left_out=(Target(id="i-3", state="stopped", reason="no agent"),),
    targets=(Target(id="i-1", name="näme\n", state="running", platform="Debian", via="ssm"),),
)  # fmt: skip
EXAMPLES: list[Event] = [
    RunStarted(time=1.5, plan=WHOLE_PLAN, version="0.1"),
    StagingProgressed(time=2, sent=2**40),
    StagingFinished(time=3, location="s3://b/p/", size=5, digest="d"),
    SendIntended(time=4, targets=("i-1", "i-2")),
    Sent(time=5, handle=Handle(command="c", targets=("i-1",))),
    InvocationChanged(
        time=6,
        invocation=Invocation(
            target="i-1", status=Status.TIMED_OUT, word="Failed", detail="d", command="c", record=make_record(3),
            stdout="\x00\x1b[31m\u2028\ufffd\n", stderr="e", partial=True,
        ),
    ),
    ExtractRead(time=7, target="i-1", stdout="", stderr="e"),
    CancelRequested(time=8, commands=("c",)),
    Noted(time=9, message="two\nlines"),
    Cleaned(time=10, leftovers=("l",)),
    RunFinished(time=11),
    RunAborted(time=12, message="m", hint="h", exit_code=3),
]  # fmt: skip


def test_there_is_an_example_of_every_event() -> None:
    assert {type(each) for each in EXAMPLES} == set(get_args(Event))


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_is_one_line_of_json_and_reads_back_as_it_was(event: Event) -> None:
    line = to_json(event)
    assert len(line.splitlines()) == 1
    assert from_json(line) == event
    assert json.loads(line)["time"] == event.time


def test_the_words_of_the_format_stay_as_they_are() -> None:
    assert [json.loads(to_json(event))["type"] for event in EXAMPLES] == [
        "run-started", "staging-progressed", "staging-finished", "send-intended", "sent", "invocation-changed",
        "extract-read", "cancel-requested", "noted", "cleaned", "run-finished", "run-aborted",
    ]  # fmt: skip
    assert [str(status) for status in Status] == [
        "pending", "sent", "running", "delayed", "cancelling", "succeeded", "failed", "timed out", "refused",
        "cancelled", "skipped", "unreached", "unknown",
    ]  # fmt: skip


def test_the_first_event_carries_the_formats_version() -> None:
    assert json.loads(to_json(STARTED))["format"] == FORMAT


def test_a_replay_of_the_lines_is_the_same_run() -> None:
    events = [STARTED, sent("i-1", "i-2"), *ended(GOOD, BAD)]
    assert replay(from_json(to_json(event)) for event in events) == replay(events)


def test_fields_of_a_later_version_are_skipped() -> None:
    assert from_json(b'{"type":"noted","time":1,"message":"m","mood":"good"}') == Noted(time=1, message="m")


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'{"type":"noted"}', b'{"type":"new","time":1}', b'{"time":1}', b'{"type":"noted",'],
)
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        from_json(line)


def _fields(kind: type) -> set[str]:
    """The names of all fields below a struct."""
    names = set()
    for field in msgspec.structs.fields(kind):
        names.add(field.name)
        for part in (field.type, *get_args(field.type)):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                names |= _fields(part)
    return names


def test_no_event_has_room_for_a_secret() -> None:
    shown = set().union(*(_fields(kind) for kind in get_args(Event)))
    assert {"stdout", "run_id", "signal", "targets"} <= shown  # the walk reaches the parts
    # The payload holds bearer URLs; arguments and values of the environment may hold anything.
    assert not shown & {"payload", "staged", "arguments", "environment", "env", "inputs", "url", "content", "hint_url"}
    assert not any(
        isinstance(field.type, type) and issubclass(field.type, Staged)
        for kind in get_args(Event)
        for field in msgspec.structs.fields(kind)
    )
