"""What SSH logs in with, and what is said where it is not there."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssm_deployer.cli.keys import check_login, has_key, key_file, user_home
from ssm_deployer.config import Settings, load
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Target

SSM = Target(id="i-1", via="ssm")
INSTANCE = Target(id="i-2", via="ssh", address="10.0.0.5")
HOST = Target(id="ssh:web1", via="ssh", address="web1")
LOST = Target(id="i-3", reason="the instance is stopped")


def settings(**variables: str) -> Settings:
    return load(None, {f"SSM_DEPLOY_{name}": value for name, value in variables.items()}, {})


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "id"
    path.write_text("example")
    path.chmod(0o600)
    return path


# -- whether there is one


def test_without_any_key_there_is_none(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").touch()
    (tmp_path / ".ssh" / "id_rsa").mkdir()
    environment = {"SSH_AUTH_SOCK": f"{tmp_path}/gone"}
    assert not has_key(settings(), environment, tmp_path)
    assert not has_key(settings(), {"SSH_AUTH_SOCK": ""}, None)


@pytest.mark.parametrize("name", ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"])
def test_the_files_that_openssh_tries_by_itself_are_keys(tmp_path: Path, name: str) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / name).touch()
    assert has_key(settings(), {}, tmp_path)


@pytest.mark.parametrize(
    "variables",
    [{"SSH_KEY": "ephemeral"}, {"AWS_PRIVATE_SSH_KEY_PATH": "/missing"}, {"AWS_PUBLIC_SSH_KEY_PATH": "/missing.pub"}],
)
def test_what_the_settings_name_is_a_key(variables: dict[str, str]) -> None:
    assert has_key(settings(**variables), {}, None)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    path = f"{tmp_path}/agent"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        yield path


def test_an_agent_has_keys(agent: str) -> None:
    assert has_key(settings(), {"SSH_AUTH_SOCK": agent}, None)


def test_the_home_is_the_one_that_openssh_takes_whatever_home_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    assert user_home() not in {None, Path("/nowhere")}


def test_the_private_key_counts_before_the_public_one() -> None:
    assert key_file(settings(AWS_PUBLIC_SSH_KEY_PATH="/a.pub")) == "/a.pub"
    assert key_file(settings(AWS_PUBLIC_SSH_KEY_PATH="/a.pub", AWS_PRIVATE_SSH_KEY_PATH="/a")) == "/a"


# -- whether it can be used


def test_a_key_that_is_missing_is_told_with_a_remedy() -> None:
    with pytest.raises(UsageError, match=r"^cannot read the key /missing: No such file or directory$") as caught:
        check_login(settings(AWS_PRIVATE_SSH_KEY_PATH="/missing"), [SSM, HOST])
    assert "--ssh-key" in caught.value.hint


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Is a directory"):
        check_login(settings(AWS_PRIVATE_SSH_KEY_PATH=str(tmp_path)), [INSTANCE])


def test_a_key_that_others_may_read_is_told_before_openssh_passes_over_it(key: Path) -> None:
    key.chmod(0o640)
    with pytest.raises(UsageError, match="others may read the key") as caught:
        check_login(settings(AWS_PRIVATE_SSH_KEY_PATH=str(key)), [HOST])
    assert caught.value.hint == f"chmod 600 {key}"
    check_login(settings(AWS_PUBLIC_SSH_KEY_PATH=str(key)), [HOST])
    if os.getuid() == 0:
        os.chown(key, 1, 1)  # of somebody else, which OpenSSH takes as it is
        check_login(settings(AWS_PRIVATE_SSH_KEY_PATH=str(key)), [HOST])


def test_a_key_that_can_be_used_is_taken(key: Path) -> None:
    check_login(settings(AWS_PRIVATE_SSH_KEY_PATH=str(key)), [HOST, INSTANCE])


def test_a_missing_key_does_not_matter_where_nothing_logs_in_with_it() -> None:
    check_login(settings(AWS_PRIVATE_SSH_KEY_PATH="/missing"), [SSM, LOST])
    ephemeral = {"SSH_KEY": "ephemeral", "AWS_USERNAME": "ubuntu"}
    check_login(settings(AWS_PRIVATE_SSH_KEY_PATH="/missing", **ephemeral), [INSTANCE])
    with pytest.raises(UsageError, match="cannot read the key"):
        check_login(settings(AWS_PRIVATE_SSH_KEY_PATH="/missing", **ephemeral), [INSTANCE, HOST])


def test_an_ephemeral_key_needs_a_user_where_it_is_for_an_instance() -> None:
    with pytest.raises(UsageError, match="an ephemeral key is for one user, and none is set for i-2") as caught:
        check_login(settings(SSH_KEY="ephemeral"), [SSM, INSTANCE])
    assert "--ssh-user" in caught.value.hint
    check_login(settings(SSH_KEY="ephemeral"), [SSM, HOST])
