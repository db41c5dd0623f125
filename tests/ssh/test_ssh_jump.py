"""The way to a target by a jump host or another command, and what goes wrong on it."""

import shlex
import subprocess
from pathlib import Path

import pytest
from ssh.client import Client
from ssh.farm import Farm, Reachable
from ssh.layout import write
from ssh.server import occupied

from ssm_deployer.model import Invocation, Status

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_as_the_farms_user")]

HELLO = b"echo hello\n"


def by(jump: Reachable) -> str:
    return f"root@{jump.host}:{jump.port}"


def failed(seen: Invocation, word: str) -> bool:
    assert (seen.word, seen.status) == (word, Status.UNREACHED), seen
    return "debug1" not in seen.stderr + seen.detail


def test_a_jump_host_that_refuses_is_told(farm: Farm) -> None:
    refused = farm.refused()
    seen = Client(farm, HELLO, jump=by(refused)).deploy_one(farm.server())
    assert seen.status is Status.UNREACHED
    assert "refused" in seen.detail.lower()


def test_nothing_asks_for_the_password_of_a_jump_host(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a desktop, ssh without a terminal would open a window."""
    jump = farm.server(authorized=False, config=["PasswordAuthentication yes"])
    window, asked = farm.home / "bin" / "askpass", farm.home / "asked"
    window.write_text(f'#!/bin/sh\necho "$*" >>{asked}\n')
    window.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(window))
    monkeypatch.setenv("DISPLAY", ":0")
    seen = Client(farm, HELLO, jump=by(jump)).deploy_one(farm.server())
    assert seen.word == "JumpRefused"
    assert "jump host refused the login (publickey,password)" in seen.detail
    assert not asked.exists()


def test_the_way_may_lead_through_a_jump_host(farm: Farm) -> None:
    jump, server = farm.servers(2)
    seen = Client(farm, HELLO, jump=by(jump)).deploy_one(server)
    assert (seen.status, seen.stdout) == (Status.SUCCEEDED, "hello\n")


def test_a_jump_host_with_another_key_than_the_known_one_is_told_with_the_command_that_forgets_it(farm: Farm) -> None:
    jump, server = farm.servers(2)
    jump.change_host_key()
    seen = Client(farm, HELLO, jump=by(jump)).deploy_one(server)
    assert failed(seen, "JumpFailed")
    command = f"ssh-keygen -f {farm.home}/.ssh/known_hosts -R '{jump.known_as}'"
    assert seen.detail.endswith(command)
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    farm.trust(jump)
    assert Client(farm, HELLO, jump=by(jump)).deploy_one(server).status is Status.SUCCEEDED


@pytest.mark.parametrize("host_keys", ["strict", "accept-new"])
def test_a_jump_host_whose_key_is_not_known_is_told_with_the_command_that_connects_to_it(
    farm: Farm, host_keys: str
) -> None:
    jump, server = farm.server(trusted=False), farm.server()
    seen = Client(farm, HELLO, jump=by(jump), host_keys=host_keys).deploy_one(server)
    assert failed(seen, "JumpFailed")
    command = seen.detail.partition("fingerprint: ")[2]
    learnt = [*shlex.split(command), "-o", "StrictHostKeyChecking=accept-new", "true"]
    subprocess.run(learnt, check=True, capture_output=True)
    assert Client(farm, HELLO, jump=by(jump)).deploy_one(server).status is Status.SUCCEEDED


def test_keys_of_a_target_behind_a_jump_host_are_the_targets(farm: Farm) -> None:
    jump, server = farm.servers(2)
    server.change_host_key()
    seen = Client(farm, HELLO, jump=by(jump)).deploy_one(server)
    assert failed(seen, "HostKeyChanged")
    assert seen.detail.endswith(f"-R '{server.known_as}'")


def test_a_jump_host_that_has_no_algorithm_in_common_with_ssh_is_told(farm: Farm) -> None:
    jump = farm.server(config=["KexAlgorithms diffie-hellman-group1-sha1"])
    seen = Client(farm, HELLO, jump=by(jump)).deploy_one(farm.server())
    assert failed(seen, "JumpFailed")
    assert "the jump host and ssh have no key exchange method in common" in seen.detail


def test_a_jump_host_that_is_offered_too_many_keys_is_told(farm: Farm, tmp_path: Path) -> None:
    jump, server = farm.server(config=["MaxAuthTries 1"]), farm.server()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    config = farm.home / ".ssh" / "config"
    config.write_text(f"IdentityFile {tmp_path}/key\n{config.read_text()}")
    seen = Client(farm, HELLO, jump=by(jump)).deploy_one(server)
    assert failed(seen, "JumpRefused")
    assert "so many keys that the jump host hung up" in seen.detail


def test_a_target_that_says_nothing_behind_a_jump_host_times_out(farm: Farm) -> None:
    seen = Client(farm, HELLO, jump=by(farm.server()), connect_timeout=1).deploy_one(farm.silent())
    assert failed(seen, "TimedOut")
    assert "is the target reachable from there?" in seen.detail


# -- with one connection for both, by scp


def test_what_a_jump_host_says_is_heard_by_scp_too_and_nothing_for_debuggers(farm: Farm) -> None:
    jump = farm.server(authorized=False)
    seen = Client(farm, HELLO, jump=by(jump), transfer="scp").deploy_one(farm.server())
    assert failed(seen, "JumpRefused")
    assert seen.stderr == f"root@{jump.host}: Permission denied (publickey).\n"


def test_a_busy_jump_host_is_tried_again_by_scp_too(farm: Farm) -> None:
    jump = farm.server(config=["MaxStartups 1"])
    client = Client(farm, HELLO, jump=by(jump), transfer="scp")
    with occupied(jump):
        handle = client.start(farm.server())
        client.until_word(handle, "waiting")
    [seen] = client.finish(handle)
    assert (seen.status, seen.stdout) == (Status.SUCCEEDED, "hello\n"), seen


def test_a_proxy_may_go_on_to_say_something_by_scp_too(farm: Farm) -> None:
    """It would be killed by what it says if nobody had its standard error open any more."""
    server = farm.server()
    proxy, said = farm.home / "bin" / "proxy", server.root / "var/tmp/said"
    tunnel = f"exec 3>/dev/tcp/{server.host}/{server.port}; cat <&3 & cat >&3 & "
    talk = f"trap 'kill 0' EXIT; while echo noise >&2; do touch {said}; sleep 0.1; done\n"
    write(proxy, f"#!/bin/bash\n{tunnel}{talk}", 0o755)
    script = b"rm -f /var/tmp/said; until [ -e /var/tmp/said ]; do sleep 0.1; done; echo hello\n"
    seen = Client(farm, script, options=(f"ProxyCommand={proxy}",), transfer="scp").deploy_one(server)
    assert (seen.status, seen.stdout, seen.stderr) == (Status.SUCCEEDED, "hello\n", ""), seen
