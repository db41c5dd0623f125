"""The whole command as a user runs it: a process of its own, against an AWS on this machine that really executes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from ssm_deployer.sandbox import launch

pytestmark = pytest.mark.slow

FAIL_ON_ONE = """#!/bin/sh
echo "on $AWS_SSM_INSTANCE_ID"
if [ "$AWS_SSM_INSTANCE_ID" = "$1" ]; then
  echo 'the disk is on fire' >&2
  exit 3
fi
"""


class User:
    """Somebody with a shell, a working folder and the sandbox's credentials."""

    def __init__(self, account: launch.Account, folder: Path) -> None:
        self.account = account
        self.folder = folder
        home = folder / "home"
        home.mkdir()
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            **launch.exports(account),
        }

    def write(self, name: str, content: str | bytes, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def start(self, *words: str | bytes, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "ssm_deployer", *words],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def run(self, *words: str | bytes, **environment: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*words, **environment)
        stdout, stderr = process.communicate(timeout=90)
        assert "Traceback" not in stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.account.endpoint_url,
            region_name=self.account.region,
            aws_access_key_id=self.account.access_key,
            aws_secret_access_key=self.account.secret_key,
        )

    def left_in_s3(self) -> list[str]:
        return [
            each["Key"] for each in self.client("s3").list_objects_v2(Bucket=self.account.bucket).get("Contents", [])
        ]


@pytest.fixture(scope="module")
def account() -> Iterator[launch.Account]:
    with launch.throwaway(3) as started:
        yield started


@pytest.fixture
def user(account: launch.Account, tmp_path: Path) -> Iterator[User]:
    someone = User(account, tmp_path)
    yield someone
    assert someone.left_in_s3() == []


def events(stdout: str) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def ends(stdout: str) -> dict[str, Mapping[str, Any]]:
    """The last that was told of each target."""
    changes = (event["invocation"] for event in events(stdout) if event["type"] == "invocation-changed")
    return {invocation["target"]: invocation for invocation in changes}


def test_a_script_and_files_reach_every_target_and_each_ones_real_output_is_shown(user: User) -> None:
    user.write("files/app.config", "color=blue\n")
    user.write("files/sub/tool.sh", "#!/bin/sh\necho tool says $1\n", 0o755)
    user.write("s.sh", '#!/bin/sh\necho "$AWS_SSM_INSTANCE_ID"\ncat "$DEPLOY_FILES_DIR/app.config"\nsub/tool.sh hi\n')
    done = user.run("upload-script", "s.sh", "-t", "all")
    assert done.returncode == 0, done.stderr
    for instance in user.account.instances:
        assert f"stdout │ {instance}" in done.stdout
    assert "stdout │ color=blue" in done.stdout
    assert "stdout │ tool says hi" in done.stdout
    assert "3 succeeded of 3 targets" in done.stdout


def test_a_failing_target_gives_exit_1_and_comes_first_with_its_stderr(user: User) -> None:
    user.write("s.sh", FAIL_ON_ONE)
    bad = user.account.instances[1]
    done = user.run("upload-script", "s.sh", "-t", "all", "--", bad)
    assert done.returncode == 1
    report = done.stdout[done.stdout.index("✗") :]
    assert report.splitlines()[0].startswith(f"✗ {bad}")
    assert "exit 3" in report.splitlines()[0]
    assert "stderr │ the disk is on fire" in report
    assert report.index("the disk is on fire") < report.index("✓")
    assert "2 succeeded, 1 failed of 3 targets" in report.splitlines()[-1]


def test_json_lines_are_the_events_and_nothing_else(user: User) -> None:
    user.write("s.sh", "echo hello\n")
    done = user.run("upload-script", "s.sh", "-t", "all", "--output", "json")
    assert done.returncode == 0
    told = events(done.stdout)
    assert (told[0]["type"], told[0]["format"]) == ("run-started", 1)
    assert told[-1]["type"] == "run-finished"
    assert {end["stdout"] for end in ends(done.stdout).values()} == {"hello\n"}
    assert {end["record"]["code"] for end in ends(done.stdout).values()} == {0}


def test_arguments_and_environment_arrive_intact_and_are_told_to_nobody(user: User) -> None:
    user.write("s.sh", '#!/bin/sh\nprintf "%s" "$1|$2|$TOKEN" | od -An -tx1 | tr -d " \\n"\n')
    secret = 'it\'s "a" $(secret) {{ssm:x}} ünï\nline two'
    done = user.run(
        "upload-script", "s.sh", "-t", user.account.instances[0], "--output", "json", "-e", f"TOKEN={secret}",
        "--", "two words", b"\xff\xfe-odd",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    [end] = ends(done.stdout).values()
    assert bytes.fromhex(end["stdout"]) == b"two words|\xff\xfe-odd|" + secret.encode()
    assert "secret" not in done.stdout
    command = user.client("ssm").list_commands()["Commands"][0]
    assert "secret" not in json.dumps(command["Parameters"])


def test_a_dry_run_shows_the_plan_and_changes_nothing(user: User) -> None:
    user.write("s.sh", "echo hello\n")
    before = len(user.client("ssm").list_commands()["Commands"])
    done = user.run("upload-script", "s.sh", "-t", "all", "--dry-run")
    assert done.returncode == 0
    for instance in user.account.instances:
        assert instance in done.stdout
    assert len(user.client("ssm").list_commands()["Commands"]) == before


def test_the_targets_command_shows_how_each_is_reached(user: User) -> None:
    unknown = "i-0123456789abcdef0"
    done = user.run("targets", "-t", user.account.instances[0], "-t", unknown)
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("i-")}
    assert rows[user.account.instances[0]].rstrip().endswith("ssm")
    assert "no such instance" in rows[unknown]


def test_the_targets_command_shows_hosts_beside_instances(user: User) -> None:
    user.write("machines.txt", "\ufeff# ours\r\ndeploy@web1:2222\r\nweb2\r\n")
    instance = user.account.instances[0]
    done = user.run("targets", "-t", instance, "-t", "file:machines.txt", "--backend", "auto", "--ssh-user", "me")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [(row[0], row[-1]) for row in rows] == [
        (instance, "ssm"),
        ("ssh:deploy@web1:2222", "deploy@web1:2222"),
        ("ssh:web2", "me@web2"),
    ]


def test_after_a_wave_with_too_many_failures_nothing_more_is_sent(user: User) -> None:
    user.write("s.sh", "echo ran; exit 3\n")
    done = user.run("upload-script", "s.sh", "-t", "all", "--wave", "1", "--max-failures", "0", "--output", "json")
    assert done.returncode == 1
    plan = events(done.stdout)[0]["plan"]
    assert (plan["wave"], plan["max_failures"]) == (1, 0)
    assert [end["status"] for end in ends(done.stdout).values()].count("failed") == 1
    assert [end["status"] for end in ends(done.stdout).values()].count("skipped") == 2


def test_without_a_target_and_a_terminal_it_asks_for_yes_and_shows_whom_it_would_mean(user: User) -> None:
    user.write("s.sh", "echo hello\n")
    done = user.run("upload-script", "s.sh")
    assert done.returncode == 2
    assert user.account.instances[0] in done.stderr
    assert "--yes" in done.stderr
    assert user.run("upload-script", "s.sh", "--yes").returncode == 0


def test_the_targets_of_the_config_file_are_meant_when_nobody_is_named(user: User) -> None:
    chosen = user.account.instances[2]
    user.write("config.yaml", f"targets:\n  - {chosen}\n")
    user.write("s.sh", "echo hello\n")
    done = user.run("upload-script", "s.sh", "--output", "json")
    assert done.returncode == 0
    assert list(ends(done.stdout)) == [chosen]


def test_one_run_reaches_several_regions_and_packs_and_sends_its_files_once(user: User) -> None:
    ec2 = boto3.client(
        "ec2", endpoint_url=user.account.endpoint_url, region_name="eu-west-1",
        aws_access_key_id=user.account.access_key, aws_secret_access_key=user.account.secret_key,
    )  # fmt: skip
    [other] = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)["Instances"]
    user.write("files/a", "content\n")
    user.write("s.sh", 'echo "$AWS_SSM_REGION_NAME"; cat "$DEPLOY_FILES_DIR/a"\n')
    here = user.account.instances[0]
    words = ["-t", here, "-t", other["InstanceId"], "--region", user.account.region, "--region", "eu-west-1"]
    done = user.run("upload-script", "s.sh", *words, "--output", "json")
    assert done.returncode == 0, done.stdout
    told = ends(done.stdout)
    assert told[here]["stdout"] == f"{user.account.region}\ncontent\n"
    assert told[other["InstanceId"]]["stdout"] == "eu-west-1\ncontent\n"
    assert [event["type"] for event in events(done.stdout)].count("staging-finished") == 1
    ec2.terminate_instances(InstanceIds=[other["InstanceId"]])


def test_the_aws_cli_tells_the_same_verdicts(user: User) -> None:
    user.write("s.sh", FAIL_ON_ONE)
    bad = user.account.instances[0]
    done = user.run("upload-script", "s.sh", "-t", "all", "--output", "json", "--", bad)
    [sent] = [event for event in events(done.stdout) if event["type"] == "sent"]
    asked = subprocess.run(
        ["aws", "ssm", "list-command-invocations", "--command-id", sent["handle"]["command"], "--output", "json"],
        env=user.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = {each["InstanceId"]: each["Status"] for each in json.loads(asked.stdout)["CommandInvocations"]}
    assert told == {each: "Failed" if each == bad else "Success" for each in user.account.instances}


def test_a_script_that_takes_too_long_is_stopped_and_still_reports(user: User) -> None:
    user.write("s.sh", "echo before\nsleep 60\n")
    target = user.account.instances[0]
    done = user.run("upload-script", "s.sh", "-t", target, "--timeout", "3s", "--output", "json")
    assert done.returncode == 1
    end = ends(done.stdout)[target]
    assert (end["status"], end["record"]["outcome"], end["stdout"]) == ("timed out", "timed-out", "before\n")


@pytest.mark.parametrize("code", [137, 168, 169, 255])
def test_exit_codes_that_ssm_misreads_are_told_truthfully(user: User, code: int) -> None:
    user.write("s.sh", f"echo out; echo err >&2; exit {code}\n")
    target = user.account.instances[0]
    done = user.run("upload-script", "s.sh", "-t", target, "--output", "json")
    assert done.returncode == 1
    end = ends(done.stdout)[target]
    assert (end["status"], end["detail"], end["stderr"]) == ("failed", f"exit {code}", "err\n")


def test_exit_194_reboots_and_the_script_runs_again(user: User) -> None:
    user.write("s.sh", 'if [ ! -e "$HOME/second" ]; then : >"$HOME/second"; echo first; exit 194; fi\necho second\n')
    target = user.account.instances[0]
    done = user.run("upload-script", "s.sh", "-t", target, "--output", "json")
    assert done.returncode == 0, done.stdout
    end = ends(done.stdout)[target]
    assert end["record"]["resumed"] == 1
    assert end["stdout"] == "first\nsecond\n"


def test_ctrl_c_cancels_waits_for_the_verdicts_and_cleans(user: User) -> None:
    user.write("s.sh", "sleep 60\n")
    process = user.start("upload-script", "s.sh", "-t", "all", "--output", "json")
    _wait_for(process, '"status":"running"')
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert '"type":"cancel-requested"' in stdout
    assert {end["status"] for end in ends(stdout).values()} == {"cancelled"}


def test_a_second_ctrl_c_leaves_at_once_and_says_what_still_runs(user: User) -> None:
    user.write("s.sh", "trap '' TERM; sleep 5\n")
    process = user.start("upload-script", "s.sh", "-t", user.account.instances[0], "--output", "json")
    _wait_for(process, '"status":"running"')
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    if "left at once" in stderr:  # two signals that close may be delivered as one
        assert "aws ssm cancel-command" in stderr
    s3 = user.client("s3")
    for key in user.left_in_s3():
        s3.delete_object(Bucket=user.account.bucket, Key=key)


def _wait_for(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        if text in line or not line:
            return
    pytest.fail(f"never saw {text}")


def test_a_reader_that_goes_away_takes_nothing_along(user: User) -> None:
    user.write("s.sh", "sleep 1\necho done\n")
    with user.start("upload-script", "s.sh", "-t", user.account.instances[0], "--output", "json") as process:
        _go_away(process, '"type":"run-started"')
        assert process.stderr is not None
        stderr = process.stderr.read()
    assert process.returncode == 0, stderr
    assert stderr == "what the run tells cannot be written any more; it goes on\n"


def test_ctrl_c_cancels_though_the_reader_has_gone(user: User) -> None:
    user.write("s.sh", "sleep 60\n")
    with user.start("upload-script", "s.sh", "-t", user.account.instances[0], "--output", "json") as process:
        _go_away(process, '"type":"sent"')
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert user.client("ssm").list_commands()["Commands"][0]["Status"] == "Cancelled"


def _go_away(process: "subprocess.Popen[str]", text: str) -> None:
    _wait_for(process, text)
    assert process.stdout is not None
    process.stdout.close()


def test_what_is_ignored_stays_ignored(user: User) -> None:
    user.write("s.sh", "sleep 1\necho done\n")
    words = ["upload-script", "s.sh", "-t", user.account.instances[0], "--output", "json"]
    process = subprocess.Popen(
        ["nohup", sys.executable, "-m", "ssm_deployer", *words],
        cwd=user.folder, env=user.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    _wait_for(process, '"type":"sent"')
    process.send_signal(signal.SIGHUP)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert '"status":"succeeded"' in stdout


def test_names_that_are_no_utf_8_and_terminals_without_it_end_no_run(user: User) -> None:
    name = b"s\xff.sh"
    (user.folder / os.fsdecode(name)).write_text("printf 'caf\\303\\251\\n'\n")
    done = user.run("upload-script", name, "-t", user.account.instances[0], PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    done = user.run("upload-script", name, "-t", user.account.instances[0], "--output", "json")
    assert done.returncode == 0, done.stderr
    assert events(done.stdout)[0]["plan"]["script"] == "s\\xff.sh"


BAD_INPUT = {
    "a missing script": (["missing.sh"], 2, "there is no script missing.sh"),
    "a folder as script": (["folder"], 2, "Is a directory"),
    "an empty script": (["empty.sh"], 2, "empty"),
    "a script with CRLF": (["crlf.sh"], 2, "CRLF"),
    "a script with a NUL byte": (["nul.sh"], 2, "NUL"),
    "a selector of no known kind": (["s.sh", "-t", "web-1"], 2, "names no target"),
    "an unknown instance": (["s.sh", "-t", "i-0123456789abcdef0"], 4, "no such instance"),
    "a tag that nobody has": (["s.sh", "-t", "tag:Role=nobody"], 4, "no target"),
    "a bucket that is not there": (["s.sh", "-t", "all", "--bucket", "no-such-bucket-here"], 2, "aws s3 mb"),
    "a bucket elsewhere": (["s.sh", "-t", "all", "--bucket", "bucket-elsewhere"], 2, "eu-central-1"),
    "a timeout that is no time": (["s.sh", "-t", "all", "--timeout", "soon"], 2, "no time span"),
    "a broken config file": (["s.sh", "--config", "broken.yaml"], 2, "broken.yaml line 2"),
    "an unknown key in the config file": (["s.sh", "--config", "unknown.yaml"], 2, "staging.buckt"),
    "a timeout beyond what ssm takes": (["s.sh", "-t", "all", "--timeout", "2d"], 2, "at most"),
    "a user that is no name": (["s.sh", "-t", "all", "--run-as", "no such!"], 2, "user"),
    "urls that would not live long enough": (["s.sh", "-t", "all", "--delivery-timeout", "8d"], 2, "--delivery role"),
    "a dry run without a target": (["s.sh", "-t", "tag:Role=nobody", "--dry-run"], 4, "no target"),
    "files that are not there": (["s.sh", "-t", "all", "--files", "nowhere"], 2, "nowhere"),
    "failures are counted without waves": (["s.sh", "-t", "all", "--max-failures", "0"], 2, "--wave"),
    "a wave that is no number": (["s.sh", "-t", "all", "--wave", "some"], 2, "--wave: `execution.wave`: 'some' is no"),
    "a host without ssh": (["s.sh", "-t", "ssh:web1", "--backend", "ssm"], 2, "--backend auto"),
    "a host in a rehearsal": (["s.sh", "-t", "ssh:web1", "--backend", "auto", "--sandbox"], 2, "no real machine"),
    "ssh in a rehearsal": (["s.sh", "--backend", "ssh", "--sandbox-size", "1"], 2, "no real machine"),
    "a host that is an option": (["s.sh", "-t", "ssh:-oProxyCommand=id"], 2, "names no host"),
    "a missing inventory": (["s.sh", "-t", "file:missing", "--backend", "auto"], 2, "cannot read missing"),
    "a missing key": (
        ["s.sh", "-t", "ssh:web1", "--backend", "auto", "--ssh-key", "missing"], 2, "cannot read the key missing"
    ),
    "an option of ssh that must hold": (
        ["s.sh", "-t", "ssh:web1", "--ssh-option", "StrictHostKeyChecking=no"], 2, "none may go unchecked"
    ),
    "an option that does not exist": (["s.sh", "--nonsense"], 2, "--nonsense"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUT, ids=lambda case: case.replace(" ", "-"))
def test_bad_input_is_told_in_two_lines_with_a_remedy(user: User, case: str) -> None:
    words, code, text = BAD_INPUT[case]
    user.write("s.sh", "echo hello\n")
    user.write("empty.sh", "")
    user.write("crlf.sh", "#!/bin/sh\r\necho hello\r\n")
    user.write("nul.sh", b"echo \0\n")
    user.write("broken.yaml", "aws:\n  region: x: y\n")
    user.write("unknown.yaml", "staging:\n  buckt: x\n")
    (user.folder / "folder").mkdir()
    if "elsewhere" in case:
        _make_bucket_elsewhere(user)
    done = user.run("upload-script", *words)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    if "--nonsense" not in words:
        assert len(done.stderr.splitlines()) <= 2


def _make_bucket_elsewhere(user: User) -> None:
    s3 = user.client("s3")
    if "bucket-elsewhere" not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket="bucket-elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})


def test_no_bucket_is_told_before_anything_else(user: User) -> None:
    user.write("s.sh", "echo hello\n")
    done = user.run("upload-script", "s.sh", "-t", "all", SSM_DEPLOY_STAGING_BUCKET="")
    assert done.returncode == 2
    assert "staging.bucket" in done.stderr


def test_an_unreadable_script_is_told(user: User) -> None:
    path = user.write("s.sh", "echo hello\n", 0o000)
    if os.access(path, os.R_OK):  # root reads everything; a folder in the way is what root cannot read through
        path = Path("s.sh/inside")
    done = user.run("upload-script", str(path), "-t", "all")
    assert done.returncode == 2
    assert "cannot read the script" in done.stderr


def test_credentials_that_aws_does_not_accept_are_exit_3(user: User) -> None:
    user.write("s.sh", "echo hello\n")
    done = user.run("upload-script", "s.sh", "-t", "all", AWS_SECRET_ACCESS_KEY="wrong-example")
    assert done.returncode == 3
    assert "credentials" in done.stderr


def test_no_credentials_at_all_are_exit_3(user: User) -> None:
    user.write("s.sh", "echo hello\n")
    done = user.run("upload-script", "s.sh", "-t", "all", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert done.returncode == 3
    assert "no AWS credentials" in done.stderr


def test_an_endpoint_that_nobody_listens_on_is_exit_3(user: User) -> None:
    user.write("s.sh", "echo hello\n")
    done = user.run("upload-script", "s.sh", "-t", "all", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert done.returncode == 3


def test_sandbox_needs_no_account_and_leaves_nothing(tmp_path: Path, account: launch.Account) -> None:
    someone = User(account, tmp_path)
    bare = {name: value for name, value in someone.environment.items() if not name.startswith(("AWS_", "SSM_"))}
    someone.environment = bare
    someone.write("s.sh", 'echo "args: $*"\n')
    done = someone.run(
        "upload-script", "s.sh", "--sandbox-size", "2", "--yes", "--output", "json", "--", "one", "two words"
    )
    assert done.returncode == 0, done.stderr
    assert [end["stdout"] for end in ends(done.stdout).values()] == ["args: one two words\n"] * 2


def test_help_is_there_both_ways(user: User) -> None:
    asked = user.run("help", "upload-script")
    assert asked.returncode == 0
    assert asked.stdout == user.run("upload-script", "--help").stdout
    assert "--dry-run" in asked.stdout


def test_init_writes_a_config_that_is_read_back_and_overwrites_nothing(user: User) -> None:
    assert user.run("init").returncode == 0
    assert user.run("targets", "-t", "all").returncode == 0
    again = user.run("init")
    assert again.returncode == 2
    assert "there already" in again.stderr
