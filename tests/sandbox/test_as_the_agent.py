"""What docs/sandbox.md says of the service and the agent, seen through boto3 in a running sandbox."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox.sandbox_bench import Client, Run, client_of, final, runner
from waiting import until

from ssm_deployer.sandbox import launch
from ssm_deployer.sandbox.launch import Account

FAILED = "Therefore, marking step as Failed."
SKIPPED = "Further document steps will be skipped."

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with launch.throwaway(4) as account:
        yield account


@pytest.fixture(scope="module")
def client(account: Account) -> Client:
    return client_of(account)


@pytest.fixture(scope="module")
def run(account: Account, client: Client) -> Run:
    """Send a script to one instance and return its GetCommandInvocation once that is final."""
    return runner(account, client)


@pytest.mark.parametrize(
    ("script", "status", "details", "code", "stdout", "stderr"),
    [
        ("echo out; echo err >&2", "Success", "Success", 0, "out\n", "err\n"),
        (
            "printf out; printf err >&2; exit 3",
            "Failed",
            "Failed",
            3,
            "out",
            "errfailed to run commands: exit status 3",
        ),
        ("echo out; exit 137", "TimedOut", "ExecutionTimedOut", 137, "out\n", ""),
        (
            "printf out; echo err >&2; exit 168",
            "Success",
            "Success",
            168,
            f"out\nStep exited with code 168. Therefore, marking step as succeeded. {SKIPPED}",
            "",
        ),
        (
            "exit 169",
            "Failed",
            "Failed",
            169,
            f"\nStep exited with code 169. {FAILED} {SKIPPED}",
            f"failed to run commands: exit status 169\nStep exited with code 169. {FAILED} {SKIPPED}",
        ),
        ("#!/usr/bin/env python3\nprint(6 * 7)", "Success", "Success", 0, "42\n", ""),
        ("\n#!/usr/bin/env python3\necho sh", "Success", "Success", 0, "sh\n", ""),
        ("#!/no/such/interpreter\necho never", "Failed", "Failed", 127, "", None),
        ("false | true", "Success", "Success", 0, "", ""),
        ("true </dev/tty || exit 9", "Failed", "Failed", 9, "", None),
        ("cd /nowhere; false; echo on", "Success", "Success", 0, "on\n", None),
        ("kill -9 $PPID", "Failed", "Failed", -1, "", "failed to run commands: signal: killed"),
        ("kill -TERM $PPID", "Failed", "Failed", -1, "", "failed to run commands: signal: terminated"),
        ("kill -TERM $$", "Failed", "Failed", 143, "", "Terminated\nfailed to run commands: exit status 143"),
        ("kill -HUP $$", "Failed", "Failed", 129, "", "Hangup\nfailed to run commands: exit status 129"),
        ("kill -SEGV $$", "Failed", "Failed", 139, "", "Segmentation fault\nfailed to run commands: exit status 139"),
    ],
)
def test_ends_are_told_as_the_agent_tells_them(
    run: Run, script: str, status: str, details: str, code: int, stdout: str, stderr: str | None
) -> None:
    ended = run(script)
    assert (ended["Status"], ended["StatusDetails"], ended["ResponseCode"]) == (status, details, code)
    assert ended["StandardOutputContent"] == stdout
    assert stderr is None or ended["StandardErrorContent"] == stderr


def test_the_environment_is_bare(run: Run) -> None:
    ended = run("tr '\\0' '\\n' < /proc/$PPID/environ | sed 's/=.*//' | sort")
    assert ended["StandardOutputContent"].split() == [
        "AWS_SSM_INSTANCE_ID",
        "AWS_SSM_PLATFORM_NAME",
        "AWS_SSM_PLATFORM_VERSION",
        "AWS_SSM_REGION_NAME",
        "LANG",
        "PATH",
        "PWD",
        "SSM_COMMAND_ID",
    ]


@pytest.mark.parametrize(
    ("script", "stdout"),
    [
        ("umask; pwd; id -u; id -g", "0022\n/usr/bin\n0\n0\n"),
        ("ls /proc/$PPID/fd; readlink /proc/$PPID/fd/0", "0\n1\n2\n/dev/null\n"),
        ("readlink /proc/$PPID/fd/1 /proc/$PPID/fd/2 | sed 's/:.*//'", "pipe\npipe\n"),
        (
            # Not with a program: dash blocks signals for the moment in which it starts one. Not 32 and 33, which glibc
            # keeps to itself, and leaves ignored in what make starts (its spawni.c).
            "while read key bits; do case $key in S*[kn]:) echo $((0x$bits & 0x7fffffff)); esac; done </proc/$$/status",
            "0\n0\n",
        ),
        ("stat -c %a $0; echo ${0##*/}", "700\n_script.sh\n"),
        (
            "echo $AWS_SSM_REGION_NAME; echo $PWD; echo ${HOME-unset} ${USER-unset}",
            "us-east-1\n/usr/bin\nunset unset\n",
        ),
    ],
)
def test_a_script_finds_what_the_agent_leaves(run: Run, script: str, stdout: str) -> None:
    assert run(script)["StandardOutputContent"] == stdout


def test_the_script_has_its_own_group_but_not_its_own_session(run: Run) -> None:
    group, session, parent = run("cut -d' ' -f5,6 /proc/$$/stat; echo $PPID")["StandardOutputContent"].split()
    assert group == parent
    assert session != group


@pytest.mark.parametrize("size", [23_979, 23_999, 24_000, 24_001, 100_000])
def test_streams_are_cut_at_24000_bytes(run: Run, size: int) -> None:
    ended = run(f"head -c {size} /dev/zero | tr '\\0' x; head -c {size} /dev/zero | tr '\\0' y >&2")
    whole = size < 24_000
    assert ended["StandardOutputContent"] == ("x" * size if whole else "x" * 23_980 + "--output truncated--")
    assert ended["StandardErrorContent"] == "y" * 8_000


def test_bytes_that_are_no_utf8_are_replaced_and_controls_stay(run: Run) -> None:
    assert run(r"printf 'a\377\000\033\r\303'")["StandardOutputContent"] == "a�\0\033\r�"


def test_a_background_child_that_holds_stdout_keeps_the_command_going(run: Run) -> None:
    began = time.monotonic()
    ended = run("(sleep 1.2; echo late) & echo early")
    assert time.monotonic() - began > 1.2
    assert (ended["StandardOutputContent"], ended["ResponseCode"]) == ("early\nlate\n", 0)


def test_a_child_that_holds_stdout_to_the_timeout_makes_a_success_read_timed_out(run: Run) -> None:
    ended = run("echo done; sleep 60 & exit 0", parameters={"executionTimeout": ["5"]})
    assert (ended["StatusDetails"], ended["ResponseCode"]) == ("ExecutionTimedOut", 137)
    assert ended["StandardOutputContent"] == "done\n"


def test_while_it_runs_a_command_has_no_code_and_no_output(run: Run, client: Client, account: Account) -> None:
    ssm, instance = client("ssm"), account.instances[0]
    command = ssm.send_command(
        DocumentName="AWS-RunShellScript", InstanceIds=[instance], Parameters={"commands": ["echo early; sleep 79"]}
    )["Command"]["CommandId"]
    wait_for_line(run, "sleep 79")
    now = ssm.get_command_invocation(CommandId=command, InstanceId=instance)
    assert (now["Status"], now["ResponseCode"]) == ("InProgress", -1)
    assert (now["StandardOutputContent"], now["StandardErrorContent"]) == ("", "")
    (listed,) = ssm.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"]
    assert listed["CommandPlugins"] == []
    ssm.cancel_command(CommandId=command)
    assert final(ssm, command, instance)["Status"] == "Cancelled"


def test_what_leaves_the_group_outlives_a_cancel_and_what_stays_does_not(
    run: Run, client: Client, account: Account
) -> None:
    ssm, instance = client("ssm"), account.instances[1]
    starts = [
        "setsid sleep 4731",
        "timeout 99 sleep 4732",
        "timeout --foreground 99 sleep 4733",
        "sh -c 'sleep 4734; :'",
    ]
    script = "".join(f"{start} & " for start in starts) + "bash -c 'set -m; sleep 4735 & wait' & wait"
    command = ssm.send_command(
        DocumentName="AWS-RunShellScript", InstanceIds=[instance], Parameters={"commands": [script]}
    )["Command"]["CommandId"]
    until = time.monotonic() + 10
    while run("ps ax -o args= | grep -c '^sleep 473'", instance=1)["StandardOutputContent"] != "5\n":
        assert time.monotonic() < until
    ssm.cancel_command(CommandId=command)
    final(ssm, command, instance)
    left = run("ps ax -o args= | grep '^sleep 473' | sort; pkill -f '^sleep 473'", instance=1)["StandardOutputContent"]
    assert left.splitlines() == ["sleep 4731", "sleep 4732", "sleep 4735"]


def test_a_working_directory_that_is_there_is_used(run: Run) -> None:
    ended = run("pwd; echo $PWD", parameters={"workingDirectory": ["/var/tmp"]})
    assert ended["StandardOutputContent"] == "/var/tmp\n/var/tmp\n"


def test_the_script_stays_on_disk_with_what_was_sent_in_it(run: Run) -> None:
    path = run("echo $0; : a secret")["StandardOutputContent"].strip()
    assert path.startswith("/var/lib/amazon/ssm/i-")
    assert path.endswith("/awsrunShellScript/0.awsrunShellScript/_script.sh")
    assert "a secret" in run(f"cat {path}")["StandardOutputContent"]


def test_a_stream_without_output_makes_no_object(run: Run, client: Client, account: Account) -> None:
    ended = run("echo only stdout", OutputS3BucketName=account.bucket)
    listed = client("s3").list_objects_v2(Bucket=account.bucket, Prefix=ended["CommandId"])["Contents"]
    assert [each["Key"].rpartition("/")[2] for each in listed] == ["stdout"]


def test_a_child_that_left_the_pipes_lives_on_after_its_command(run: Run) -> None:
    run("setsid sleep 4711 > /dev/null 2>&1 &", instance=1)
    assert "sleep 4711" in run("ps ax", instance=1)["StandardOutputContent"]
    assert "sleep 4711" not in run("ps ax", instance=0)["StandardOutputContent"]
    run("pkill -f '[s]leep 4711'", instance=1)


def test_the_execution_timeout_kills_the_group_at_once_and_tells_137(run: Run) -> None:
    began = time.monotonic()
    ended = run(
        "trap 'echo trapped' TERM; echo begun; (sleep 60; echo no) & sleep 60; echo never",
        parameters={"executionTimeout": ["5"]},
    )
    assert 5 <= time.monotonic() - began < 30
    assert (ended["StatusDetails"], ended["ResponseCode"]) == ("ExecutionTimedOut", 137)
    assert (ended["StandardOutputContent"], ended["StandardErrorContent"]) == ("begun\n", "")
    assert "sleep 60" not in run("ps ax")["StandardOutputContent"]


def test_cancel_kills_the_group_at_once(run: Run, client: Client, account: Account) -> None:
    ssm, instance = client("ssm"), account.instances[0]
    command = ssm.send_command(
        DocumentName="AWS-RunShellScript", InstanceIds=[instance], Parameters={"commands": ["echo begun; sleep 77"]}
    )["Command"]["CommandId"]
    wait_for_line(run, "sleep 77")
    ssm.cancel_command(CommandId=command)
    ended = final(ssm, command, instance, 20)
    assert (ended["Status"], ended["StatusDetails"], ended["ResponseCode"]) == ("Cancelled", "Cancelled", 137)
    assert ended["StandardOutputContent"] == "begun\n"
    assert "sleep 77" not in run("ps ax")["StandardOutputContent"]
    assert ssm.list_commands(CommandId=command)["Commands"][0]["StatusDetails"] == "Cancelled"


def test_194_reboots_and_runs_the_whole_script_again(run: Run) -> None:
    ended = run(
        "n=$(cat /var/lib/boots 2>/dev/null || echo 0); echo $((n + 1)) > /var/lib/boots; echo run $n",
        "[ $n -ge 1 ] || { mkdir /tmp/volatile; setsid sleep 4712 > /dev/null 2>&1 & exit 194; }",
        "ls -d /tmp/volatile 2>/dev/null; ps ax | grep '[s]leep 4712'; exit 0",
        instance=2,
    )
    assert (ended["StatusDetails"], ended["ResponseCode"]) == ("Success", 0)
    # The agent appends to the files of the first run.
    assert ended["StandardOutputContent"] == "run 0\nrun 1\n"


def test_five_run_at_once_and_the_sixth_waits(client: Client, account: Account) -> None:
    ssm, instance = client("ssm"), account.instances[3]
    script = "mkdir -p /var/tmp/five; cd /var/tmp/five; touch $$; until [ -e ../go ]; do sleep 0.1; done; ls | wc -l"
    script += "; rm $$"
    place = Path(account.folder, instance, "var-tmp")
    commands = [
        ssm.send_command(DocumentName="AWS-RunShellScript", InstanceIds=[instance], Parameters={"commands": [script]})[
            "Command"
        ]["CommandId"]
        for _ in range(7)
    ]
    assert until(lambda: len(list(place.glob("five/*"))) == 5)
    time.sleep(0.5)
    assert len(list(place.glob("five/*"))) == 5
    (place / "go").touch()
    seen = [int(final(ssm, each, instance)["StandardOutputContent"]) for each in commands]
    assert len(seen) == 7
    assert max(seen) <= 5


@pytest.mark.parametrize(
    ("parameters", "code", "stderr"),
    [
        (
            {"workingDirectory": ["/nowhere"]},
            1,
            "failed to run commands: fork/exec /usr/bin/sh: no such file or directory",
        ),
        ({"executionTimeout": ["0"]}, -1, ""),
        ({"executionTimeout": ["soon"]}, -1, ""),
        ({"commands": ["# {{ssm:/no/such}}", "echo no"]}, -1, ""),
    ],
)
def test_documents_that_cannot_run_fail(run: Run, parameters: dict[str, Any], code: int, stderr: str) -> None:
    ended = run("echo no", parameters=parameters)
    assert (ended["StatusDetails"], ended["ResponseCode"]) == ("Failed", code)
    assert (ended["StandardOutputContent"], ended["StandardErrorContent"]) == ("", stderr)


def test_parameter_store_values_are_put_in(run: Run, client: Client) -> None:
    client("ssm").put_parameter(Name="/greeting", Value="hello", Type="String")
    assert run("echo {{ssm:/greeting}}")["StandardOutputContent"] == "hello\n"


def test_output_goes_to_the_bucket_under_the_documented_key(run: Run, client: Client, account: Account) -> None:
    ended = run("echo out; printf err >&2; exit 4", OutputS3BucketName=account.bucket, OutputS3KeyPrefix="logs")
    key = f"logs/{ended['CommandId']}/{account.instances[0]}/awsrunShellScript/0.awsrunShellScript"
    s3 = client("s3")
    bodies = {
        name: s3.get_object(Bucket=account.bucket, Key=f"{key}/{name}")["Body"].read() for name in ("stdout", "stderr")
    }
    assert bodies == {"stdout": b"out\n", "stderr": b"errfailed to run commands: exit status 4"}
    assert ended["StandardOutputUrl"].endswith(f"/{account.bucket}/{key}/stdout")


def test_output_for_a_bucket_that_is_not_there_is_nobodys_trouble(run: Run) -> None:
    assert run("echo out", OutputS3BucketName="no-such-bucket-here")["Status"] == "Success"


def test_list_pages_carry_the_short_output_only_with_details(run: Run, client: Client) -> None:
    command = run("head -c 3000 /dev/zero | tr '\\0' x; printf oops >&2; exit 1")["CommandId"]
    ssm = client("ssm")
    assert ssm.list_command_invocations(CommandId=command)["CommandInvocations"][0]["CommandPlugins"] == []
    (listed,) = ssm.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"]
    (plugin,) = listed["CommandPlugins"]
    assert plugin["Name"] == "aws:runShellScript"
    assert len(plugin["Output"]) == 2_500
    assert plugin["Output"].endswith(
        "\n---Output truncated---\n----------ERROR-------\noopsfailed to run commands: exit status 1"
    )


def test_the_role_of_an_instance_reads_the_bucket(run: Run, client: Client, account: Account) -> None:
    client("s3").put_object(Bucket=account.bucket, Key="a b", Body=b"by role")
    ended = run(
        f"export HOME=/root; aws s3api get-object --bucket {account.bucket} --key 'a b' /tmp/got >&2; cat /tmp/got"
    )
    assert ended["StandardOutputContent"] == "by role", ended


def test_instances_have_their_own_directories_and_the_hosts_home_is_hidden(run: Run) -> None:
    script = (
        "for d in /tmp /var/tmp /var/lib /root /home /run; do echo mine > $d/mine-$1 || exit 9; done; cat /root/mine-*"
    )
    assert run(f"set -- a; {script}", instance=0)["StandardOutputContent"] == "mine\n"
    assert run("cat /tmp/mine-* /root/mine-*; ls /home", instance=1)["StandardOutputContent"] == ""


def test_root_can_switch_users_and_give_files_away_but_not_mount(run: Run) -> None:
    ended = run(
        "touch /tmp/gift && chown nobody /tmp/gift && stat -c %U /tmp/gift; runuser -u nobody -- id -u",
        "runuser -u nobody -- sleep 4799 > /dev/null 2>&1 & until pkill -KILL -u nobody sleep; do sleep 0.1; done",
        "echo killed",
        "mount -o remount,rw,bind / / || mount -t tmpfs none /mnt || unshare -m true || mknod /tmp/d b 7 0 || echo no",
    )
    assert ended["StandardOutputContent"] == "nobody\n65534\nkilled\nno\n"


def test_the_host_is_read_only(run: Run) -> None:
    assert "Read-only file system" in run("touch /etc/x /usr/x")["StandardErrorContent"]


def test_the_settings_of_the_kernel_can_be_read_and_not_written(run: Run) -> None:
    answer = run(
        "cat /proc/sys/kernel/ostype; true > /proc/sys/kernel/core_pattern; test -w /proc/sysrq-trigger && echo w"
    )
    assert answer["StandardOutputContent"] == "Linux\n"
    assert "Read-only file system" in answer["StandardErrorContent"]


def test_the_aws_command_line_works_as_a_foreign_client(account: Account) -> None:
    aws = Path(sys.executable).with_name("aws")
    env = {**os.environ, **launch.exports(account), "AWS_PAGER": "", "HOME": "/nonexistent"}

    def call(*arguments: str) -> dict[str, Any]:
        done = subprocess.run([aws, *arguments], env=env, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    sent = call(
        "ssm", "send-command", "--document-name", "AWS-RunShellScript", "--targets",
        f"Key=InstanceIds,Values={account.instances[0]}", "--parameters", 'commands=["echo hello; exit 7"]',
    )  # fmt: skip
    command = sent["Command"]["CommandId"]
    subprocess.run(
        [aws, "ssm", "wait", "command-executed", "--command-id", command, "--instance-id", account.instances[0]],
        env=env, capture_output=True, check=False,
    )  # fmt: skip
    (invocation,) = call("ssm", "list-command-invocations", "--command-id", command, "--details")["CommandInvocations"]
    assert invocation["StatusDetails"] == "Failed"
    assert invocation["CommandPlugins"][0]["ResponseCode"] == 7
    assert invocation["CommandPlugins"][0]["Output"].startswith("hello\n")


def wait_for_line(run: Run, text: str) -> None:
    until = time.monotonic() + 10
    while text not in run(f"ps ax | grep '[{text[0]}]{text[1:]}'")["StandardOutputContent"]:
        assert time.monotonic() < until
