"""What `upload-script` reads before it looks for a target."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from fakes import make_plan

from ssm_deployer import config
from ssm_deployer.bundle import Bundle
from ssm_deployer.cli.upload_script import ask, files_of, require_reachable
from ssm_deployer.cli.wire import Place
from ssm_deployer.config import file  # noqa: F401 - loaded before its folder cannot be read any more
from ssm_deployer.errors import DeployError, Interrupted
from ssm_deployer.model import Target
from ssm_deployer.targets import Resolution


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def locked(folder: Path) -> Iterator[None]:
    """Work as somebody who may not enter the folder."""
    user = os.geteuid()
    folder.chmod(0)
    if user == 0:
        os.seteuid(65534)
    yield
    if user == 0:
        os.seteuid(0)
    folder.chmod(0o700)


def refusal(read: Any, *arguments: Any) -> str:
    with pytest.raises(DeployError) as caught:
        read(*arguments)
    return f"{caught.value.message}\n{caught.value.hint}"


@pytest.mark.usefixtures("locked")
def test_settings_and_files_that_cannot_even_be_looked_for_are_told() -> None:
    told = refusal(config.load, None, {}, {})
    assert told == "cannot read config.yaml: Permission denied\ngive another with --config"
    assert refusal(files_of, None).startswith("files cannot be read: Permission denied\n")


def test_without_a_folder_that_nobody_named_no_files_go_along(folder: Path) -> None:
    assert files_of(None) is None
    (folder / "files").mkdir()
    assert files_of(None) == Bundle("files", (), 0)


def test_a_name_for_files_that_leads_to_no_folder_is_not_passed_over(folder: Path) -> None:
    (folder / "files").symlink_to("missing")
    assert refusal(files_of, None) == "there is no folder files\nname another one with --files, or give --no-files"
    (folder / "missing").write_text("")
    assert refusal(files_of, None) == "files is not a folder\nname a folder with --files, or give --no-files"


class Terminal(io.StringIO):
    """Somebody who types this, and then Ctrl-D."""

    def isatty(self) -> bool:
        return True


def asked(typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    with suppress(Interrupted, click.Abort):
        ask(make_plan("i-1", "i-2"))
    return capsys.readouterr().err.splitlines(keepends=True)


def test_before_all_is_deployed_to_the_user_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("y\n", monkeypatch, capsys)[-1] == "Run s.sh on these 2 targets? [y/N]: "
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    with pytest.raises(Interrupted, match="not started"):
        ask(make_plan("i-1"))


def test_what_comes_after_an_interrupted_question_begins_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("", monkeypatch, capsys)[-1].endswith("[y/N]: \n")


HERE = Place(settings=config.Settings(), regions=(), selectors=())
LOST = tuple(Target(id=f"i-{number}", reason="it is stopped") for number in range(5))


def test_what_nobody_is_meant_by_is_told_and_where_to_look() -> None:
    found = Resolution(targets=(), left_out=LOST[:2], notes=("no machine has the tag Role=web in eu-west-1",))
    told = "no target: no machine has the tag Role=web in eu-west-1; 2 machines left out of `all`"
    look = "`ssm-deploy targets -t all` shows what there is; -t, --region and --profile choose"
    assert refusal(require_reachable, found, HERE) == f"{told}\n{look}"
    assert refusal(require_reachable, Resolution(targets=()), HERE).startswith("no target in ")
    rehearsal = Place(settings=config.Settings(), regions=(), selectors=(), rehearsal="rehearsal in a sandbox")
    assert "tag:Environment=sandbox" in refusal(require_reachable, found, rehearsal)


def test_why_nobody_is_reached_is_told_of_the_first_three() -> None:
    told = refusal(require_reachable, Resolution(targets=LOST), HERE).splitlines()[0]
    assert told == "no target can be reached: i-0: it is stopped; i-1: it is stopped; i-2: it is stopped and 2 more"
    require_reachable(Resolution(targets=(*LOST, Target(id="i-9", via="ssm"))), HERE)
