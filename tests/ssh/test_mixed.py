"""One command for machines that SSM reaches and machines that SSH reaches: one table, one ledger, one budget."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest
from ssh.farm import Farm
from ssh.server import Server
from waiting import until

from ssm_deployer.events import RunFinished, Sent, from_json, replay
from ssm_deployer.sandbox import launch

pytestmark = pytest.mark.slow

LOOK = """#!/bin/sh
env | sort
pwd
umask
ulimit -a
grep -E '^(SigBlk|SigIgn|SigCgt)' /proc/self/status
ls -l /proc/self/fd | sed -n 's/.* \\([0-9]\\) -> .*/fd \\1/p'
readlink /proc/self/fd/0
stat -c '%a %U %n' "$DEPLOY_FILES_DIR" "$0" *
echo "arguments $# $*"
"""


class Fleet:
    """Two instances of a sandbox, two servers of a farm, and a user with a shell."""

    def __init__(self, account: launch.Account, farm: Farm, servers: list[Server], folder: Path) -> None:
        self.account = account
        self.servers = servers
        self.folder = folder
        self.environment = {
            **farm.environment,
            "PATH": f"{farm.environment['PATH']}:{Path(sys.executable).parent}",
            "AWS_EC2_METADATA_DISABLED": "true",
            **launch.exports(account),
        }
        (folder / "files").mkdir()
        (folder / "files" / "a file").write_text("content\n")
        (folder / "inventory").write_text("".join(f"root@{each.host}:{each.port}\n" for each in servers[1:]))

    @property
    def everyone(self) -> list[str]:
        first = self.servers[0]
        return ["-t", "all", "-t", f"ssh:root@{first.host}:{first.port}", "-t", "file:inventory"]

    def run(self, script: str, *words: str) -> "subprocess.CompletedProcess[str]":
        (self.folder / "script.sh").write_text(script)
        command = [sys.executable, "-m", "ssm_deployer", "upload-script", "script.sh", *self.everyone, "--yes", *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=90, check=False
        )

    def ends(self, script: str, *words: str) -> dict[str, Mapping[str, Any]]:
        """The last that was told of each target, by its id."""
        lines = [json.loads(line) for line in self.run(script, "--output", "json", *words).stdout.splitlines()]
        changes = (line["invocation"] for line in lines if line["type"] == "invocation-changed")
        return {invocation["target"]: invocation for invocation in changes}


@pytest.fixture(scope="module")
def account() -> Iterator[launch.Account]:
    with launch.throwaway(2) as started:
        yield started


@pytest.fixture
def fleet(account: launch.Account, farm: Farm, tmp_path: Path) -> Fleet:
    return Fleet(account, farm, farm.servers(2), tmp_path)


def test_one_table_tells_of_all_of_them(fleet: Fleet) -> None:
    done = fleet.run("cat 'a file'\n")
    assert done.returncode == 0, done.stderr
    assert "4 succeeded of 4 targets" in done.stdout
    named = "4 targets alike"
    assert named in done.stdout  # whichever way they were reached
    assert "content" in done.stdout


def test_a_dry_run_shows_the_way_to_each(fleet: Fleet) -> None:
    done = fleet.run("true\n", "--dry-run")
    rows = [line for line in done.stdout.splitlines() if re.match(r"(i-|ssh:)", line)]
    assert len(rows) == 4
    assert sum(row.rstrip().endswith(" ssm") for row in rows) == 2
    assert sum(" ssh root@127.0.0.1:" in row for row in rows) == 2


def test_one_ledger_has_all_events_and_reads_back_as_the_run(fleet: Fleet) -> None:
    done = fleet.run("true\n", "--output", "json")
    events = [from_json(line) for line in done.stdout.splitlines()]
    assert {event.handle.via for event in events if isinstance(event, Sent)} == {"ssm", "ssh"}
    assert isinstance(events[-1], RunFinished)
    run = replay(events)
    assert sorted(str(each.status) for each in run.invocations.values()) == ["succeeded"] * 4
    digests = {each.record.bundle for each in run.invocations.values() if each.record}
    assert len(digests) == 1  # what was verified is the same by both ways


@pytest.mark.parametrize("user", [[], ["--run-as", "nobody"]], ids=["root", "nobody"])
def test_a_script_finds_the_same_by_both_ways(fleet: Fleet, user: list[str]) -> None:
    ends = fleet.ends(LOOK, "-e", "COLOUR=dark blue", *user, "--", "one", "two words")
    assert {end["status"] for end in ends.values()} == {"succeeded"}
    first, *others = [_unnamed(end["stdout"]).splitlines() for _, end in sorted(ends.items())]
    for other in others:
        assert list(unified_diff(first, other, lineterm="", n=0)) == []


def _unnamed(text: str) -> str:
    """Without what names the target, the command or the moment."""
    # 32 and 33 are glibc's own; who starts children by posix_spawn, as make does, leaves them ignored.
    text = re.sub(r"(?m)^SigIgn:\s*([0-9a-f]+)$", lambda found: f"{int(found[1], 16) & ~(3 << 31):x}", text)
    text = re.sub(r"(?m)^(AWS_SSM_INSTANCE_ID|AWS_SSM_REGION_NAME|SSM_COMMAND_ID)=.*$", r"\1=", text)
    return re.sub(r"deploy_files_\d+_\d+", "deploy_files", text)


def test_one_budget_counts_the_failures_of_both_ways(fleet: Fleet) -> None:
    ends = fleet.ends("exit 3\n", "--wave", "3", "--max-failures", "1")
    assert sorted(end["status"] for end in ends.values()) == ["failed", "failed", "failed", "skipped"]


def test_what_fails_one_way_does_not_touch_the_other(fleet: Fleet) -> None:
    fleet.servers[0].stop()
    ends = fleet.ends("true\n")
    gone = fleet.servers[0]
    assert ends.pop(f"ssh:root@{gone.host}:{gone.port}")["word"] == "Refused"
    assert {end["status"] for end in ends.values()} == {"succeeded"}


def test_a_run_that_is_interrupted_stops_the_scripts_of_both_ways(fleet: Fleet) -> None:
    (fleet.folder / "script.sh").write_text("touch /tmp/began\nsleep 300\n")
    words = ["upload-script", "script.sh", *fleet.everyone, "--yes", "--output", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssm_deployer", *words],
        cwd=fleet.folder, env=fleet.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    running: set[str] = set()
    lines = []
    for line in process.stdout:
        lines.append(line)
        event = json.loads(line)
        if event["type"] == "invocation-changed" and event["invocation"].get("status") == "running":
            running.add(event["invocation"]["target"])
            if len(running) == 4:
                os.kill(process.pid, 2)
    process.communicate(timeout=60)
    assert process.returncode == 130
    ends = replay([from_json(line) for line in lines]).invocations.values()
    assert {str(end.status) for end in ends} == {"cancelled"}
    assert until(lambda: not any(server.processes() for server in fleet.servers))
