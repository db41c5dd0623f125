"""The commands that carry a connection to an instance without an address."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_deployer.aws import Aws
from ssm_deployer.backends.ec2 import access
from ssm_deployer.backends.ec2.tunnel import Tunnel, Way
from ssm_deployer.backends.openssh import Login
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Target

ID = "i-00000000000000001"
TARGET = Target(id=ID, region="eu-west-1", via="ssh", address="10.0.0.1")
WAYS: list[Way] = ["instance-connect", "session-manager"]
VERSION_2 = "#!/bin/sh\necho aws-cli/2.15.30 Python/3.11.6\n"
VERSION_1 = "#!/bin/sh\necho aws-cli/1.32.0 Python/3.11.6\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder on the PATH."""
    place = tmp_path / "50%p of `them`"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    return place


def install(place: Path, text: str = VERSION_2, name: str = "aws") -> None:
    (place / name).write_text(text)
    (place / name).chmod(0o755)


def aws(profile: str = "") -> Aws:
    made = Aws(region="eu-west-1", credentials=("testing", "testing"))
    made.profile = profile  # no profile of such a name is there
    return made


def carried(options: list[str]) -> list[str]:
    """The words of the proxy's command, as ssh's expansion and the shell leave them."""
    command = dict(each.split("=", 1) for each in options[1::2])["ProxyCommand"]
    assert command.replace("%%", "").count("%") == command.replace("%%", "").count("%p") == 1
    return [word.replace("%%", "\0").replace("%p", "2222").replace("\0", "%") for word in shlex.split(command)]


def test_an_endpoint_of_instance_connect_opens_a_tunnel_to_the_port_that_ssh_means(programs: Path) -> None:
    install(programs)
    options = list(Tunnel("instance-connect").options(TARGET, aws()))
    assert carried(options) == [
        *(f"{programs}/aws", "ec2-instance-connect", "open-tunnel", "--remote-port", "2222"),
        *("--instance-id", ID, "--region", "eu-west-1"),
    ]
    assert options[2:] == ["-o", f"HostKeyAlias={ID}"]


def test_session_manager_starts_a_session_for_ssh(programs: Path) -> None:
    install(programs)
    install(programs, name="session-manager-plugin")
    options = list(Tunnel("session-manager").options(TARGET, aws("deployer")))
    assert carried(options) == [
        *(f"{programs}/aws", "ssm", "start-session", "--document-name", "AWS-StartSSHSession"),
        *("--parameters", "portNumber=2222", "--target", ID, "--region", "eu-west-1", "--profile", "deployer"),
    ]
    assert options[2:] == ["-o", f"HostKeyAlias={ID}"]


@pytest.mark.parametrize("way", WAYS)
def test_without_the_aws_cli_there_is_no_tunnel(programs: Path, way: Way) -> None:
    del programs
    with pytest.raises(UsageError, match="`aws` is not on the PATH") as caught:
        access(Login(), [aws()], tunnel=way)
    assert "install the AWS CLI" in caught.value.hint


def test_session_manager_needs_its_plugin(programs: Path) -> None:
    install(programs)
    with pytest.raises(UsageError, match="`session-manager-plugin` is not on the PATH") as caught:
        access(Login(), [aws()], tunnel="session-manager")
    assert "install it: https://" in caught.value.hint


def test_version_1_of_the_aws_cli_opens_no_tunnel_but_starts_sessions(programs: Path) -> None:
    install(programs, VERSION_1)
    install(programs, name="session-manager-plugin")
    with pytest.raises(UsageError, match="needs version 2 of the AWS CLI"):
        access(Login(), [aws()], tunnel="instance-connect")
    assert carried(list(Tunnel("session-manager").options(TARGET, aws())))


# Not the backslash: ssh reads it otherwise than a shell does between quotes, and refuses the command.
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\\"), min_size=1)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with the two programs before all else."""
    place = tmp_path_factory.mktemp("bin")
    install(place)
    install(place, name="session-manager-plugin")
    return f"{place}:{os.environ['PATH']}"


@given(name=NAMES)
def test_any_name_of_a_profile_arrives_as_it_is(both: str, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", both)
        options = list(Tunnel("session-manager").options(TARGET, aws(name)))
    assert carried(options)[-1] == name
    # ssh has rules of its own for quotes, and says no if it finds one without an end.
    told = subprocess.run(["ssh", "-F", "none", "-G", *options, "host"], capture_output=True, check=True).stdout
    assert f"proxycommand {options[1].removeprefix('ProxyCommand=')}".encode() in told.split(b"\n")
