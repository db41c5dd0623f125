"""A thousand targets: the calls to AWS are counted, and none of them is one per target."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from canned import CannedAws, Fleet, recorded
from fakes import RUN_ID, FakeClock, FakeStop

from ssm_deployer.backends.content import Content, Limits
from ssm_deployer.backends.ssm import SsmBackend
from ssm_deployer.bundle import scan
from ssm_deployer.events import Run, replay
from ssm_deployer.model import Plan, Status
from ssm_deployer.runner import deploy
from ssm_deployer.runner.deployment import READS
from ssm_deployer.selector import ALL, Selector
from ssm_deployer.staging import Staging
from ssm_deployer.targets import resolve

SIZE = 1_000
LOOKS = 3  # the fleet's own pace: pending, in progress, success
CUT = "\n---Output truncated---"
LIMITS = Limits(script=300, fetch=60, delivery=600, grace=10)


def deployed(fleet: Fleet, files: Path) -> Run:
    """Resolve, deploy and fold; the waits take no time."""
    aws = CannedAws(fleet)
    plan = Plan(run_id=RUN_ID, regions=(aws.region,), script="s.sh", targets=resolve([ALL], [aws]).targets)
    content = Content(script=b"echo done\n", inputs=b"exec\n", bundle=scan(files))
    backend = SsmBackend([aws], Staging(aws.client("s3"), "bucket", "folder"), RUN_ID, content, LIMITS)
    backend.check()
    return replay(list(deploy(plan, {"ssm": backend}, FakeClock(), FakeStop())))


def calls(fleet: Fleet, *services: str) -> Counter[str]:
    return Counter({name: made for name, made in fleet.calls.items() if name.startswith(services)})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a file").write_text("content")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "reads"),
    [
        (lambda _: recorded("done\n", "same"), 0),
        (lambda _: recorded("done\n" + CUT, "same"), 1),
        (lambda number: recorded("done\n" + CUT, str(number)), READS),
    ],
    ids=["output that fits", "the same long output everywhere", "another long output on each"],
)
def test_a_run_makes_no_call_per_target(output: Callable[[int], str], reads: int, files: Path) -> None:
    fleet, one = Fleet(SIZE, output), Fleet(1, output)
    run = deployed(fleet, files)
    assert [each.status for each in run.invocations.values()] == [Status.SUCCEEDED] * SIZE
    assert calls(fleet, "ec2", "ssm") == Counter(
        {
            "ec2:DescribeInstances": 1,  # a page holds up to a thousand
            "ssm:DescribeInstanceInformation": SIZE // 50,
            "ssm:SendCommand": SIZE // 50,
            "ssm:ListCommandInvocations": SIZE // 50 * LOOKS,
            "ssm:GetCommandInvocation": reads,
        }
    )
    deployed(one, files)
    assert calls(fleet, "s3") == calls(one, "s3")


def test_targets_without_a_record_are_not_asked_one_by_one(files: Path) -> None:
    fleet = Fleet(SIZE, lambda _: "no record")
    run = deployed(fleet, files)
    assert {each.status for each in run.invocations.values()} == {Status.UNKNOWN}
    assert fleet.calls["ssm:GetCommandInvocation"] == 0
    assert fleet.calls["ssm:ListCommandInvocations"] < SIZE // 2


def test_naming_a_thousand_ids_takes_a_call_for_each_200_and_each_50() -> None:
    fleet = Fleet(SIZE, str)
    found = resolve([Selector("id", (key,)) for key in fleet.ids], [CannedAws(fleet)])
    assert [target.id for target in found.targets] == fleet.ids
    assert all(target.reachable for target in found.targets)
    assert fleet.calls == {"ec2:DescribeInstances": SIZE // 200, "ssm:DescribeInstanceInformation": SIZE // 50}
