"""The entry point, in a process of its own: what it says and returns where its output cannot be written."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FULL = "/dev/full"


def start(*words: str, folder: Path, unbuffered: str = "", **streams: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ssm_deployer", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL, check=False, timeout=60, **streams
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "init other.yaml",
        "targets -t ssh:web1",
        "upload-script s.sh -t ssh:web1 --dry-run",
        "upload-script s.sh -t ssh:web1 --dry-run --output json",
    ],
)
def test_a_full_disk_under_the_output_is_told_in_two_lines(words: str, unbuffered: str, tmp_path: Path) -> None:
    (tmp_path / "s.sh").write_text("true\n")
    with Path(FULL).open("w") as full:
        ended = start(*words.split(), folder=tmp_path, unbuffered=unbuffered, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: cannot write the output: No space left on device\n  try: make room, or send it somewhere else\n"
    )


def test_a_full_disk_under_the_errors_changes_no_exit_code(tmp_path: Path) -> None:
    with Path(FULL).open("w") as full:
        ended = start("upload-script", "missing.sh", folder=tmp_path, stdout=subprocess.PIPE, stderr=full)
    assert (ended.stdout, ended.returncode) == ("", 2)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_told_nothing(unbuffered: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        words = ("targets", "-t", "ssh:web1")
        ended = start(*words, folder=tmp_path, unbuffered=unbuffered, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (ended.stderr, ended.returncode) == ("", 1)


@pytest.mark.parametrize(("closed", "told"), [(">&-", False), ("2>&-", True), ("<&-", True), ("<&- >&- 2>&-", False)])
def test_a_closed_stream_is_no_error(closed: str, told: bool, tmp_path: Path) -> None:
    (tmp_path / "s.sh").write_text("true\n")
    # Nobody listens there, so the run comes to its end at once, with its one target unreached.
    command = f"exec {sys.executable} -m ssm_deployer upload-script s.sh -t ssh:127.0.0.1:1 --no-files {closed}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    ended = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert "error" not in ended.stderr
    assert ("1 unreached of 1 target" in ended.stdout) is told
