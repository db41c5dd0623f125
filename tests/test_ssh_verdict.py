"""What is made of what a connection showed."""

import pytest
from fakes import RUN_ID
from sights import DENIED, LOGGED_IN, judged

from ssm_deployer import result
from ssm_deployer.backends.ssh_verdict import Sight, passing
from ssm_deployer.model import Status

RECORD = f'{result.MARK}{{"format":1,"run":"{RUN_ID}","outcome":"exited","code":%s,"signal":0,"started":1,"ended":2}}\n'
# -- the target's own record


def test_a_record_says_success_and_what_follows_it_is_the_output() -> None:
    seen = judged("running", stdout=RECORD % 0 + "hello\n", stderr="warning\n", log=LOGGED_IN)
    assert (seen.status, seen.stdout, seen.stderr) == (Status.SUCCEEDED, "hello\n", "warning\n")
    assert seen.record is not None
    assert seen.command == "the command"


def test_a_record_counts_whatever_became_of_the_connection_after_it() -> None:
    seen = judged("running", stdout=RECORD % 3, exit_code=255, log=LOGGED_IN + "client_loop: send disconnect\r\n")
    assert (seen.status, seen.detail) == (Status.FAILED, "exit 3")


def test_a_record_of_before_the_greeting_is_none() -> None:
    assert judged("connecting", stdout=RECORD % 0, log=LOGGED_IN).status is Status.UNREACHED


def test_a_record_of_another_run_is_none() -> None:
    other = (RECORD % 0).replace(RUN_ID, "20250101T000000Z-ffffffff")
    assert judged("running", stdout=other, log=LOGGED_IN).status is Status.UNKNOWN


@pytest.mark.parametrize("code", [0, 1, 255, -9])
def test_no_exit_code_of_ssh_is_ever_taken_for_the_scripts(code: int) -> None:
    seen = judged("running", exit_code=code, log=LOGGED_IN)
    assert seen.status is Status.UNKNOWN
    assert "may have run" in seen.detail


def test_something_else_is_quoted() -> None:
    assert "a new sentence" in judged(log="debug1: noise\r\na new sentence\r\n", exit_code=255).detail


# -- the session


def test_a_slow_login_is_told_from_no_answer() -> None:
    assert judged(overdue=45, exit_code=-9, log=LOGGED_IN).word == "SlowLogin"
    assert judged(overdue=45, exit_code=-9).word == "TimedOut"


def test_a_connection_that_ends_amid_the_files_has_run_nothing() -> None:
    seen = judged("sending", exit_code=255, log=LOGGED_IN + "Connection to web1 closed by remote host.\r\n")
    assert (seen.word, seen.status) == ("CutOff", Status.UNREACHED)
    assert "closed by remote host" in seen.detail


def test_a_payload_that_ends_amid_the_files_by_itself_is_told_from_a_lost_connection() -> None:
    seen = judged("sending", exit_code=2, log=LOGGED_IN, stderr="/bin/sh: 5: Cannot fork\n")
    assert (seen.word, seen.status) == ("CutOff", Status.UNREACHED)
    assert seen.detail.startswith("the payload ended before it had all of the files")


def test_files_that_take_too_long_have_run_nothing() -> None:
    seen = judged("sending", overdue=60, exit_code=-9, log=LOGGED_IN)
    assert (seen.word, seen.status) == ("SlowTransfer", Status.UNREACHED)


def test_a_refusal_of_the_target_itself_is_its_record_even_amid_the_files() -> None:
    refused = (RECORD % 75).replace('"exited"', '"refused"').replace('"ended":2', '"ended":2,"error":"no-place"')
    seen = judged("sending", stdout=refused, exit_code=75, log=LOGGED_IN)
    assert seen.status is Status.REFUSED


# -- once all is on its way


def test_a_lost_connection_says_what_ssh_said_last_and_claims_nothing() -> None:
    seen = judged("running", exit_code=255, log=LOGGED_IN + "Timeout, server web1 not responding.\r\n")
    assert (seen.word, seen.status) == ("Disconnected", Status.UNKNOWN)
    assert "Timeout, server web1 not responding." in seen.detail


def test_what_is_cancelled_before_the_files_are_there_was_not_run() -> None:
    assert judged("sending", cancelled=True, exit_code=-9, log=LOGGED_IN).status is Status.CANCELLED
    assert judged("connecting", cancelled=True, exit_code=-9).status is Status.CANCELLED


def test_what_is_cancelled_later_is_cancelled_only_if_the_target_says_so() -> None:
    assert judged("running", cancelled=True, exit_code=255, log=LOGGED_IN).status is Status.UNKNOWN


# -- another try


def test_only_what_began_nothing_and_may_pass_is_worth_another_try() -> None:
    busy = "kex_exchange_identification: Connection closed by remote host\r\n"
    assert passing(Sight(phase="connecting", log=busy))
    assert not passing(Sight(phase="connecting", log=busy, cancelled=True))
    assert not passing(Sight(phase="connecting", log=DENIED))
    assert not passing(Sight(phase="running", log=LOGGED_IN + busy))


def test_a_long_line_is_cut() -> None:
    assert len(judged(log="x" * 5000, exit_code=255).detail) < 300
