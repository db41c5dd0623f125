"""Logins with keys, pins and tunnels of a run, by the real client to a real sshd, with a stand-in for EC2."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from backend_contract import staged_by
from ssh.client import Client
from ssh.ec2_stand_in import REGION, StandIn
from ssh.farm import Farm
from ssh.host_key_lines import block, key
from ssh.layout import generate
from ssh.server import Server
from waiting import until

from ssm_deployer.backends.access import Access
from ssm_deployer.backends.ec2 import access
from ssm_deployer.backends.openssh import Login, ssh
from ssm_deployer.errors import CloudError
from ssm_deployer.model import Invocation, Status, Target

pytestmark = pytest.mark.slow

# The AWS CLI, as far as a tunnel is concerned; it notes how it was called.
CLI = """\
#!{python}
import os, socket, sys, threading
if sys.argv[1:] == ["--version"]:
    print("aws-cli/2.15.30 Python/3.11.6")
    sys.exit()
with open("{calls}", "a") as calls:
    print(*sys.argv[1:], file=calls)
words = dict(zip(sys.argv[3::2], sys.argv[4::2]))
port = words.get("--remote-port") or words["--parameters"].partition("=")[2]
peer = socket.create_connection(("127.0.0.1", int(port)))
def send():
    while data := os.read(0, 65536):
        peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := peer.recv(65536):
    os.write(1, data)
"""
# A run that gets as far as the options of its first target.
KILLED = """
import os, signal, sys
from ssm_deployer.aws import Aws
from ssm_deployer.backends.ec2 import access
from ssm_deployer.backends.openssh import Login
from ssm_deployer.model import Target
endpoint, id, address, port = sys.argv[1:]
aws = Aws(region="eu-west-1", credentials=("testing", "testing"), endpoint_url=endpoint)
target = Target(id=id, region="eu-west-1", address=address, port=int(port), user="root")
print(access(Login(), [aws], ephemeral=True).options(target), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class Bench:
    """A user at a machine, with a farm and an AWS account."""

    def __init__(self, farm: Farm, ec2: StandIn, place: Path) -> None:
        self.farm = farm
        self.ec2 = ec2
        self.place = place
        self.opened: list[Access] = []
        self.login_as = Login()

    def server(self, **traits: Any) -> Server:
        return self.farm.server(lean=True, authorized=False, **traits)

    def access(self, **settings: Any) -> Access:
        made = access(self.login_as, [self.ec2.aws], **settings)
        self.opened.append(made)
        return made

    def login(self, target: Target, how: Access) -> "CompletedProcess[str]":
        return self.connect(target, how.options(target))

    def connect(self, target: Target, options: Any) -> "CompletedProcess[str]":
        """Run one command there; what ssh tells of the connection is its stderr."""
        log = self.place.parent / "log"
        log.write_text("")
        argv = [*ssh(self.login_as, target, options, log), "echo in as $USER"]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        return CompletedProcess(argv, ended.returncode, ended.stdout, log.read_text() + ended.stderr)

    def console(self, server: Server) -> str:
        return "Booting\r\n" + block(server.host_key, before="[   28.3] cloud-init[99]: ").replace("\n", "\r\n")

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.place.rglob("*"))

    @property
    def processes(self) -> list[str]:
        """Those that know of the folder for temporary files."""
        ended = subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, check=True, text=True)
        return [line for line in ended.stdout.splitlines() if str(self.place) in line]


@pytest.fixture
def bench(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    place = farm.folder / "1%h t"  # a socket's path must be short, and tmp_path is long
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    for name, value in farm.environment.items():
        monkeypatch.setenv(name, value)
    with StandIn() as ec2:
        bench = Bench(farm, ec2, place)
        yield bench
    for each in bench.opened:
        assert list(each.close()) == []
    assert bench.files == []
    assert bench.processes == []


@pytest.fixture
def agents_key(bench: Bench, agent: Path) -> str:
    """The public key that the user's agent holds, of which the user's configuration makes use."""
    assert agent
    name_no_key(bench.farm)
    private = bench.place.parent / "id"
    generate(private)
    subprocess.run(["ssh-add", "-q", private], check=True)
    return private.with_suffix(".pub").read_text()


def name_no_key(farm: Farm) -> None:
    """Leave it to ssh which keys there are, as a user's configuration mostly does."""
    config = farm.home / ".ssh" / "config"
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "Identit" not in line))


def refused(ended: "CompletedProcess[str]", words: str) -> None:
    assert (ended.returncode, ended.stdout) == (255, "")
    assert words in ended.stderr


# -- the key


def test_a_pushed_key_logs_in(bench: Bench) -> None:
    target = bench.ec2.register(bench.server())
    assert bench.login(target, bench.access(ephemeral=True)).stdout == "in as root\n"
    assert bench.files[:2] == ["key", "key.pub"]
    assert len(bench.processes) == 1


def test_a_key_that_was_pushed_to_another_instance_does_not(bench: Bench) -> None:
    one, other = (bench.ec2.register(bench.server()) for _ in range(2))
    how = bench.access(ephemeral=True)
    refused(bench.connect(other, how.options(one)), "Permission denied")


def test_a_key_that_was_pushed_for_another_user_does_not(bench: Bench) -> None:
    target = bench.ec2.register(bench.server())
    other = Target(id=target.id, region=REGION, address=target.address, port=target.port, user="nobody")
    options = bench.access(ephemeral=True).options(other)
    refused(bench.connect(target, options), "Permission denied")


def test_a_minute_later_the_key_is_good_for_nothing_and_pushed_again_it_is(bench: Bench) -> None:
    target = bench.ec2.register(bench.server())
    how = bench.access(ephemeral=True)
    options = how.options(target)
    bench.ec2.wait(61)
    refused(bench.connect(target, options), "Permission denied")
    assert bench.login(target, how).stdout == "in as root\n"


def test_no_key_of_an_agent_is_used_beside_it(bench: Bench, agents_key: str) -> None:
    server = bench.server()
    target = bench.ec2.register(server)
    (server.folder / "ssh" / "authorized_keys").write_text(agents_key)
    assert bench.connect(target, ()).stdout == "in as root\n"
    how = bench.access(ephemeral=True)
    options = how.options(target)
    (server.folder / "ssh" / "authorized_keys").write_text(agents_key)
    refused(bench.connect(target, options), "Permission denied")


def test_the_key_file_that_other_targets_of_the_run_need_is_not_used_beside_it(bench: Bench) -> None:
    server = bench.server()
    target = bench.ec2.register(server)
    bench.login_as = Login(key=str(bench.farm.home / ".ssh" / "id_ed25519"))
    name_no_key(bench.farm)
    long_lived = (bench.farm.home / ".ssh" / "id_ed25519.pub").read_text()
    (server.folder / "ssh" / "authorized_keys").write_text(long_lived)
    assert bench.connect(target, ()).stdout == "in as root\n"
    options = bench.access(ephemeral=True).options(target)
    (server.folder / "ssh" / "authorized_keys").write_text(long_lived)
    refused(bench.connect(target, options), "Permission denied")


def test_throttled_pushes_are_repeated_within_bounds(bench: Bench) -> None:
    target = bench.ec2.register(bench.server())
    bench.ec2.throttled["SendSSHPublicKey"] = 2
    assert bench.login(target, bench.access(ephemeral=True)).stdout == "in as root\n"
    assert bench.ec2.calls["SendSSHPublicKey"] == 3


def test_an_instance_that_is_gone_is_told_before_any_connection(bench: Bench) -> None:
    target = bench.ec2.register(bench.server())
    bench.ec2.instances.clear()
    with pytest.raises(CloudError, match="EC2 knows no such instance in eu-west-1"):
        bench.access(ephemeral=True).options(target)


# -- the pins


def test_a_pin_from_the_console_accepts_the_right_server_which_is_unknown_without(bench: Bench) -> None:
    server = bench.server(trusted=False)
    target = bench.ec2.register(server, bench.console(server))
    refused(bench.login(target, bench.access(ephemeral=True, pins=False)), "Host key verification failed")
    assert bench.login(target, bench.access(ephemeral=True)).stdout == "in as root\n"


def test_a_machine_that_is_not_on_nitro_is_pinned_by_the_console_of_its_boot(bench: Bench) -> None:
    server = bench.server(trusted=False)
    target = bench.ec2.register(server, bench.console(server), nitro=False)
    assert bench.login(target, bench.access(ephemeral=True)).stdout == "in as root\n"
    assert bench.ec2.calls["GetConsoleOutput"] == 2


def test_a_pin_refuses_an_impostor(bench: Bench) -> None:
    server = bench.server(trusted=False)
    target = bench.ec2.register(server, bench.console(server))
    server.change_host_key()
    refused(bench.login(target, bench.access(ephemeral=True)), "Host key verification failed")


def test_a_pin_of_one_kind_of_key_refuses_a_server_that_has_only_another(bench: Bench) -> None:
    target = bench.ec2.register(bench.server(trusted=False), block(key("ssh-rsa")))
    refused(bench.login(target, bench.access(ephemeral=True)), "Host key verification failed")


def test_a_known_address_is_not_asked_about(bench: Bench) -> None:
    server = bench.server()
    target = bench.ec2.register(server, block(key("ssh-ed25519")))
    assert bench.login(target, bench.access(ephemeral=True)).stdout == "in as root\n"
    assert bench.ec2.calls["GetConsoleOutput"] == 0


def test_a_changed_key_stays_a_refusal_whatever_the_console_says(bench: Bench) -> None:
    server = bench.server()
    server.change_host_key()
    target = bench.ec2.register(server, bench.console(server))
    how = bench.access(ephemeral=True)
    refused(bench.login(target, how), "REMOTE HOST IDENTIFICATION HAS CHANGED")
    assert bench.ec2.calls["GetConsoleOutput"] == 0


def test_without_keys_in_the_console_ssh_refuses_and_the_hint_says_why(bench: Bench) -> None:
    target = bench.ec2.register(bench.server(trusted=False), "no keys here")
    how = bench.access(ephemeral=True)
    refused(bench.login(target, how), "Host key verification failed")
    assert "shows no host keys" in how.hint(target)


def test_a_denied_console_is_a_hint_and_the_connection_is_tried(bench: Bench) -> None:
    bench.ec2.denied.add("GetConsoleOutput")
    known, unknown = (bench.ec2.register(bench.server(trusted=trusted)) for trusted in (True, False))
    how = bench.access(ephemeral=True)
    assert bench.login(known, how).stdout == "in as root\n"
    refused(bench.login(unknown, how), "Host key verification failed")
    assert "does not allow ec2:GetConsoleOutput" in how.hint(unknown)


def test_pins_leave_the_users_files_as_they_are(bench: Bench) -> None:
    server = bench.server(trusted=False)
    before = (bench.farm.home / ".ssh" / "known_hosts").read_bytes()
    bench.login(bench.ec2.register(server, bench.console(server)), bench.access(ephemeral=True))
    assert (bench.farm.home / ".ssh" / "known_hosts").read_bytes() == before


# -- tunnels


@pytest.fixture
def calls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AWS CLI with the plugin, and where it notes its calls."""
    place = bench.place.parent / "bin"
    place.mkdir()
    calls = bench.place.parent / "calls"
    for name in ("aws", "session-manager-plugin"):
        (place / name).write_text(CLI.format(python=sys.executable, calls=calls))
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return calls


@pytest.mark.parametrize("way", ["instance-connect", "session-manager"])
def test_a_tunnel_reaches_an_instance_that_has_no_address_from_here(bench: Bench, calls: Path, way: str) -> None:
    server = bench.server(trusted=False)
    target = bench.ec2.register(server, bench.console(server))
    away = Target(id=target.id, region=REGION, address="198.51.100.1", port=server.port, user="root")
    assert bench.login(away, bench.access(ephemeral=True, tunnel=way)).stdout == "in as root\n"
    [call] = calls.read_text().splitlines()
    assert f" {target.id} " in f"{call} "
    assert call.endswith(f"--region {REGION}")


def test_behind_a_tunnel_an_instance_is_known_by_its_id(bench: Bench, calls: Path) -> None:
    del calls
    server = bench.server(trusted=False)
    target = bench.ec2.register(server)
    (bench.farm.home / ".ssh" / "known_hosts").write_text(f"{target.id} {server.host_key}\n")
    how = bench.access(ephemeral=True, tunnel="instance-connect")
    assert bench.login(target, how).stdout == "in as root\n"
    assert bench.ec2.calls["GetConsoleOutput"] == 0
    server.change_host_key()
    refused(bench.login(target, how), "REMOTE HOST IDENTIFICATION HAS CHANGED")


# -- a whole run


def deploy(bench: Bench, target: Target, how: Access, **options: Any) -> Invocation:
    client = Client(bench.farm, b"echo deployed as $(id -un)", access=how, **options)
    return client.finish(client.backend.start([target], staged_by(client.backend)))[0]


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_a_run_reaches_an_instance_by_key_and_pin_and_leaves_nothing_of_them(bench: Bench, transfer: str) -> None:
    server = bench.server(trusted=False)
    target = bench.ec2.register(server, bench.console(server))
    seen = deploy(bench, target, bench.access(ephemeral=True), transfer=transfer)
    assert (seen.status, seen.stdout) == (Status.SUCCEEDED, "deployed as root\n"), seen.detail
    assert bench.files == []
    assert until(lambda: bench.processes == [])


def test_a_verdict_tells_why_there_was_no_host_key(bench: Bench) -> None:
    target = bench.ec2.register(bench.server(trusted=False), "no keys here")
    seen = deploy(bench, target, bench.access(ephemeral=True))
    assert (seen.status, seen.word) == (Status.UNREACHED, "HostKeyUnknown")
    assert f"the console of {target.id} shows no host keys" in seen.detail


def test_a_verdict_on_an_impostor_names_no_file_that_is_gone_with_the_run(bench: Bench) -> None:
    server = bench.server(trusted=False)
    target = bench.ec2.register(server, bench.console(server))
    server.change_host_key()
    seen = deploy(bench, target, bench.access(ephemeral=True))
    assert (seen.status, seen.word) == (Status.UNREACHED, "HostKeyChanged")
    assert f"the one that the console of {target.id} shows" in seen.detail
    assert str(bench.place) not in seen.detail


def test_a_verdict_tells_what_a_pushed_key_needs(bench: Bench) -> None:
    server = bench.server()
    target = bench.ec2.register(server)
    bench.ec2.installed = False
    seen = deploy(bench, target, bench.access(ephemeral=True))
    assert (seen.status, seen.word) == (Status.UNREACHED, "AuthRefused")
    assert "only if EC2 Instance Connect is installed" in seen.detail


def test_a_verdict_tells_why_a_key_could_not_be_pushed(bench: Bench) -> None:
    target = bench.ec2.register(bench.server())
    bench.ec2.instances.clear()
    seen = deploy(bench, target, bench.access(ephemeral=True))
    assert (seen.status, seen.word) == (Status.UNREACHED, "NoAccess")
    assert "EC2 knows no such instance in eu-west-1; was it terminated?" in seen.detail


# -- the end


def test_nothing_is_left_of_a_run_that_was_killed(bench: Bench) -> None:
    server = bench.server(trusted=False)
    target = bench.ec2.register(server, bench.console(server))
    words = [bench.ec2.endpoint_url, target.id, target.address, str(target.port)]
    environment = {**os.environ, "TMPDIR": str(bench.place)}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGKILL, "")
    assert "IdentityFile" in ended.stdout
    assert "GlobalKnownHostsFile" in ended.stdout
    assert until(lambda: not bench.files and not bench.processes)
