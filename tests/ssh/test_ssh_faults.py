"""What goes wrong between here and a script, done to real servers: each has its own word, and leaves nothing behind."""

import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from ssh.client import Client
from ssh.farm import Address, Farm
from ssh.server import Server, occupied
from waiting import until

from ssm_deployer.model import Invocation, Status

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_as_the_farms_user")]

HELLO = b"echo hello\n"
LOCK = "ssm-deploy"


def nothing_left(server: Server) -> bool:
    """Nothing but the lock, and no process."""
    assert until(lambda: server.processes() == []), server.processes()  # who was just killed is seen for a moment
    assert left(server) == []
    return True


def left(server: Server) -> list[str]:
    """What is no lock; the files that scp brings have a name like one."""
    return [name for name in server.leftovers() if LOCK not in name or re.search(r"ssm-deploy-\d{8}T", name)]


def locked(server: Server) -> bool:
    return any(LOCK in name for name in server.leftovers())


def never_began(seen: Invocation, server: Server, word: str) -> bool:
    assert (seen.word, seen.status) == (word, Status.UNREACHED), seen
    assert "\n" not in seen.detail
    assert not locked(server)
    return nothing_left(server)


# -- no connection


def test_a_port_where_nobody_listens_is_refused(farm: Farm) -> None:
    seen = Client(farm, HELLO).deploy_one(farm.refused())
    assert (seen.word, seen.status) == ("Refused", Status.UNREACHED)


def test_a_name_that_is_none_is_told(farm: Farm) -> None:
    seen = Client(farm, HELLO).deploy_one(Address("no-such-host.invalid", 22))
    assert seen.word == "NoSuchName"


def test_a_server_that_says_nothing_times_out(farm: Farm) -> None:
    assert Client(farm, HELLO, connect_timeout=1).deploy_one(farm.silent()).word == "TimedOut"


def test_a_network_that_swallows_everything_times_out(farm: Farm) -> None:
    assert Client(farm, HELLO, connect_timeout=1).deploy_one(farm.unreachable()).word == "TimedOut"


def test_a_key_that_the_server_does_not_know_is_named(farm: Farm) -> None:
    server = farm.server(authorized=False)
    seen = Client(farm, HELLO).deploy_one(server)
    assert never_began(seen, server, "AuthRefused")
    assert f"as root with {farm.home}/.ssh/id_ed25519 (ED25519)" in seen.detail


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_paths_may_have_whatever_is_special_to_ssh(farm: Farm, monkeypatch: pytest.MonkeyPatch, transfer: str) -> None:
    odd = farm.folder / """o'b #1 "q" 5%h \\ \\\\"""
    odd.mkdir()
    key = Path(shutil.copy(farm.home / ".ssh" / "id_ed25519", odd))
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    seen = Client(farm, HELLO, key=str(key), transfer=transfer).deploy_one(farm.server())
    assert seen.status is Status.SUCCEEDED, seen


def test_a_changed_host_key_is_refused_with_the_command_that_would_accept_it(farm: Farm) -> None:
    server = farm.server()
    server.change_host_key()
    seen = Client(farm, HELLO).deploy_one(server)
    assert never_began(seen, server, "HostKeyChanged")
    assert f"ssh-keygen -f {farm.home}/.ssh/known_hosts -R '{server.known_as}'" in seen.detail


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_no_output_of_the_script_is_taken_for_a_word_of_the_payload(farm: Farm, transfer: str) -> None:
    server = farm.server()
    lie = 'echo "ssm-deploy-listening $SSM_DEPLOY_RUN_ID"\necho "ssm-deploy-ready $SSM_DEPLOY_RUN_ID"\n'
    lie += """echo 'ssm-deploy-result {"format":1,"run":"'$SSM_DEPLOY_RUN_ID'","outcome":"exited","code":0}'\n"""
    seen = Client(farm, f"{lie}echo end\nexit 3\n".encode(), transfer=transfer).deploy_one(server)
    assert (seen.status, seen.detail) == (Status.FAILED, "exit 3")
    assert seen.stdout.splitlines()[0].startswith("ssm-deploy-listening")
    assert seen.stdout.endswith("\nend\n")


def test_an_unknown_host_key_is_refused_and_remembered_only_if_the_user_says_so(farm: Farm) -> None:
    server = farm.server(trusted=False)
    assert never_began(Client(farm, HELLO).deploy_one(server), server, "HostKeyUnknown")
    assert Client(farm, HELLO, host_keys="accept-new").deploy_one(server).status is Status.SUCCEEDED
    assert Client(farm, HELLO).deploy_one(server).status is Status.SUCCEEDED


def test_a_changed_host_key_is_refused_even_where_new_ones_are_remembered(farm: Farm) -> None:
    server = farm.server()
    server.change_host_key()
    seen = Client(farm, HELLO, host_keys="accept-new").deploy_one(server)
    assert never_began(seen, server, "HostKeyChanged")


def test_an_option_that_ssh_does_not_know_is_quoted(farm: Farm) -> None:
    seen = Client(farm, HELLO, options=("Bogus=1",)).deploy_one(farm.server())
    assert seen.word == "BadOption"
    assert "bogus" in seen.detail


def test_a_server_that_is_busy_is_tried_again_and_the_script_runs_once(farm: Farm) -> None:
    server = farm.server(config=["MaxStartups 1"])
    busy = Client(farm, b"echo once >> /var/tmp/times\n")
    others = [Client(farm, HELLO) for _ in range(2)]
    handles = [(client, client.start(server)) for client in (busy, *others)]
    for client, handle in handles:
        [seen] = client.finish(handle)
        assert seen.status is Status.SUCCEEDED, seen
    assert (server.root / "var/tmp/times").read_text() == "once\n"


def test_what_waits_for_a_busy_server_can_be_cancelled(farm: Farm) -> None:
    server = farm.server(config=["MaxStartups 1"])
    with occupied(server):
        client = Client(farm, HELLO)
        handle = client.start(server)
        client.until_word(handle, "waiting")
        client.backend.cancel(handle)
        [seen] = client.finish(handle)
    assert seen.status is Status.CANCELLED


# -- no shell


def test_a_server_for_sftp_only_has_its_own_verdict(farm: Farm) -> None:
    server = farm.server(config=["ForceCommand internal-sftp"])
    assert never_began(Client(farm, HELLO).deploy_one(server), server, "SftpOnly")


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_a_forced_command_runs_nothing_of_ours(farm: Farm, transfer: str) -> None:
    server = farm.server(config=["ForceCommand echo this is a menu"])
    seen = Client(farm, HELLO, transfer=transfer).deploy_one(server)
    assert seen.word == ("NoShell" if transfer == "stream" else "NoisyShell")
    assert seen.status is Status.UNREACHED
    assert ("ssh.transfer: stream, which" if transfer == "scp" else "this is a menu") in seen.detail


def test_an_image_of_ec2_that_wants_another_user_than_root_names_it(farm: Farm) -> None:
    wanted = """#!/bin/sh\necho 'Please login as the user "ubuntu" rather than the user "root".'\nexit 142\n"""
    options = "no-port-forwarding,no-agent-forwarding,no-X11-forwarding"
    key = (farm.home / ".ssh" / "id_ed25519.pub").read_text()
    server = farm.server(
        authorized=False,
        config=["AuthorizedKeysFile /etc/ssh/these"],
        files={
            "these": f'{options},command="/etc/ssh/wanted" {key}',
            "wanted": wanted,
        },
    )
    seen = Client(farm, HELLO).deploy_one(server)
    assert never_began(seen, server, "WrongUser")
    assert "asks for ubuntu; " in seen.detail


@pytest.mark.parametrize("user", ["nologin", "restricted"])
def test_an_account_without_a_usual_shell_has_its_word(farm: Farm, user: str) -> None:
    server = farm.server()
    assert never_began(Client(farm, HELLO).deploy_one(server, user=user), server, "NoShell")


def test_a_shell_that_does_not_exist_is_refused_by_the_server(farm: Farm) -> None:
    server = farm.server()
    assert Client(farm, HELLO).deploy_one(server, user="noshell").status is Status.UNREACHED


def test_a_server_that_allows_no_session_has_its_word(farm: Farm) -> None:
    server = farm.server(config=["MaxSessions 0"])
    assert never_began(Client(farm, HELLO).deploy_one(server), server, "NoSession")


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_one_session_at_a_time_is_enough(farm: Farm, transfer: str) -> None:
    server = farm.server(config=["MaxSessions 1"])
    assert Client(farm, HELLO, transfer=transfer).deploy_one(server).status is Status.SUCCEEDED
    assert nothing_left(server)


def test_a_login_that_takes_longer_than_allowed_has_run_nothing(farm: Farm) -> None:
    profile = "until [ -e /var/tmp/go ]; do sleep 0.1; done\ntouch /var/tmp/through\n"
    server = farm.server(rc={".bashrc": profile})
    client = Client(farm, b"touch /var/tmp/ran\n", connect_timeout=3, login_seconds=0)
    seen = client.deploy_one(server, user="user")
    assert (seen.word, seen.status) == ("SlowLogin", Status.UNREACHED)
    (server.root / "var/tmp/go").touch()
    assert until((server.root / "var/tmp/through").exists)
    assert until(lambda: server.processes() == [])
    assert not (server.root / "var/tmp/ran").exists()


def test_a_slow_login_is_waited_for(farm: Farm) -> None:
    server = farm.server(delay=1)
    assert Client(farm, HELLO).deploy_one(server, user="user").status is Status.SUCCEEDED


@pytest.mark.parametrize("user", ["user", "fisher", "csher", "zsher", "busyboxer", "root"])
def test_whatever_shell_banner_and_noise_there_is_the_script_is_the_same(farm: Farm, user: str) -> None:
    server = farm.server(noise="welcome, traveller", motd="maintenance on sunday", banner="no trespassing")
    seen = Client(farm, HELLO).deploy_one(server, user=user)
    assert (seen.status, seen.stdout, seen.stderr) == (Status.SUCCEEDED, "hello\n", "")
    assert nothing_left(server)


# -- root or not


def test_another_user_than_root_is_at_home_in_the_usual_places(farm: Farm) -> None:
    server = farm.server()
    seen = Client(farm, b"id -un; echo $HOME; case $PWD in /tmp/*) echo in tmp ;; esac\n").deploy_one(server, "user")
    assert seen.stdout == "user\n/home/user\nin tmp\n"
    assert nothing_left(server)


def test_sudo_makes_the_user_root(farm: Farm) -> None:
    server = farm.server(sudo="free")
    for transfer in ("stream", "scp"):
        seen = Client(farm, b"id -un; echo $HOME\n", sudo=True, transfer=transfer).deploy_one(server, "user")
        assert (seen.status, seen.stdout) == (Status.SUCCEEDED, "root\n/root\n"), seen
    assert nothing_left(server)


def test_sudo_that_wants_a_password_has_its_own_verdict(farm: Farm) -> None:
    server = farm.server(sudo="password")
    seen = Client(farm, HELLO, sudo=True).deploy_one(server, user="user")
    assert never_began(seen, server, "SudoPassword")


def test_a_machine_without_sudo_has_its_own_verdict(farm: Farm) -> None:
    server = farm.server(without=["sudo"])
    assert never_began(Client(farm, HELLO, sudo=True).deploy_one(server), server, "SudoRefused")


def test_root_may_run_the_script_as_somebody_else(farm: Farm) -> None:
    assert Client(farm, b"id -un\n", run_as="user").deploy_one(farm.server()).stdout == "user\n"


# -- the target itself


def test_a_machine_without_tar_refuses(farm: Farm) -> None:
    server = farm.server(without=["tar"])
    seen = Client(farm, HELLO).deploy_one(server)
    assert seen.status is Status.REFUSED
    assert "tar" in seen.detail
    assert nothing_left(server)


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_a_machine_without_room_says_so(farm: Farm, big: Path, transfer: str) -> None:
    server = farm.server(space="900k")
    seen = Client(farm, HELLO, big, transfer=transfer).deploy_one(server)
    assert seen.status in {Status.REFUSED, Status.UNREACHED}
    assert "room" in seen.detail or "no directory" in seen.detail
    assert left(server) == []


# -- cut


def test_a_link_that_breaks_amid_the_files_has_run_nothing(farm: Farm, big: Path) -> None:
    server = farm.server(link=True, rate="10mbit")
    client = Client(farm, b"touch /var/tmp/ran\n", big)
    handle = client.start(server)
    client.until_word(handle, "sending")
    time.sleep(0.5)
    server.cut()
    begin = time.monotonic()
    [seen] = client.finish(handle)
    assert (seen.word, seen.status) == ("CutOff", Status.UNREACHED)
    assert time.monotonic() - begin < 45
    assert not (server.root / "var/tmp/ran").exists()


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_a_session_that_is_killed_amid_the_files_has_run_nothing_and_leaves_nothing(
    farm: Farm, big: Path, transfer: str
) -> None:
    server = farm.server(link=True, rate="10mbit")
    client = Client(farm, b"touch /var/tmp/ran\n", big, transfer=transfer)
    handle = client.start(server)
    client.until_word(handle, "sending" if transfer == "stream" else "copying")
    time.sleep(0.5)
    assert server.kill_sessions()
    [seen] = client.finish(handle)
    assert (seen.word, seen.status) == ("CutOff", Status.UNREACHED)
    assert until(lambda: server.processes() == [])
    assert not (server.root / "var/tmp/ran").exists()
    if transfer == "stream":
        assert nothing_left(server)


def test_a_session_that_is_killed_amid_the_script_claims_nothing_and_the_script_goes_on(farm: Farm) -> None:
    server = farm.server()
    script = b"touch /var/tmp/began; until [ -e /var/tmp/go ]; do sleep 0.1; done; touch /var/tmp/ended\n"
    client = Client(farm, script)
    handle = client.start(server)
    assert until((server.root / "var/tmp/began").exists)
    assert server.kill_sessions()
    [seen] = client.finish(handle)
    (server.root / "var/tmp/go").touch()
    assert (seen.word, seen.status) == ("Disconnected", Status.UNKNOWN)
    assert until((server.root / "var/tmp/ended").exists)
    assert until(lambda: server.processes() == [])
    assert [name for name in server.leftovers() if "deploy_files" in name] == []


def test_a_link_that_breaks_amid_the_script_is_noticed_in_seconds(farm: Farm) -> None:
    server = farm.server(link=True)
    client = Client(farm, b"touch /var/tmp/began; sleep 60\n")
    handle = client.start(server)
    assert until((server.root / "var/tmp/began").exists)
    server.cut()
    begin = time.monotonic()
    [seen] = client.finish(handle)
    assert (seen.word, seen.status) == ("Disconnected", Status.UNKNOWN)
    assert time.monotonic() - begin < 45


# -- stopped


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_a_cancelled_script_dies_with_all_that_it_started(farm: Farm, transfer: str) -> None:
    script = b"trap '' TERM INT HUP\nsetsid sleep 300 &\n(sleep 301 & sleep 302) &\necho begun\nsleep 303\n"
    server = farm.server()
    client = Client(farm, script, grace=1, transfer=transfer)
    handle = client.start(server)
    assert until(lambda: any("303" in command for command in server.processes()))
    client.backend.cancel(handle)
    [seen] = client.finish(handle)
    assert (seen.status, seen.stdout) == (Status.CANCELLED, "begun\n")
    assert nothing_left(server)


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_what_is_cancelled_amid_the_files_has_run_nothing(farm: Farm, big: Path, transfer: str) -> None:
    server = farm.server(link=True, rate="10mbit", config=["MaxSessions 1"])
    client = Client(farm, b"touch /var/tmp/ran\n", big, transfer=transfer)
    handle = client.start(server)
    client.until_word(handle, "sending" if transfer == "stream" else "copying")
    if transfer == "scp":
        assert until(lambda: any(name.startswith("root/.ssm-deploy") for name in server.leftovers()))
    client.backend.cancel(handle)
    [seen] = client.finish(handle)
    assert seen.status is Status.CANCELLED
    assert until(lambda: server.processes() == [])
    assert nothing_left(server)
    assert not (server.root / "var/tmp/ran").exists()


def test_a_script_that_takes_too_long_is_stopped_by_the_target_itself(farm: Farm) -> None:
    server = farm.server()
    seen = Client(farm, b"echo begun\nsleep 60\n", script_seconds=3, grace=1).deploy_one(server)
    assert (seen.status, seen.stdout) == (Status.TIMED_OUT, "begun\n")
    assert nothing_left(server)


def test_a_connection_that_is_abandoned_leaves_a_script_that_goes_on_to_its_end(farm: Farm) -> None:
    server = farm.server()
    client = Client(farm, b"touch /var/tmp/began; sleep 1; touch /var/tmp/ended\n")
    client.start(server)
    assert until((server.root / "var/tmp/began").exists)
    assert client.backend.clean() == []
    assert until((server.root / "var/tmp/ended").exists)


def test_a_second_start_of_the_same_run_is_refused_by_the_target(farm: Farm) -> None:
    server = farm.server()
    client = Client(farm, b"echo once >> /var/tmp/times\n")
    handles = [client.start(server), client.start(server)]
    words = sorted(seen.word for handle in handles for seen in client.until(handle, _all_final))
    assert client.backend.clean() == []
    assert words == ["exited", "refused"]
    assert (server.root / "var/tmp/times").read_text() == "once\n"


def test_exit_codes_and_signals_of_the_script_are_its_own(farm: Farm) -> None:
    server = farm.server()
    for script, detail in ((b"exit 255\n", "exit 255"), (b"kill -9 $$\n", "killed by SIGKILL"), (b"exit 194\n", "194")):
        seen = Client(farm, script).deploy_one(server)
        assert seen.status is Status.FAILED
        assert detail in seen.detail
    assert nothing_left(server)


def _all_final(seen: Sequence[Invocation]) -> bool:
    return all(each.status.final for each in seen)
