"""The whole command as a user runs it, to hosts that SSH reaches, and to an instance beside them."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ssh.farm import Farm
from ssh.server import Server

from ssm_deployer.sandbox import launch

pytestmark = pytest.mark.slow

BROKEN = {"AWS_PROFILE": "missing", "AWS_CONFIG_FILE": "/missing", "AWS_EC2_METADATA_DISABLED": "true"}


def run(
    farm: Farm, folder: Path, *words: str, environment: Mapping[str, str] = BROKEN
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ssm_deployer", *words],
        cwd=folder, env={**environment, **farm.environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=90, check=False,
    )  # fmt: skip


def login(server: Server) -> str:
    return f"root@{server.host}:{server.port}"


def ends(stdout: str) -> dict[str, Mapping[str, Any]]:
    events = [json.loads(line) for line in stdout.splitlines()]
    assert {event["type"] for event in events} >= {"run-started", "run-finished"}
    changes = (event["invocation"] for event in events if event["type"] == "invocation-changed")
    return {invocation["target"]: invocation for invocation in changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_text("content\n")
    (tmp_path / "s.sh").write_text('echo "$1"; cat "$DEPLOY_FILES_DIR/a"\n')
    return tmp_path


def test_hosts_of_an_inventory_run_a_script_though_nothing_is_right_with_aws(farm: Farm, folder: Path) -> None:
    servers = farm.servers(2)
    (folder / "machines.txt").write_text("".join(f"{login(server)}  # a server\n" for server in servers))
    done = run(farm, folder, "upload-script", "s.sh", "-t", "file:machines.txt", "--output", "json", "--", "two words")
    assert done.returncode == 0, done.stdout + done.stderr
    seen = ends(done.stdout)
    assert seen.keys() == {f"ssh:{login(server)}" for server in servers}
    assert {each["stdout"] for each in seen.values()} == {"two words\ncontent\n"}


def test_user_port_and_key_are_taken_from_the_flags(farm: Farm, folder: Path) -> None:
    server = farm.server()
    flags = ["--ssh-user", "root", "--ssh-port", str(server.port), "--ssh-key", f"{farm.home}/.ssh/id_ed25519"]
    words = ["-t", f"ssh:{server.host}", *flags, "--ssh-option", "Compression=yes"]
    done = run(farm, folder, "upload-script", "s.sh", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 succeeded of 1 target" in done.stdout


def test_one_run_reaches_an_instance_by_ssm_and_a_host_by_ssh(farm: Farm, folder: Path) -> None:
    server = farm.server()
    with launch.throwaway(1) as account:
        [instance] = account.instances
        words = ["-t", "all", "-t", f"ssh:{login(server)}", "--backend", "auto", "--output", "json"]
        done = run(farm, folder, "upload-script", "s.sh", *words, environment=launch.exports(account))
    assert done.returncode == 0, done.stdout + done.stderr
    seen = ends(done.stdout)
    assert seen.keys() == {instance, f"ssh:{login(server)}"}
    assert {each["stdout"] for each in seen.values()} == {"\ncontent\n"}


def test_a_dry_run_shows_the_way_and_connects_nowhere(farm: Farm, folder: Path) -> None:
    nowhere = farm.refused()
    host = f"{nowhere.host}:{nowhere.port}"
    done = run(farm, folder, "upload-script", "s.sh", "-t", f"ssh:{host}", "--ssh-user", "me", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == [f"ssh:{host}", "ssh", f"me@{host}"]
    assert "staging" not in done.stdout
