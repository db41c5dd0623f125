"""What SSM's words mean for a target, with and without the record that the target printed itself."""

from typing import Any

import msgspec
import pytest
from fakes import RUN_ID, make_record
from hypothesis import given
from hypothesis import strategies as st

from ssm_deployer import result
from ssm_deployer.backends.verdict import STATUSES, split_list_output, verdict, without_agents_sentence
from ssm_deployer.model import Invocation, Status
from ssm_deployer.payload import REFUSALS
from ssm_deployer.sandbox import output as agent

OPEN = {
    "Pending": Status.SENT,
    "InProgress": Status.RUNNING,
    "Delayed": Status.DELAYED,
    "Cancelling": Status.CANCELLING,
}
WITHOUT_RECORD = {
    "Success": Status.UNKNOWN,
    "Failed": Status.UNKNOWN,
    "ExecutionTimedOut": Status.UNKNOWN,
    "DeliveryTimedOut": Status.UNKNOWN,
    "Cancelled": Status.CANCELLED,
    "Terminated": Status.SKIPPED,
    "Undeliverable": Status.UNREACHED,
    "InvalidPlatform": Status.UNREACHED,
    "AccessDenied": Status.UNREACHED,
}


def line(code: int = 0, **changes: Any) -> str:
    record = msgspec.structs.replace(make_record(code), **changes)
    return f"{result.MARK}{msgspec.json.encode(record).decode()}\n"


def judge(word: str, stdout: str = "", stderr: str = "") -> Invocation:
    raw = Invocation(target="i-1", word=word, command="c", stdout=stdout, stderr=stderr, partial=True)
    return verdict(raw, RUN_ID)


def test_every_word_of_an_invocation_has_a_meaning() -> None:
    assert set(STATUSES) == {*OPEN, *WITHOUT_RECORD, "TimedOut"}


@pytest.mark.parametrize("word", OPEN)
def test_an_open_word_is_an_open_status_whatever_was_printed_so_far(word: str) -> None:
    for stdout in ("", "half of", line() + "hello\n"):
        judged = judge(word, stdout)
        assert judged.status is OPEN[word]
        assert not judged.status.final
        assert (judged.target, judged.word, judged.command) == ("i-1", word, "c")
        assert (judged.record, judged.stdout, judged.stderr) == (None, "", "")


@pytest.mark.parametrize("word", WITHOUT_RECORD)
def test_without_a_record_no_word_of_the_service_is_a_success(word: str) -> None:
    judged = judge(word, "hello\n", "boom\n")
    assert judged.status is WITHOUT_RECORD[word]
    assert judged.status is not Status.SUCCEEDED
    assert judged.record is None
    assert (judged.stdout, judged.stderr, judged.partial) == ("hello\n", "boom\n", True)
    assert judged.detail or word == "Cancelled"


@pytest.mark.parametrize("word", WITHOUT_RECORD)
@pytest.mark.parametrize(("code", "status"), [(0, Status.SUCCEEDED), (3, Status.FAILED)])
def test_with_a_record_the_record_alone_counts(word: str, code: int, status: Status) -> None:
    judged = judge(word, line(code) + "hello\n", "boom\n")
    assert judged.status is status
    assert judged.detail == ("" if code == 0 else "exit 3")
    assert judged.record == make_record(code)
    assert (judged.word, judged.stdout, judged.stderr) == (word, "hello\n", "boom\n")


def test_words_are_known_with_spaces_too() -> None:
    assert judge("Delivery Timed Out").status is judge("DeliveryTimedOut").status
    assert judge("In Progress").status is Status.RUNNING


@pytest.mark.parametrize("word", ["Hibernating", "", "success", "Incomplete", "RateExceeded"])
def test_a_word_that_aws_has_added_since_is_no_end_and_survives(word: str) -> None:
    judged = judge(word, line() + "hello\n")
    assert not judged.status.final
    assert (judged.word, judged.detail) == (word, f"SSM says {word}")


@pytest.mark.parametrize(
    "stdout",
    [
        line(run="20260101T000000Z-ffffffff") + "x",
        line(format=2) + "x",
        line().rstrip("\n"),
        line()[:40] + "\n",
        "x\n" + line(),
        "x",
        "",
    ],
    ids=["another run", "another format", "no line end", "half a line", "not first", "none", "nothing"],
)
def test_what_is_no_whole_record_of_this_run_stays_output_and_claims_nothing(stdout: str) -> None:
    judged = judge("Success", stdout)
    assert (judged.status, judged.record, judged.stdout) == (Status.UNKNOWN, None, stdout)


# -- what the record says

ENDINGS = [
    ({"code": 1}, Status.FAILED, "exit 1"),
    ({"code": 194}, Status.FAILED, "exit 194"),
    ({"code": 137}, Status.FAILED, "exit 137"),
    ({"outcome": "signalled", "code": 137, "signal": 9}, Status.FAILED, "killed by SIGKILL"),
    ({"outcome": "signalled", "code": 192, "signal": 64}, Status.FAILED, "killed by SIGRTMAX"),
    ({"outcome": "signalled", "code": 255, "signal": 127}, Status.FAILED, "killed by signal 127"),
    ({"code": 194, "detail": "no reboot"}, Status.FAILED, "exit 194; no reboot"),
    ({"code": 0, "detail": "the disk is full"}, Status.SUCCEEDED, "the disk is full"),
    ({"outcome": "timed-out", "script_seconds": 5}, Status.TIMED_OUT, "stopped after 5 s (exit 0)"),
    ({"outcome": "cancelled", "code": 143, "signal": 15}, Status.CANCELLED, "killed by SIGTERM"),
    ({"outcome": "cancelled", "code": 0, "detail": "the disk is full"}, Status.CANCELLED, "exit 0; the disk is full"),
    (
        {"outcome": "timed-out", "code": 143, "signal": 15, "script_seconds": 5},
        Status.TIMED_OUT,
        "stopped after 5 s (killed by SIGTERM)",
    ),
]


@pytest.mark.parametrize(("changes", "status", "detail"), ENDINGS)
def test_an_ending_is_told_truthfully(changes: dict[str, Any], status: Status, detail: str) -> None:
    judged = judge("Success", line(**changes))
    assert (judged.status, judged.detail) == (status, detail)


@pytest.mark.parametrize("word", sorted(REFUSALS))
def test_a_refusal_says_why_and_what_to_do(word: str) -> None:
    judged = judge("Failed", line(70, outcome="refused", error=word, detail="HTTP 403"))
    assert judged.status is Status.REFUSED
    for part in (REFUSALS[word].message, "HTTP 403", REFUSALS[word].remedy):
        assert part in judged.detail


def test_a_refusal_that_a_later_payload_knows_is_shown_as_it_stands() -> None:
    judged = judge("Failed", line(99, outcome="refused", error="no-luck", detail="today"))
    assert (judged.status, judged.detail) == (Status.REFUSED, "no-luck: today")


# -- the agent's sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "exit status 3",
        "exit status -1",
        "exit status 255",
        "signal: killed",
        "signal: terminated",
        "signal: segmentation fault (core dumped)",
        "signal: trace/breakpoint trap",
        "signal: user defined signal 1",
    ],
)
def test_what_the_agent_appends_to_stderr_is_taken_away(sentence: str) -> None:
    appended = f"boom\nno newline herefailed to run commands: {sentence}"
    assert without_agents_sentence(appended) == "boom\nno newline here"
    assert judge("Failed", line(3), appended).stderr == "boom\nno newline here"


@pytest.mark.parametrize(
    "stderr",
    [
        "failed to run commands: exit status 3\n",
        "failed to run commands: exit status 3 said the script",
        "failed to run commands: fork/exec /usr/bin/sh: no such file or directory",
        "exit status 3",
    ],
)
def test_what_the_script_or_the_system_said_stays(stderr: str) -> None:
    assert without_agents_sentence(stderr) == stderr


# -- the output of list pages


@given(st.text("ab\n-é", max_size=60), st.text("ab\n-é", max_size=60))
def test_both_streams_come_apart_as_the_agent_put_them_together(stdout: str, stderr: str) -> None:
    assert split_list_output(agent.short(stdout.encode(), stderr.encode())) == (stdout, stderr, False)


@pytest.mark.parametrize(
    ("stdout", "stderr"),
    [(5000, 0), (5000, 100), (100, 5000), (5000, 5000), (2500, 1), (1, 2500), (2500, 0)],
)
def test_what_the_agent_has_cut_is_known_as_cut(stdout: int, stderr: int) -> None:
    out, err, cut = split_list_output(agent.short(b"o" * stdout, b"e" * stderr))
    assert cut
    assert set(out) <= {"o"}
    assert set(err) <= {"e"}
    assert bool(err) == bool(stderr)


def test_the_agents_marks_in_a_scripts_own_output_make_it_be_read_in_full() -> None:
    for own in (agent.OUTPUT_CUT, agent.ERROR_CUT, f"a{agent.ERROR_TITLE}b"):
        assert split_list_output(agent.short(f"x{own}y".encode(), b"err"))[2]
        assert split_list_output(agent.short(b"out", f"x{own}y".encode()))[2]


def test_nothing_comes_apart_as_nothing() -> None:
    assert split_list_output("") == ("", "", False)


@pytest.mark.parametrize("stdout", ["out1\n----------ERROR-------\nout2\n", "whole\n"])
def test_extracts_of_another_size_than_the_record_says_are_read_again(stdout: str) -> None:
    record = msgspec.structs.replace(make_record(0), stdout_bytes=len(stdout), stderr_bytes=0)
    line = f"{result.MARK}{msgspec.json.encode(record).decode()}\n"
    head, tail, cut = split_list_output(line + stdout)
    assert not cut
    raw = Invocation(target="i-1", word="Success", stdout=head, stderr=tail)
    assert verdict(raw, RUN_ID).partial == (stdout != "whole\n")


def test_a_refusal_after_a_reboot_says_that_the_script_had_run_before() -> None:
    judged = judge("Failed", line(outcome="refused", error="download", detail="HTTP 403", code=71, resumed=1))
    assert judged.status is Status.REFUSED
    assert judged.detail.startswith("after the reboot that the script asked for: the download failed")
