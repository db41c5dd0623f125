"""Logins that a server refuses though the key is right, and what it says."""

import subprocess
from pathlib import Path

import pytest
from ssh.client import Client
from ssh.farm import Address, Farm
from waiting import until

from ssm_deployer.model import Status

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_as_the_farms_user")]

HELLO = b"echo hello\n"


def test_an_account_that_may_not_log_in_though_its_key_is_known_is_told(farm: Farm) -> None:
    seen = Client(farm, HELLO).deploy_one(farm.server(config=["PermitRootLogin no"]))
    assert (seen.status, seen.word) == (Status.UNREACHED, "AuthRefused")
    assert f"it knows the key {farm.home}/.ssh/id_ed25519 and still refuses the login as root: " in seen.detail


def test_no_banner_is_taken_for_what_ssh_says(farm: Farm) -> None:
    server = farm.server(authorized=False, banner="Host key verification failed.\n")
    assert Client(farm, HELLO).deploy_one(server).word == "AuthRefused"


def test_an_agent_with_more_keys_than_may_be_tried_is_told(farm: Farm, agent: Path, tmp_path: Path) -> None:
    for number in range(3):
        key = tmp_path / f"key{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@laptop", "-f", key], check=True)
        subprocess.run(["ssh-add", "-q", key], check=True)
    server = farm.server(config=["MaxAuthTries 2"])
    options = (f"IdentityAgent={agent}",)
    seen = Client(farm, HELLO, options=(*options, "IdentitiesOnly=no")).deploy_one(server)
    assert (seen.status, seen.word) == (Status.UNREACHED, "TooManyKeys")
    assert "with 2 times me@laptop (ED25519); " in seen.detail
    key = farm.home / ".ssh" / "id_ed25519"
    assert Client(farm, HELLO, options=options, key=str(key)).deploy_one(server).status is Status.SUCCEEDED


def test_a_changed_host_key_is_named_as_the_users_own_configuration_has_it(farm: Farm, tmp_path: Path) -> None:
    server = farm.server(trusted=False)
    known = tmp_path / "known hosts"
    known.write_text(f"web {farm.server().host_key}\n")
    config = farm.home / ".ssh" / "config"
    alias = f"Host web1\n  HostName {server.host}\n  Port {server.port}\n  HostKeyAlias web\n"
    config.write_text(f'{alias}  GlobalKnownHostsFile "{known}"\n{config.read_text()}')
    seen = Client(farm, HELLO).deploy_one(Address("web1", 0))
    assert (seen.status, seen.word) == (Status.UNREACHED, "HostKeyChanged")
    assert seen.detail.endswith(f"ssh-keygen -f '{known}' -R web")


# -- accounts, as PAM judges them


def test_an_account_that_has_expired_is_told_in_the_words_of_the_server_and_not_tried_again(farm: Farm) -> None:
    server = farm.server(config=["UsePAM yes"], banner="no trespassing\n")
    shadow = server.folder / "etc" / "shadow"
    shadow.write_text(shadow.read_text().replace(":99999:7:::", ":99999:7::1:"))
    seen = Client(farm, HELLO).deploy_one(server, user="user")
    assert (seen.status, seen.word) == (Status.UNREACHED, "AuthRefused")
    assert "(ED25519): Your account has expired; please contact your system administrator." in seen.detail
    assert server.log.count("Connection from ") == 1


def test_a_machine_that_boots_is_waited_for(farm: Farm) -> None:
    server = farm.server(config=["UsePAM yes"])
    nologin = server.root / "run" / "nologin"
    nologin.write_text("System is booting up. Unprivileged users are not permitted to log in yet.\n")
    client = Client(farm, HELLO)
    handle = client.start(server, user="user")
    client.until_word(handle, "waiting")
    [waiting] = client.backend.observe(handle)
    assert "System is booting up. Unprivileged users are" in waiting.detail
    nologin.unlink()
    [seen] = client.finish(handle)
    assert seen.status is Status.SUCCEEDED, seen


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_a_session_that_is_killed_before_it_greets_has_lost_the_connection(farm: Farm, transfer: str) -> None:
    profile = "touch /var/tmp/started\nsleep 60\n"
    server = farm.server(rc={".bashrc": profile})
    client = Client(farm, HELLO, transfer=transfer)
    handle = client.start(server, user="user")
    assert until((server.root / "var/tmp/started").exists)
    assert server.kill_sessions()
    [seen] = client.finish(handle)
    assert (seen.status, seen.word) == (Status.UNREACHED, "CutOff")
    assert "ended before the script was sent" in seen.detail
