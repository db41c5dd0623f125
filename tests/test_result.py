"""The record: what counts as one, and what does not."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_deployer.result import FORMAT, MARK, Record, parse

RECORD = Record(format=FORMAT, run="run-1", outcome="exited", code=0, signal=0, started=10, ended=12)


def line(record: Record = RECORD, **changes: object) -> str:
    return MARK + msgspec.json.encode({**msgspec.structs.asdict(record), **changes}).decode() + "\n"


def test_the_first_line_is_the_record_and_the_rest_the_extract() -> None:
    assert parse(line() + "out\nput", "run-1") == (RECORD, "out\nput")
    assert parse(line(), "run-1") == (RECORD, "")


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "hello\n",
        "\n" + line(),
        " " + line(),
        "hello\n" + line(),
        line().rstrip("\n"),
        line()[:-20],
        line()[:-20] + "\n",
        line(run="run-2"),
        line(format=FORMAT + 1),
        line(outcome="fine"),
        line(code="0"),
        MARK + "null\n",
        MARK + "\udcff\n",
        MARK + "{}\n",
        MARK + '{"x":' + 9999 * "[" + 9999 * "]" + "}\n",
    ],
)
def test_anything_else_is_none_and_stays_whole(stdout: str) -> None:
    assert parse(stdout, "run-1") == (None, stdout)


def test_fields_of_a_later_version_are_no_obstacle() -> None:
    assert parse(line(colour="blue"), "run-1") == (RECORD, "")


@pytest.mark.parametrize(
    ("outcome", "code", "succeeded"),
    [
        ("exited", 0, True),
        ("exited", 1, False),
        ("timed-out", 0, False),
        ("cancelled", 0, False),
        ("signalled", 0, False),
        ("refused", 0, False),
    ],
)
def test_only_a_script_that_ran_to_its_end_succeeded(outcome: str, code: int, succeeded: bool) -> None:
    record, _ = parse(line(outcome=outcome, code=code), "run-1")
    assert record is not None
    assert record.succeeded is succeeded


@given(st.text())
def test_no_output_breaks_the_parser(text: str) -> None:
    assert parse(text, "run-1") == (None, text)
    assert parse(MARK + text, "run-1")[0] is None
