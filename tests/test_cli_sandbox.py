"""`ssm-deploy sandbox`: what it prints for a shell and for its user."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ssm_deployer.cli import sandbox
from ssm_deployer.sandbox import launch

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield
    launch.down()


def test_what_a_shell_is_made_to_use_it_is_told_how_to_undo(capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.up(1)
    told = capsys.readouterr().out.splitlines()
    exported = [line.removeprefix("export ").partition("=")[0] for line in told if line.startswith("export ")]
    assert told[-2].startswith("# 1 instance (")
    sandbox.down()
    head, undo = capsys.readouterr().out.splitlines()
    assert head.startswith("# the sandbox is down")
    assert undo.split() == ["unset", *exported]
    sandbox.down()
    assert capsys.readouterr().out == "# there was no sandbox\n"
