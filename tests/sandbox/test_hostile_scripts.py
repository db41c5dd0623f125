"""A script is root in its instance: nothing that it leaves there may lead the sandbox itself astray."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox.sandbox_bench import Client, Run, client_of, runner

from ssm_deployer.sandbox import launch
from ssm_deployer.sandbox.launch import Account

pytestmark = pytest.mark.slow

ORCHESTRATION = "/var/lib/amazon/ssm/$AWS_SSM_INSTANCE_ID/document/orchestration"
FOLDER = f"{ORCHESTRATION}/$SSM_COMMAND_ID/awsrunShellScript/0.awsrunShellScript"


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with launch.throwaway(6) as account:
        yield account


@pytest.fixture(scope="module")
def client(account: Account) -> Client:
    return client_of(account)


@pytest.fixture(scope="module")
def run(account: Account, client: Client) -> Run:
    return runner(account, client)


@pytest.fixture
def reboot(account: Account, client: Client) -> Callable[[int], Any]:
    return lambda number: client("ec2").reboot_instances(InstanceIds=[account.instances[number]])


@pytest.mark.parametrize(
    ("number", "deed"), [(0, "ln -sf {victim} $f"), (1, "ln -sf /nowhere/at/all $f"), (2, "rm $f; mkfifo $f")]
)
def test_what_stands_in_place_of_the_roles_profile_is_let_be(
    run: Run, reboot: Callable[[int], Any], tmp_path: Path, number: int, deed: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    deeds = deed.format(victim=victim)
    run(f"for f in /root/.aws/credentials /root/.aws/config; do {deeds}; done", instance=number)
    reboot(number)
    assert run("echo up", instance=number)["StandardOutputContent"] == "up\n"
    assert victim.read_text() == "mine"


def test_the_roles_profile_is_there_from_the_start_and_stays_as_a_script_left_it(
    run: Run, reboot: Callable[[int], Any]
) -> None:
    assert (
        "aws_access_key_id = AKIA"
        in run("cat ~root/.aws/credentials; rm ~root/.aws/*", instance=5)["StandardOutputContent"]
    )
    reboot(5)
    assert run("ls ~root/.aws", instance=5)["StandardOutputContent"] == ""


def test_no_directory_is_made_where_a_link_leads(run: Run, tmp_path: Path) -> None:
    run(f"rm -r /var/lib/amazon; ln -s {tmp_path} /var/lib/amazon", instance=3)
    assert run("echo", instance=3)["Status"] == "Failed"
    assert list(tmp_path.iterdir()) == []
    run("true", instance=4)


@pytest.mark.parametrize(
    "deed",
    [
        "cd {folder}; rm stdout; ln -s {victim} stdout",
        "cd {folder}; rm stdout; mkfifo stdout",
        "cd {folder}; rm stdout; mkdir stdout",
        "cd {folder}/..; mv 0.awsrunShellScript away; ln -s {directory} 0.awsrunShellScript",
    ],
)
def test_only_plain_files_of_the_instance_itself_are_uploaded(
    run: Run, account: Account, client: Client, tmp_path: Path, deed: str
) -> None:
    s3 = client("s3")
    (tmp_path / "stdout").write_text("the host's")
    script = deed.format(folder=FOLDER, victim=tmp_path / "stdout", directory=tmp_path)
    answer = run(f"echo out\n{script}\necho err >&2", instance=4, OutputS3BucketName=account.bucket)
    assert answer["Status"] == "Success"
    assert run("echo alive", instance=4)["StandardOutputContent"] == "alive\n"
    found = s3.list_objects_v2(Bucket=account.bucket, Prefix=answer["CommandId"]).get("Contents", [])
    assert not [each["Key"] for each in found if each["Key"].endswith("/stdout")]


def test_a_script_that_bars_its_own_second_run_harms_itself_only(run: Run) -> None:
    script = f"cd {FOLDER}; rm -f _script.sh; mkfifo _script.sh; exit 194"
    began = time.monotonic()
    assert run(script, instance=3, seconds=30)["Status"] == "Failed"
    assert time.monotonic() - began < 20


def test_a_script_cannot_run_commands_on_others_or_make_itself_an_operator(run: Run) -> None:
    calls = ("ssm list-commands", "iam create-access-key", "ec2 describe-instances")
    refused = [f"aws {call} 2>&1 | grep -Eo 'AccessDenied|Unauthorized'" for call in calls]
    allowed = ["export HOME=/root", "aws s3api list-buckets --query 'length(Buckets)'", "aws sts get-caller-identity"]
    answer = run(*allowed[:2], f"{allowed[2]} >/dev/null && echo me", *refused, instance=4, seconds=60)
    assert answer["StandardOutputContent"].split() == ["1", "me", "AccessDenied", "AccessDenied", "Unauthorized"]
