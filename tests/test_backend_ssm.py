"""The contract of backends, kept by SSM in the sandbox; and what is SSM's alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from backend_contract import BackendContract, MakeBackend, staged_by

from ssm_deployer import payload
from ssm_deployer.aws import Aws
from ssm_deployer.backends.content import BUNDLE, SCRIPT, Content, Limits
from ssm_deployer.backends.ssm import SsmBackend
from ssm_deployer.bundle import scan
from ssm_deployer.cli.upload_script import new_run_id
from ssm_deployer.errors import BadTarget
from ssm_deployer.model import Handle, Invocation, Target
from ssm_deployer.runner import Backend
from ssm_deployer.sandbox import launch
from ssm_deployer.staging import Staging

pytestmark = pytest.mark.slow

SCRIPTS = {"hello": b"echo hello\n", "fail": b"echo boom >&2\nexit 3\n", "sleep": b"sleep 60\n"}


@pytest.fixture(scope="module")
def account() -> Iterator[launch.Account]:
    with launch.throwaway(2) as started:
        yield started


@pytest.fixture
def aws(account: launch.Account) -> Aws:
    return Aws(
        region=account.region, credentials=(account.access_key, account.secret_key), endpoint_url=account.endpoint_url
    )


@pytest.fixture
def targets(account: launch.Account) -> Sequence[Target]:
    return [Target(id=key, region=account.region, via="ssm") for key in account.instances]


@pytest.fixture
def pause() -> float:
    return 0.05


@pytest.fixture
def make(aws: Aws, account: launch.Account, tmp_path: Path) -> MakeBackend:
    (tmp_path / "a file").write_text("content")

    def make(script: str, *, by_role: bool = False) -> SsmBackend:
        run_id = new_run_id()
        return SsmBackend(
            [aws],
            Staging(aws.client("s3"), account.bucket, f"ssm-deploy/{run_id}"),
            run_id,
            Content(script=SCRIPTS.get(script, script.encode()), inputs=payload.inputs((), {}), bundle=scan(tmp_path)),
            Limits(script=30, fetch=20, delivery=60, grace=2, by_role=by_role),
        )

    return make


class TestSsmBackend(BackendContract):
    """Everything that any backend owes."""


class _Looks(BackendContract):
    """The contract's own ways of waiting, for the tests below."""

    __test__ = False


def _verdicts(backend: Backend, targets: Sequence[Target], aws: Aws, change: str) -> Sequence[Invocation]:
    looks = _Looks()
    staged = staged_by(backend)
    assert isinstance(backend, SsmBackend)
    # As long as the real one: a shorter one would be taken for a download that was cut, and tried again.
    size = aws.client("s3").head_object(Bucket=backend.staging.bucket, Key=f"{backend.staging.folder}/{change}")
    backend.staging.put(change, b"x" * size["ContentLength"])
    return looks.until_final(backend, backend.start(targets, staged), 0.05)


@pytest.mark.parametrize("name", [BUNDLE, SCRIPT])
def test_content_that_changed_on_its_way_is_refused_before_anything_runs(
    make: MakeBackend, targets: Sequence[Target], aws: Aws, name: str
) -> None:
    backend = make("hello")
    for seen in _verdicts(backend, targets, aws, name):
        assert str(seen.status) == "refused"
        assert seen.record is not None
        assert seen.record.outcome == "refused"
        assert "hello" not in seen.stdout
    backend.clean()


def test_delivery_by_role_works_without_a_bearer_url(make: MakeBackend, targets: Sequence[Target], aws: Aws) -> None:
    backend = make("hello", by_role=True)  # type: ignore[call-arg]  # the fixture's own option
    handle = backend.start(targets, staged_by(backend))
    seen = _Looks().until_final(backend, handle, 0.05)
    assert {each.stdout for each in seen} == {"hello\n"}
    [command] = aws.client("ssm").list_commands(CommandId=handle.command)["Commands"]
    assert "X-Amz-Signature" not in command["Parameters"]["commands"][0]
    backend.clean()


def test_a_second_command_of_the_same_run_does_not_run_the_script_again(
    make: MakeBackend, targets: Sequence[Target]
) -> None:
    backend = make("hello")
    staged = staged_by(backend)
    first = _Looks().until_final(backend, backend.start(targets, staged), 0.05)
    again = _Looks().until_final(backend, backend.start(targets, staged), 0.05)
    assert {str(each.status) for each in first} == {"succeeded"}
    assert {each.record.error for each in again if each.record} == {"duplicate"}
    backend.clean()


def test_an_id_that_the_service_does_not_know_is_a_bad_target(make: MakeBackend, targets: Sequence[Target]) -> None:
    backend = make("hello")
    staged = staged_by(backend)
    with pytest.raises(BadTarget):
        backend.start([Target(id="i-0123456789abcdef0", region=targets[0].region, via="ssm")], staged)
    backend.clean()


def test_no_secret_stands_in_the_parameters_of_a_command_delivered_by_role(
    make: MakeBackend, targets: Sequence[Target], aws: Aws
) -> None:
    backend = make("hello", by_role=True)  # type: ignore[call-arg]  # the fixture's own option
    handle: Handle = backend.start(targets, staged_by(backend))
    _Looks().until_final(backend, handle, 0.05)
    [command] = aws.client("ssm").list_commands(CommandId=handle.command)["Commands"]
    assert "X-Amz-" not in command["Parameters"]["commands"][0]
    backend.clean()
