"""The backends that a plan needs, each made of the settings."""

from itertools import pairwise
from pathlib import Path

import pytest

from ssm_deployer.backends.content import Content, Limits
from ssm_deployer.backends.openssh import Login, ssh
from ssm_deployer.backends.ssh import SshBackend
from ssm_deployer.cli.backends import Ways, limits, limits_of_ssh, login, ways_to
from ssm_deployer.cli.wire import Place
from ssm_deployer.config import Settings, load
from ssm_deployer.config.ssh_option import SshOption
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Target

CONTENT = Content(script=b"true\n")
LOST = Target(id="i-1", reason="the instance is stopped")
SSM = Target(id="i-2", via="ssm")
HOST = Target(id="ssh:web1", via="ssh", address="web1")
INSTANCE = Target(id="i-3", via="ssh", address="i-3", region="eu-west-1")


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


@pytest.mark.parametrize(
    ("ssh", "connections"),
    [
        ("tunnel: instance-connect", 20),
        ("{tunnel: instance-connect, connections: 7}", 7),
        ("{tunnel: session-manager, connections: 30}", 30),
    ],
)
def test_through_an_endpoint_go_no_more_connections_than_it_takes(tmp_path: Path, ssh: str, connections: int) -> None:
    assert login(read(tmp_path, f"ssh: {ssh}\n".replace("ssh: tunnel", "ssh:\n  tunnel"))).connections == connections


def test_what_is_not_set_is_left_to_openssh() -> None:
    assert login(Settings()) == Login()


def test_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    text = """
staging: {delivery: role}
timeouts: {script: 1m, upload: 2m, delivery: 3m}
execution: {grace: 4s, run_as: me}
ssh: {connect_timeout: 5s}
"""
    settings = read(tmp_path, text)
    assert limits(settings) == Limits(script=60, fetch=120, delivery=180, grace=4, run_as="me", by_role=True)
    assert limits_of_ssh(settings) == Limits(script=60, fetch=120, delivery=5, grace=4, run_as="me")


def test_hosts_need_neither_a_bucket_nor_a_region() -> None:
    here = Place(settings=Settings(), regions=(), selectors=())
    ways = ways_to([LOST, HOST], here, "run", CONTENT)
    assert list(ways.backends) == ["ssh"]
    assert isinstance(ways.backends["ssh"], SshBackend)
    assert ways.staging == ""


def test_only_instances_are_reached_with_what_ec2_has_to_offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    here = Place(settings=read(tmp_path, "ssh: {tunnel: instance-connect}"), regions=(), selectors=())
    assert list(ways_to([HOST, LOST], here, "run", CONTENT).backends) == ["ssh"]
    with pytest.raises(UsageError, match="aws"):
        ways_to([HOST, INSTANCE], here, "run", CONTENT)


def test_a_machine_without_an_ssh_client_is_told_before_anything_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    here = Place(settings=Settings(), regions=(), selectors=())
    with pytest.raises(UsageError, match="there is no `ssh` here"):
        ways_to([HOST], here, "run", CONTENT)


def test_no_option_can_be_given_that_is_set_already_and_would_be_of_no_effect() -> None:
    words = ssh(Login(user="me", port=22, jump="gate"), HOST, (), Path("log"))
    names = {word.partition("=")[0] for before, word in pairwise(words) if before == "-o"}
    assert {"BatchMode", "ServerAliveInterval", "ProxyJump"} <= names
    for name in names:
        with pytest.raises(ValueError, match="cannot be given"):
            SshOption.parse(f"{name}=yes")
