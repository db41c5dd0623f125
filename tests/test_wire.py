"""From options and settings to who is meant and by what they are reached."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ssm_deployer.cli.wire import place, settings_from
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Target
from ssm_deployer.selector import Selector
from ssm_deployer.targets import Choice, Resolution


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(*selectors: str, **given: Any) -> dict[str, Any]:
    return {"selectors": selectors, "config": None, "sandbox": False, "sandbox_size": None, **given}


def resolved(*selectors: str, **given: Any) -> Resolution:
    chosen = options(*selectors, **given)
    with place(chosen, settings_from(chosen)) as here:
        assert here.regions == ()
        return here.resolve()


def refusal(*selectors: str, **given: Any) -> str:
    with pytest.raises(UsageError) as caught:
        resolved(*selectors, **given)
    return f"{caught.value.message}\n{caught.value.hint}"


def test_hosts_need_no_region_and_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    assert [target.id for target in resolved("ssh:web1").targets] == ["ssh:web1"]


def test_hosts_of_the_file_are_meant_when_nobody_is_named(folder: Path) -> None:
    (folder / "config.yaml").write_text("targets: ['ssh:web2', 'file:machines.txt']\naws: {username: me}\n")
    (folder / "machines.txt").write_text("you@web1\n")
    assert [(target.id, target.user) for target in resolved().targets] == [("ssh:web2", "me"), ("ssh:you@web1", "you")]


def test_a_variable_that_is_empty_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSM_DEPLOY_CONFIG", "")
    assert resolved("ssh:web1").targets
    monkeypatch.setenv("SSM_DEPLOY_CONFIG", "missing.yaml")
    assert refusal("ssh:web1").startswith("cannot read missing.yaml")


def test_flags_say_how_hosts_are_reached() -> None:
    [target] = resolved("ssh:web1", ssh_user="me", ssh_port="2222").targets
    assert (target.user, target.port, target.address) == ("me", 2222, "web1")
    assert msgspec.json.decode(msgspec.json.encode(target), type=Target) == target


def test_where_an_instance_is_meant_there_is_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    for selectors in ((), ("all",), ("ssh:web1", "tag:Role=web")):
        chosen = options(*selectors)
        with place(chosen, settings_from(chosen)) as here:
            assert [aws.region for aws in here.regions] == ["eu-west-1"]


def test_what_may_be_chosen_is_what_the_settings_say(folder: Path) -> None:
    (folder / "config.yaml").write_text(
        "aws: {username: me}\nssh: {port: 23, address: private, tunnel: instance-connect, key: ephemeral}\n"
    )
    chosen = options("ssh:web1", backend="ssh")
    with place(chosen, settings_from(chosen)) as here:
        assert here.choice == Choice(
            backend="ssh", user="me", port=23, address="private", tunnel="instance-connect", key=True
        )


@pytest.mark.parametrize("selector", ["ssh:web1", "file:machines.txt"])
def test_hosts_and_a_backend_of_ssm_exclude_each_other(selector: str) -> None:
    words = f"{selector} is reached by SSH, and --backend ssm leaves that out\ngive --backend auto"
    assert refusal("all", selector, backend="ssm") == words


@pytest.mark.parametrize("given", [{"sandbox": True}, {"sandbox_size": 2}])
@pytest.mark.parametrize("selector", ["ssh:web1", "file:machines.txt"])
def test_a_rehearsal_touches_no_host(selector: str, given: dict[str, Any]) -> None:
    assert refusal(selector, **given).startswith(f"{selector} does not go with --sandbox")


def test_a_rehearsal_is_by_ssm() -> None:
    assert refusal(sandbox=True, backend="ssh").startswith("--backend ssh does not go with --sandbox")


def test_a_missing_key_is_told_before_anything_happens() -> None:
    assert refusal("ssh:web1", ssh_key="/missing").startswith("cannot read the key /missing")


@pytest.mark.slow
def test_a_rehearsal_tries_no_address_of_its_instances_whatever_keys_there_are() -> None:
    chosen = options(sandbox=True, sandbox_size=1)
    with place(chosen, settings_from({**chosen, "ssh_key": os.devnull})) as here:
        assert here.choice.backend == "ssm"
        assert here.selectors == (Selector("all"),)
        assert [target.via for target in here.resolve().targets] == ["ssm"]
