"""A run as the command line drives it: what is written where, and the exit code."""

import pytest
from fakes import FakeBackend, make_plan, make_record

from ssm_deployer.cli.drive import drive
from ssm_deployer.model import Invocation, Status


@pytest.mark.parametrize("output", ["plain", "json"])
def test_after_a_run_that_did_not_see_every_end_it_is_told_how_to_find_out(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = Invocation(target="i-1", status=Status.UNKNOWN, record=make_record())
    assert drive(make_plan("i-1"), {"ssm": FakeBackend({"i-1": [lost]})}, output, "aws") == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  aws ssm list-command-invocations --region  --command-id command-1",
        "  aws ssm cancel-command --region  --command-id command-1",
    ]


def test_after_a_run_that_saw_every_end_nothing_more_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert drive(make_plan("i-1"), {"ssm": FakeBackend()}, "plain", "aws") == 0
    assert capsys.readouterr().err == ""
