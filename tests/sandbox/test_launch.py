import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sandbox.sandbox_bench import Run, client_of, final, runner

from ssm_deployer.errors import DeployError, UsageError
from ssm_deployer.sandbox import launch
from ssm_deployer.sandbox.launch import Account

KEPT = """
import sys, time
from ssm_deployer.sandbox import launch
with launch.throwaway(1, plain=sys.argv[1] == "plain") as account:
    import boto3
    ssm = boto3.client("ssm", endpoint_url=account.endpoint_url, region_name=account.region,
        aws_access_key_id=account.access_key, aws_secret_access_key=account.secret_key)
    ssm.send_command(DocumentName="AWS-RunShellScript", InstanceIds=list(account.instances),
        Parameters={"commands": [sys.argv[2]]})
    print(account.pid, account.endpoint_url.rpartition(":")[2], account.folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield tmp_path / "ssm-deploy" / "sandbox.json"
    launch.down()


@pytest.mark.parametrize("size", [0, -1, 100_000])
def test_an_impossible_size_is_refused_before_anything_starts(size: int) -> None:
    with pytest.raises(UsageError), launch.throwaway(size):
        pass


def example(isolation: str) -> Account:
    return Account(
        endpoint_url="http://127.0.0.1:1",
        access_key="AKIAEXAMPLE",
        secret_key="example",
        region="eu-west-1",
        bucket="bucket",
        instances=(),
        isolation=isolation,
        pid=1,
        folder="/x",
    )


@pytest.mark.parametrize(("isolation", "told"), [("bubblewrap", False), ("plain directories", True)])
def test_it_is_said_where_scripts_see_the_users_files(isolation: str, told: bool) -> None:
    text = launch.isolation(example(isolation))
    assert text.startswith(isolation)
    assert ("scripts run as you and see your files" in text) is told


def test_exports_are_what_any_aws_client_reads() -> None:
    account = example("bubblewrap")
    assert launch.exports(account) == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "SSM_DEPLOY_STAGING_BUCKET": "bucket",
        "SSM_DEPLOY_EXECUTION_BACKEND": "ssm",
    }


@pytest.mark.slow
def test_a_throwaway_leaves_no_process_port_or_folder() -> None:
    with launch.throwaway(1) as account:
        runner(account, client_of(account))("setsid sleep 4720 >/dev/null 2>&1 &")
        within(10, lambda: bool(find("sleep 4720")))  # the script does not wait until it is what it will be
    assert_gone(account.pid, int(account.endpoint_url.rpartition(":")[2]), Path(account.folder), "sleep 4720")


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["own", "plain"])
@pytest.mark.parametrize("victim", ["client", "server"])
def test_kill_9_leaves_no_process_port_or_folder(isolation: str, victim: str) -> None:
    sleep = f"sleep 4721.{os.getpid()}"  # its own: the other variants may run beside it
    script = f"setsid {sleep} >/dev/null 2>&1 & ({sleep} &) ; {sleep}"
    process = subprocess.Popen(
        [sys.executable, "-c", KEPT, isolation, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        pid, port, folder = process.stdout.readline().split()
    within(10, lambda: len(find(sleep)) >= 3)
    os.kill(process.pid if victim == "client" else int(pid), signal.SIGKILL)
    try:
        assert_gone(int(pid), int(port), Path(folder), sleep)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_ctrl_c_in_the_client_ends_the_sandbox() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KEPT, "own", "sleep 4722"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        pid, port, folder = process.stdout.readline().split()
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert_gone(int(pid), int(port), Path(folder), "sleep 4722")


@pytest.mark.slow
def test_one_that_is_kept_is_found_again_and_ends_with_down(state: Path) -> None:
    account = launch.up(2)
    assert state.stat().st_mode & 0o777 == 0o600
    assert launch.status() == account
    assert launch.up() == account == launch.up(2)
    with pytest.raises(UsageError, match=r"another size runs already \(2\)"):
        launch.up(5)
    assert json.loads(state.read_text())["secret_key"] == account.secret_key
    assert account.secret_key not in Path(f"/proc/{account.pid}/cmdline").read_text()
    assert account.secret_key not in Path(f"/proc/{account.pid}/environ").read_text()
    assert launch.down() == account
    assert launch.down() is None
    assert launch.status() is None
    assert_gone(account.pid, int(account.endpoint_url.rpartition(":")[2]), Path(account.folder), "sleep 4723")


@pytest.mark.slow
def test_what_a_killed_one_left_is_removed(state: Path) -> None:
    account = launch.up(1)
    watcher = int(Path(f"/proc/{account.pid}/stat").read_text().split()[3])
    os.kill(account.pid, signal.SIGSTOP)  # else it ends by itself once its watcher is gone
    for pid in (watcher, account.pid):
        os.kill(pid, signal.SIGKILL)
    within(5, lambda: launch.status() is None)
    assert not state.exists()
    assert not Path(account.folder).exists()


def test_a_broken_state_file_is_no_sandbox(state: Path) -> None:
    state.parent.mkdir(parents=True)
    state.write_text("{")
    assert launch.status() is None


@pytest.mark.slow
def test_plain_directories_work_without_bubblewrap() -> None:
    with launch.throwaway(2, plain=True) as account:
        assert account.isolation == "plain directories"
        run: Run = runner(account, client_of(account))
        ended = run("echo $TMPDIR; touch $TMPDIR/mine; echo ${HOME-unset}; exit 3")
        assert ended["ResponseCode"] == 3
        assert ended["StandardOutputContent"] == f"{account.folder}/{account.instances[0]}/tmp\nunset\n"
        assert run("ls -A $TMPDIR", instance=1)["StandardOutputContent"] == ""


@pytest.mark.slow
def test_in_plain_directories_a_script_finds_its_own_home_and_profile_not_the_users() -> None:
    with launch.throwaway(1, plain=True) as account:
        run: Run = runner(account, client_of(account))
        own = f"{account.folder}/{account.instances[0]}"
        answer = run(
            "getent passwd $(id -un) | cut -d: -f6; getent passwd daemon | cut -d: -f6; echo $SSM_DEPLOY_STATE_DIR"
        )
        daemon = pwd.getpwnam("daemon").pw_dir
        assert answer["StandardOutputContent"].split() == [f"{own}/root", daemon, f"{own}/var-lib"]
        answer = run("grep -c $(aws configure get aws_access_key_id) " + f"{own}/root/.aws/credentials", seconds=60)
        assert answer["StandardOutputContent"] == "1\n"


@pytest.mark.slow
def test_in_plain_directories_a_machine_whose_supervisor_is_killed_keeps_no_process() -> None:
    with launch.throwaway(1, plain=True) as account:
        ssm = client_of(account)("ssm")
        script = "setsid sleep 4724 >/dev/null 2>&1 & (sleep 4724 &) ; sleep 4724"
        command = ssm.send_command(
            DocumentName="AWS-RunShellScript", InstanceIds=list(account.instances), Parameters={"commands": [script]}
        )["Command"]["CommandId"]
        within(10, lambda: len(find("sleep 4724")) == 3)
        (supervisor,) = children(account.pid)
        os.kill(supervisor, signal.SIGKILL)
        within(10, lambda: not find("sleep 4724"))
        assert final(ssm, command, account.instances[0])["Status"] == "Failed"
        assert children(account.pid) == []


@pytest.mark.slow
@pytest.mark.parametrize(("plain", "mode"), [(False, 0o700), (True, 0o711 if os.geteuid() == 0 else 0o700)])
def test_other_users_pass_through_the_folder_only_where_an_instances_users_must(plain: bool, mode: int) -> None:
    with launch.throwaway(1, plain=plain) as account:
        assert Path(account.folder).stat().st_mode & 0o777 == mode


def test_a_temporary_directory_with_an_odd_name_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "it's a"
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    folder = launch.folder()
    folder.rmdir()
    assert not folder.is_relative_to(odd)


@pytest.mark.slow
def test_kill_9_of_the_watcher_leaves_no_folder() -> None:
    with launch.throwaway(1) as account:
        os.kill(int(Path(f"/proc/{account.pid}/stat").read_text().split()[3]), signal.SIGKILL)
        within(10, lambda: not Path(account.folder).exists())


def test_what_killed_sandboxes_left_is_swept_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    long_ago = time.time() - 3600
    with contextlib.ExitStack() as held:
        for name in ("ssm-deploy-sandbox-dead", "ssm-deploy-sandbox-held", "ssm-deploy-sandbox-empty", "other"):
            (tmp_path / name).mkdir()
            if name != "ssm-deploy-sandbox-empty":
                file = held.enter_context((tmp_path / name / "lock").open("w"))
                if name == "ssm-deploy-sandbox-held":
                    fcntl.flock(file, fcntl.LOCK_EX)
            os.utime(tmp_path / name, (long_ago, long_ago))
        (tmp_path / "ssm-deploy-sandbox-new").mkdir()
        (tmp_path / "ssm-deploy-sandbox-link").symlink_to(tmp_path / "other")
        folder = launch.folder()
        left = {entry.name for entry in tmp_path.iterdir()} - {folder.name}
    prefix = "ssm-deploy-sandbox-"
    assert left == {f"{prefix}held", f"{prefix}new", f"{prefix}link", "other"}


@pytest.mark.slow
def test_one_that_is_kept_is_found_though_its_folder_is_gone(state: Path) -> None:
    account = launch.up(1)
    shutil.rmtree(account.folder)
    assert launch.status() == account
    assert launch.down()
    within(10, lambda: not Path(f"/proc/{account.pid}").exists())
    assert not state.exists()


@pytest.mark.parametrize("obstacle", ["file", "read-only"])
def test_a_state_directory_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file") if obstacle == "file" else "/proc")
    for call in (launch.up, launch.status, launch.down):
        with pytest.raises(UsageError) as told:
            call()
        assert "XDG_STATE_HOME" in told.value.hint


@pytest.mark.slow
def test_a_sandbox_that_cannot_start_says_why() -> None:
    with pytest.raises(DeployError, match="nowhere-1 is no region of EC2"), launch.throwaway(1, "nowhere-1"):
        pass


@pytest.mark.slow
def test_the_users_own_aws_settings_do_not_reach_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with launch.throwaway(1) as account:
        assert account.instances


def children(pid: int) -> list[int]:
    listings = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for listing in listings for child in listing.read_text().split()]


def find(command: str) -> list[int]:
    """Pids of processes of that very command line, wherever they run."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and (entry / "cmdline").read_bytes().rstrip(b"\0") == command.replace(" ", "\0").encode()
            ):
                found.append(int(entry.name))
    return found


def assert_gone(pid: int, port: int, folder: Path, command: str) -> None:
    within(10, lambda: not find(command))
    within(10, lambda: not Path(f"/proc/{pid}").exists())
    within(10, lambda: not folder.exists())
    within(10, lambda: f":{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text())


def within(seconds: float, true: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
