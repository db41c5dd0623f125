"""The farm itself: what its servers are like, what they do not see, and that nothing of them stays."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ssh.farm import Farm
from ssh.layout import ACCOUNTS, PASSWORD
from ssh.server import Server

pytestmark = pytest.mark.slow


def until(true: Callable[[], object], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def said(farm: Farm, server: Server, command: str, user: str = "root") -> str:
    done = farm.ssh(server, command, user=user)
    assert done.returncode == 0, done
    return done.stdout


# Isolation


def test_servers_see_neither_one_anothers_files_and_processes_nor_the_machines(farm: Farm, tmp_path: Path) -> None:
    servers = farm.servers(3)
    for server in servers:
        said(farm, server, "cp /proc/sys/kernel/hostname /tmp/mine; sleep 99 >/dev/null 2>&1 &")
    for server in servers:
        assert said(farm, server, "hostname; cat /tmp/mine; ls /tmp").split() == [server.name, server.name, "mine"]
        assert said(farm, server, "pgrep -x sleep | wc -l").strip() == "1"
        assert farm.ssh(server, f"ls -d {tmp_path} {farm.folder} 2>/dev/null").stdout == ""
        assert said(farm, server, "ls -A /root /run") == "/root:\n\n/run:\nmount\nsshd\n"
        assert (server.root / "tmp" / "mine").read_text() == f"{server.name}\n"


@pytest.mark.parametrize("place", ["/opt", "/usr", "/etc", "/srv", "/var", ""])
def test_a_server_cannot_write_to_the_machine(farm: Farm, place: str) -> None:
    done = farm.ssh(farm.server(shared_key=True), f"touch {place}/by-a-server")
    assert done.stderr == f"touch: cannot touch '{place}/by-a-server': Read-only file system\n"


def test_a_server_sees_what_is_put_into_its_root_from_outside(farm: Farm) -> None:
    server = farm.server()
    (server.root / "var" / "lib" / "given").write_text("from outside")
    assert said(farm, server, "cat /var/lib/given") == "from outside"


def test_every_server_has_a_host_key_of_its_own_unless_told_otherwise(farm: Farm) -> None:
    assert len({server.host_key for server in farm.servers(2)}) == 2
    assert len({server.host_key for server in farm.servers(2, shared_key=True)}) == 1


def test_a_lean_server_has_its_own_places_by_the_environment_only(farm: Farm) -> None:
    one, two = farm.servers(2, lean=True)
    said(farm, one, 'touch "$SSM_DEPLOY_STATE_DIR/state" "$TMPDIR/file"; sleep 99 >/dev/null 2>&1 &')
    assert (one.leftovers(), one.processes()) == (["tmp/file", "var/lib/state"], ["sleep 99"])
    assert (two.leftovers(), two.processes()) == ([], [])


# Users


@pytest.mark.parametrize("user", sorted(set(ACCOUNTS) - {"nologin", "noshell"}))
def test_a_user_has_a_shell_and_a_home(farm: Farm, user: str) -> None:
    server = farm.server(shared_key=True)
    assert said(farm, server, "pwd && id -un", user).split() == [f"/home/{user}", user]
    assert server.leftovers() == []


def test_the_shells_are_what_they_are_called(farm: Farm) -> None:
    server = farm.server()
    questions = {
        "user": "echo $BASH_VERSION",
        "fisher": "echo $FISH_VERSION",
        "zsher": "echo $ZSH_VERSION",
        "csher": "echo $shell",
        "busyboxer": "readlink /proc/$$/exe; true",
        "restricted": "cd /tmp || echo $BASH_VERSION",
    }
    answers = {user: said(farm, server, question, user).strip() for user, question in questions.items()}
    assert (answers["csher"], answers["busyboxer"][-7:]) == ("/bin/csh", "busybox")
    assert all(answers.values())


def test_two_users_cannot_log_in(farm: Farm) -> None:
    server = farm.server()
    done = farm.ssh(server, "true", user="nologin")
    assert (done.returncode, done.stdout) == (1, "This account is currently not available.\n")
    done = farm.ssh(server, "true", user="noshell")
    assert (done.returncode, done.stderr) == (255, "noshell@127.0.0.1: Permission denied (publickey).\n")
    assert "shell /nonexistent/shell does not exist" in server.log


def test_roots_shell_can_be_another(farm: Farm) -> None:
    assert said(farm, farm.server(root_shell="/usr/bin/fish"), "echo $FISH_VERSION").strip()


def test_sudo_asks_for_no_password_or_for_one(farm: Farm) -> None:
    free, asking, neither = farm.server(sudo="free"), farm.server(sudo="password"), farm.server()
    assert said(farm, free, "sudo -n id -u", "user") == "0\n"
    done = farm.ssh(asking, "sudo -n id -u", user="user")
    assert (done.returncode, done.stderr) == (1, "sudo: a password is required\n")
    assert farm.ssh(asking, "sudo -S -p '' id -u", user="user", stdin=f"{PASSWORD}\n").stdout == "0\n"
    assert farm.ssh(neither, "sudo -n id -u", user="user").returncode == 1
    assert (free.leftovers(), asking.leftovers(), neither.leftovers()) == ([], [], [])


# What is wrong on purpose


def test_lines_of_sshd_config_win_over_the_rigs_own_and_match_goes_last(farm: Farm) -> None:
    config = ["PermitRootLogin no", "Match User user", "ForceCommand echo forced"]
    server = farm.server(config=config)
    assert farm.ssh(server, "true").returncode == 255
    assert said(farm, server, "true", "user") == "forced\n"
    assert said(farm, server, "echo asked", "zsher") == "asked\n"


def test_a_server_can_offer_files_only(farm: Farm) -> None:
    done = farm.ssh(farm.server(config=["ForceCommand internal-sftp"]), "echo asked")
    assert (done.returncode, done.stdout) == (1, "This service allows sftp connections only.\n")


def test_a_lean_server_can_have_files_beside_its_configuration(farm: Farm) -> None:
    server = farm.server(lean=True, config=["ForceCommand /etc/ssh/wrap"], files={"wrap": "#!/bin/sh\necho wrapped\n"})
    assert said(farm, server, "true") == "wrapped\n"


def test_a_login_can_be_slow_before_the_key_is_accepted(farm: Farm) -> None:
    slow = "#!/bin/sh\nsleep 0.5\ncat /etc/ssh/authorized_keys\n"
    config = ["AuthorizedKeysFile none", "AuthorizedKeysCommand /etc/ssh/slow", "AuthorizedKeysCommandUser root"]
    server = farm.server(config=config, files={"slow": slow})
    before = time.monotonic()
    said(farm, server, "true")
    assert time.monotonic() - before > 0.5


@pytest.mark.parametrize("lean", [False, True])
def test_a_banner_comes_on_stderr(farm: Farm, lean: bool) -> None:
    done = farm.ssh(farm.server(lean=lean, banner="Authorized use only\n"), "echo out")
    assert (done.stdout, done.stderr) == ("out\n", "Authorized use only\n")


@pytest.mark.parametrize("user", ["user", "fisher", "csher", "zsher"])
def test_a_shell_can_be_noisy_and_slow(farm: Farm, user: str) -> None:
    server = farm.server(noise="hello\nworld\n", delay=0.5)
    before = time.monotonic()
    assert said(farm, server, "echo out", user) == "hello\nworld\nout\n"
    assert time.monotonic() - before > 0.5
    assert server.leftovers() == []


def test_every_home_can_have_files(farm: Farm) -> None:
    server = farm.server(rc={".bashrc": "echo from rc\n", ".config/x": "y"})
    assert said(farm, server, "cat .config/x", "user") == "from rc\ny"


def test_a_terminal_is_shown_the_message_of_the_day(farm: Farm) -> None:
    server = farm.server(motd="Welcome\n")
    argv = farm.argv(server)
    argv.insert(1, "-tt")
    done = subprocess.run(argv, input=b"exit\n", env=farm.environment, capture_output=True, timeout=20, check=False)
    assert b"Welcome\r\n" in done.stdout


@pytest.mark.parametrize("user", ["user", "fisher", "csher", "zsher", "dasher"])
def test_a_program_can_be_missing(farm: Farm, user: str) -> None:
    server = farm.server(without=["tar", "gzip", "chroot"])
    missing = [farm.ssh(server, f"{name} --version", user=user) for name in ("tar", "/bin/gzip", "/usr/sbin/chroot")]
    assert {done.returncode for done in missing} <= {1, 127}
    assert {done.stdout for done in missing} == {""}
    assert said(farm, server, "ls --version", user)


def test_space_can_be_short_everywhere(farm: Farm) -> None:
    server = farm.server(space="300k")
    for place in ("/tmp", "/var/tmp", "/var/lib", "/run", "/root", "/home/user", "/dev/shm"):
        done = farm.ssh(
            server, f"head -c 1000000 /dev/zero >{place}/big; wc -c <{place}/big; cp {place}/big {place}/two"
        )
        assert "No space left on device" in done.stderr
        assert 0 < int(done.stdout) <= 300 * 1024
        said(farm, server, f"rm {place}/big {place}/two")
    said(farm, server, "echo small >/tmp/small")
    assert server.leftovers() == ["tmp/small"]
    assert (server.root / "tmp" / "small").read_text() == "small\n"


def test_a_changed_host_key_is_noticed(farm: Farm) -> None:
    server = farm.server()
    said(farm, server, "true")
    server.change_host_key()
    done = farm.ssh(server, "true")
    assert done.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    farm.trust(server)
    said(farm, server, "true")


def test_a_lean_servers_host_key_changes_for_it_alone(farm: Farm) -> None:
    one, two = farm.servers(2, lean=True)
    one.change_host_key()
    assert farm.ssh(one, "true").returncode == 255
    said(farm, two, "true")


def test_an_unknown_host_key_is_refused_until_it_is_trusted(farm: Farm) -> None:
    server = farm.server(trusted=False)
    assert farm.ssh(server, "true").stderr.endswith("Host key verification failed.\n")
    assert farm.ssh(server, "true", options=["StrictHostKeyChecking=accept-new"]).returncode == 0
    said(farm, server, "true")


def test_a_server_may_not_know_the_users_key(farm: Farm) -> None:
    done = farm.ssh(farm.server(authorized=False), "true")
    assert (done.returncode, done.stderr) == (255, "root@127.0.0.1: Permission denied (publickey).\n")
