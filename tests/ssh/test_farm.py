"""The farm itself: what its servers are like, what they do not see, and that nothing of them stays."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ssh.farm import Farm, require
from ssh.layout import ACCOUNTS, PASSWORD
from ssh.processes import ProcessTable
from ssh.server import ISOLATE, Server
from ssh.traits import Traits
from waiting import until

pytestmark = pytest.mark.slow


def said(farm: Farm, server: Server, command: str, user: str = "root") -> str:
    done = farm.ssh(server, command, user=user)
    assert done.returncode == 0, done
    return done.stdout


# Isolation


def test_servers_see_neither_one_anothers_files_and_processes_nor_the_machines(farm: Farm, tmp_path: Path) -> None:
    servers = farm.servers(3)
    for server in servers:
        said(farm, server, "cp /proc/sys/kernel/hostname /tmp/mine; sleep 99 >/dev/null 2>&1 &")
    assert until(lambda: all(server.processes() == ["sleep 99"] for server in servers))
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


def test_leftovers_are_told_but_for_what_fish_makes(farm: Farm) -> None:
    server = farm.server()
    said(farm, server, "mkdir -p .cache/x .config/fishes; touch .config/y /dev/shm/z; true", "fisher")
    own = ["home/fisher/.cache/x", "home/fisher/.config/fishes", "home/fisher/.config/y"]
    assert server.leftovers() == ["dev/shm/z", *own]


def test_a_lean_server_has_its_own_places_by_the_environment_only(farm: Farm) -> None:
    one, two = farm.servers(2, lean=True)
    said(farm, one, 'touch "$SSM_DEPLOY_STATE_DIR/state" "$TMPDIR/file"; sleep 99 >/dev/null 2>&1 &')
    assert until(lambda: one.processes() == ["sleep 99"]), one.processes()  # for a moment it is still bash
    assert one.leftovers() == ["tmp/file", "var/lib/state"]
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


def test_connections_beyond_a_limit_are_refused(farm: Farm) -> None:
    server = farm.server(config=["MaxStartups 1:100:1"])
    with socket.create_connection((server.host, server.port)) as first:
        assert first.recv(8).startswith(b"SSH-2.0-")
        assert farm.ssh(server, "true").returncode == 255
    assert until(lambda: farm.ssh(server, "true").returncode == 0)


# What is wrong on the way


def test_a_port_can_be_shut_and_stays_so(farm: Farm) -> None:
    place = farm.refused()
    assert "Connection refused" in farm.ssh(place, "true").stderr
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((place.host, place.port))


def test_a_port_can_accept_and_say_nothing(farm: Farm) -> None:
    done = farm.ssh(farm.silent(), "true", options=["ConnectTimeout=1"])
    assert done.stderr == "Connection timed out during banner exchange\n" + done.stderr.partition("\n")[2]
    assert done.returncode == 255


def test_an_address_can_lose_every_packet(farm: Farm) -> None:
    done = farm.ssh(farm.unreachable(), "true", options=["ConnectTimeout=1"])
    assert done.stderr.endswith("port 22: Connection timed out\n")


def test_a_linked_server_has_a_network_of_its_own(farm: Farm) -> None:
    one, two = farm.servers(2, link=True)
    assert one.host != two.host
    assert said(farm, one, "ip -o -4 address show dev eth0 | grep -o 'inet [0-9.]*'").split() == ["inet", one.host]
    assert said(farm, two, "echo $SSH_CONNECTION").split()[2:] == [two.host, "22"]


def test_a_link_that_is_cut_in_the_middle_tells_nobody(farm: Farm) -> None:
    server = farm.server(link=True)
    argv = farm.argv(server, "cat /dev/zero", options=["ServerAliveInterval=1", "ServerAliveCountMax=1"])
    with subprocess.Popen(argv, env=farm.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout
        assert len(client.stdout.read(100_000)) == 100_000
        server.cut()
        _, errors = client.communicate(timeout=30)
    assert errors == f"Timeout, server {server.host} not responding.\r\n".encode()
    assert server.processes() == ["cat /dev/zero"], "the server does not know yet"
    server.mend()
    said(farm, server, "true")


def test_a_link_that_is_mended_in_time_goes_on(farm: Farm) -> None:
    server = farm.server(link=True)
    argv = farm.argv(server, "cat")
    with subprocess.Popen(argv, env=farm.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin
        assert client.stdout
        client.stdin.write(b"one\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"one\n"
        server.cut()
        client.stdin.write(b"two\n")
        client.stdin.close()
        time.sleep(0.3)
        assert client.poll() is None
        server.mend()
        assert client.stdout.readline() == b"two\n"


def test_a_link_can_be_slow(farm: Farm) -> None:
    server = farm.server(link=True, rate="1mbit")
    before = time.monotonic()
    assert len(said(farm, server, "head -c 100000 /dev/zero")) == 100_000
    assert time.monotonic() - before > 0.6


def test_sessions_can_be_killed_which_leaves_what_they_started(farm: Farm) -> None:
    for server in (farm.server(), farm.server(lean=True)):
        argv = farm.argv(server, "sleep 99")
        with subprocess.Popen(argv, env=farm.environment, stderr=subprocess.PIPE) as client:
            assert until(lambda server=server: server.processes() == ["sleep 99"])  # type: ignore[misc] # a loop's lambda
            assert server.kill_sessions() > 0
            assert client.wait(20) == 255
        assert server.processes() == ["sleep 99"]
        said(farm, server, "true")


def test_a_server_can_be_the_way_to_another(farm: Farm) -> None:
    jump, server = farm.servers(2)
    way = [f"ProxyJump=user@{jump.host}:{jump.port}"]
    assert farm.ssh(server, "hostname", options=way).stdout == f"{server.name}\n"
    assert "Accepted publickey for user" in jump.log


# The end


@pytest.mark.parametrize("lean", [False, True])
def test_a_stopped_server_has_no_processes_and_starts_again_as_it_was(farm: Farm, lean: bool) -> None:
    server = farm.server(lean=lean)
    said(farm, server, "setsid -f sleep 99 >/dev/null 2>&1; touch ${TMPDIR-/tmp}/file")
    server.stop()
    assert server.processes() == []
    assert "Connection refused" in farm.ssh(server, "true").stderr
    server.start()
    said(farm, server, "true")
    assert server.leftovers() == ["tmp/file"]


def test_a_reboot_empties_what_a_reboot_empties(farm: Farm) -> None:
    server = farm.server()
    said(
        farm,
        server,
        "mkdir /tmp/d; touch /{tmp/d,run,dev/shm,var/tmp,var/lib}/f; setsid -f sleep 99 &>/tmp/g",
    )
    server.reboot()
    assert server.leftovers() == ["var/lib/f", "var/tmp/f"]
    assert server.processes() == []
    said(farm, server, "true")


def test_a_hundred_lean_servers_start_within_seconds(farm: Farm) -> None:
    before = time.monotonic()
    servers = farm.servers(100, lean=True)
    assert time.monotonic() - before < 60
    assert len({server.port for server in servers}) == 100
    said(farm, servers[-1], "true")


# A farm of every kind of server, each with a command that runs on; says where its traces are, and waits.
ALIVE = 2 + 3 * 3 + 2  # the warden and its parent; unshare, sshd and sleep; a lean server has no unshare
OWNER = """\
import os, sys, time
sys.path.insert(0, sys.argv[1])
from ssh.farm import Farm
farm = Farm()
servers = [farm.server(), farm.server(lean=True), farm.server(link=True), farm.server(space="300k")]
for server in servers:
    farm.ssh(server, "setsid -f sleep 99 >/dev/null 2>&1")
print(farm.folder, f"/sys/class/net/farm{servers[2].network}", farm.warden.pid, farm.inside.parent.name, flush=True)
time.sleep(99)
"""
MACHINE = ProcessTable(Path("/proc"))


def population(farm: int) -> set[tuple[int, bytes]]:
    """The processes of a farm, by number and time of birth, while they live: namespaces do not outlive theirs."""
    return {(pid, born(pid)) for pid in {farm, *MACHINE.below(farm)}}


def born(pid: int) -> bytes:
    """Nothing if it has ended, be it waited for or not."""
    since = MACHINE.read(pid, "stat").rpartition(b")")[2].split()[19:20]
    return since[0] if since and MACHINE.command(pid) else b""


def traces(folder: str, link: str, processes: set[tuple[int, bytes]]) -> list[str]:
    """What there is of a farm: files, network, mounts, processes."""
    found = [path for path in (folder, link) if Path(path).exists()]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if folder in line]
    return found + [MACHINE.command(pid) for pid, birth in processes if birth and born(pid) == birth]


@pytest.mark.parametrize("victim", ["owner", "unshare", "warden"])
def test_nothing_is_left_when_one_is_killed(victim: str) -> None:
    tests = Path(__file__).parent.parent
    with subprocess.Popen([sys.executable, "-c", OWNER, tests], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        folder, link, unshare, warden = owner.stdout.readline().split()
        assert until(lambda: len(population(int(unshare))) == ALIVE)
        processes = population(int(unshare))
        assert len(traces(folder, link, processes)) == 2 + ALIVE
        os.kill({"owner": owner.pid, "unshare": int(unshare), "warden": int(warden)}[victim], signal.SIGKILL)
        files = [folder] if victim != "owner" else []  # nobody is left to remove them but the owner
        assert until(lambda: traces(folder, link, processes) == files), traces(folder, link, processes)
        owner.kill()
    shutil.rmtree(folder, ignore_errors=True)


def test_nothing_is_left_of_a_farm_that_is_closed() -> None:
    with Farm() as farm:
        servers = [farm.server(), farm.server(lean=True), farm.server(link=True), farm.server(space="300k")]
        for server in servers:
            said(farm, server, "setsid -f sleep 99 >/dev/null 2>&1")
        assert until(lambda: len(population(farm.warden.pid)) == ALIVE)  # what served a connection takes its time to go
        processes = population(farm.warden.pid)
    assert traces(str(farm.folder), f"/sys/class/net/farm{servers[2].network}", processes) == []


@pytest.mark.parametrize("warden_is_killed", [False, True])
def test_a_link_that_is_cut_goes_with_the_farm(warden_is_killed: bool) -> None:
    farm = Farm()
    server = farm.server(link=True)
    argv = farm.argv(server, "cat /dev/zero")
    with subprocess.Popen(argv, env=farm.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        assert client.stdout
        client.stdout.read(100_000)
        server.cut()
        time.sleep(0.5)  # by now it sends what is not answered once more
        before = time.monotonic()
        if warden_is_killed:
            os.kill(int(farm.inside.parent.name), signal.SIGKILL)  # then the kernel alone removes it
        farm.close()
        client.kill()
    assert until(lambda: not Path(f"/sys/class/net/farm{server.network}").exists())
    assert time.monotonic() - before < 30


@pytest.mark.parametrize("cut", [False, True])
def test_a_linked_server_starts_again_at_the_same_address(farm: Farm, cut: bool) -> None:
    server = farm.server(link=True)
    with subprocess.Popen(farm.argv(server, "cat /dev/zero"), env=farm.environment, stdout=subprocess.PIPE) as client:
        assert client.stdout
        client.stdout.read(100_000)
        if cut:
            server.cut()
        server.stop()
        client.kill()
    server.start()
    said(farm, server, "true")


def test_a_farm_whose_first_process_is_gone_says_so_and_is_still_removed() -> None:
    with Farm() as farm:
        farm.warden.kill()
        farm.warden.wait()
        with pytest.raises(RuntimeError, match="first process is gone"):
            farm.server()
    assert not farm.folder.exists()


# What cannot be


def test_a_server_that_does_not_start_says_why(farm: Farm) -> None:
    with pytest.raises(RuntimeError, match="Bad configuration option: Nonsense"):
        farm.server(config=["Nonsense yes"])


def test_a_missing_program_is_an_error_that_names_its_package() -> None:
    with pytest.raises(RuntimeError, match="no-such is needed: install the Debian package no-such, or run "):
        require("sshd", "no-such")


def test_a_lean_server_cannot_have_what_takes_namespaces() -> None:
    with pytest.raises(ValueError, match="a lean server cannot have link, space"):
        Traits(lean=True, link=True, space="1m")
    with pytest.raises(ValueError, match="only a link has a rate"):
        Traits(rate="1mbit")


def test_without_root_there_is_no_farm() -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(RuntimeError, match="needs root"):
            Farm()
    finally:
        os.seteuid(0)


def test_shellcheck_has_nothing_to_say() -> None:
    assert subprocess.run(["shellcheck", ISOLATE], capture_output=True, text=True, check=False).stdout == ""
