"""The backends that a plan needs, each made of the settings."""

from pathlib import Path

import pytest

from ssm_deployer.backends.content import Content, Limits
from ssm_deployer.backends.openssh import Login
from ssm_deployer.cli.backends import Ways, limits, login, ways_to
from ssm_deployer.cli.wire import Place
from ssm_deployer.config import Settings, load
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Target

CONTENT = Content(script=b"true\n")
LOST = Target(id="i-1", reason="the instance is stopped")
SSM = Target(id="i-2", via="ssm")


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(path, {}, {})


def test_a_plan_that_reaches_nobody_needs_no_backend_and_no_bucket() -> None:
    here = Place(settings=Settings(), regions=(), selectors=())
    assert ways_to([LOST], here, "run", CONTENT) == Ways(backends={})


def test_a_plan_that_ssm_has_a_part_in_needs_a_bucket() -> None:
    here = Place(settings=Settings(), regions=(), selectors=())
    with pytest.raises(UsageError, match="no S3 bucket is set") as caught:
        ways_to([LOST, SSM], here, "run", CONTENT)
    assert "staging.bucket" in caught.value.hint


def test_ssh_logs_in_as_the_settings_say(tmp_path: Path) -> None:
    text = """
aws: {username: me, private_ssh_key_path: /k}
ssh: {port: 23, options: [Compression=yes], jump: gate, connections: 7, connect_timeout: 5s, transfer: scp,
      host_keys: accept-new, key_exchange: fast, sudo: true}
"""
    assert login(read(tmp_path, text)) == Login(
        user="me", key="/k", port=23, options=("Compression=yes",), jump="gate", connections=7, connect_timeout=5,
        transfer="scp", host_keys="accept-new", key_exchange="fast", sudo=True,
    )  # fmt: skip


def test_what_is_not_set_is_left_to_openssh() -> None:
    assert login(Settings()) == Login()


def test_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    text = """
staging: {delivery: role}
timeouts: {script: 1m, upload: 2m, delivery: 3m}
execution: {grace: 4s, run_as: me}
"""
    expected = Limits(script=60, fetch=120, delivery=180, grace=4, run_as="me", by_role=True)
    assert limits(read(tmp_path, text)) == expected
