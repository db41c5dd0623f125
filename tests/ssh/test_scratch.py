"""The folder of a run, and that nothing of it stays."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import until

from ssm_deployer.backends.scratch import Scratch

HOLDS = """
import os, signal, sys, time
from ssm_deployer.backends.scratch import Scratch
scratch = Scratch()
(scratch.folder / "secret").write_text("x")
print(scratch.folder, flush=True)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; it has a blank, as that of a user may have."""
    place = tmp_path / "a place"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    return place


def children() -> set[str]:
    ended = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, check=False)
    return {line for line in ended.stdout.decode().splitlines() if "rm -rf" in line}


def test_nothing_is_made_before_it_is_needed(place: Path) -> None:
    assert Scratch().close() == ()
    assert list(place.iterdir()) == []


def test_only_its_owner_can_enter_it_and_it_stays_the_same() -> None:
    scratch = Scratch()
    assert stat.S_IMODE(scratch.folder.stat().st_mode) == 0o700
    assert scratch.folder == scratch.folder
    scratch.close()


def test_closing_removes_folder_and_process_and_may_be_repeated(place: Path) -> None:
    scratch = Scratch()
    (scratch.folder / "file").write_text("x")
    assert len(children()) == 1
    assert list(scratch.close()) == []
    assert list(scratch.close()) == []
    assert (list(place.iterdir()), children()) == ([], set())


def test_what_cannot_be_removed_is_told_and_removed_by_a_later_call(monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = Scratch()
    folder = scratch.folder
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        os.kill(scratch._remover.pid, signal.SIGKILL)  # type: ignore[union-attr]
        assert list(scratch.close()) == [f"{folder} could not be removed"]
    assert list(scratch.close()) == []
    assert not folder.exists()


@pytest.mark.parametrize(
    "end",
    [
        "",
        "raise SystemExit(3)",
        "os._exit(1)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os.killpg(0, signal.SIGINT); time.sleep(60)",
        "os.killpg(0, signal.SIGHUP); time.sleep(60)",
    ],
)
def test_the_end_of_the_process_removes_it_whatever_end_that_is(end: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HOLDS + end], capture_output=True, text=True, check=False, start_new_session=True
    )
    folder = Path(ended.stdout.strip())
    assert folder.name.startswith("ssm-deploy-")
    assert until(lambda: not folder.exists())


def test_a_program_started_meanwhile_does_not_keep_it(place: Path) -> None:
    code = HOLDS + "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=-3).pid, flush=True); os._exit(0)"
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    folder, pid = ended.stdout.split("\n")[:2]
    assert until(lambda: not Path(folder).exists())
    assert list(place.iterdir()) == []
    os.kill(int(pid), signal.SIGKILL)
