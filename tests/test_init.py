"""`ssm-deploy init`: what it writes, and what it says to do next."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ssm_deployer.cli.init import init
from ssm_deployer.config import TEMPLATE
from ssm_deployer.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def full_disk() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_it_names_all_that_a_first_run_needs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(Path("config.yaml"))
    assert (folder / "config.yaml").read_text() == TEMPLATE
    assert capsys.readouterr().out == (
        "wrote config.yaml; set staging.bucket and aws.region in it, then: ssm-deploy upload-script SCRIPT --dry-run\n"
    )


def test_a_file_of_another_name_is_named_in_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    init(Path("my config.yaml"))
    assert capsys.readouterr().out.endswith(" upload-script SCRIPT --dry-run --config 'my config.yaml'\n")


def test_a_file_that_cannot_be_written_whole_is_not_there(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write config.yaml: File too large"), full_disk():
        init(Path("config.yaml"))
    assert not list(folder.iterdir())


def test_what_is_there_stays(folder: Path) -> None:
    (folder / "config.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"config.yaml is there already"):
        init(Path("config.yaml"))
    with pytest.raises(UsageError, match=r"cannot write config.yaml/x: Not a directory"):
        init(Path("config.yaml/x"))
    assert (folder / "config.yaml").read_text() == "mine"
