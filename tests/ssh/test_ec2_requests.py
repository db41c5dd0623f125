"""What is asked of EC2 to reach an instance by SSH, parameter by parameter. No service is behind these."""

import base64
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY, Stubber
from ssh.host_key_lines import block, key
from stubbed import Stubbed

from ssm_deployer.backends.access import Access, Plain
from ssm_deployer.backends.ec2 import access
from ssm_deployer.backends.openssh import Login
from ssm_deployer.errors import Ambiguous, CloudError, Declined, DeployError, UsageError
from ssm_deployer.model import Target

ID = "i-00000000000000001"
TARGET = Target(id=ID, region="eu-west-1", via="ssh", address="192.0.2.1", user="ubuntu")
ED25519 = key("ssh-ed25519")
LATEST = {"InstanceId": ID, "Latest": True}
KEPT = {"InstanceId": ID}


@pytest.fixture(scope="module")
def aws() -> Stubbed:
    return Stubbed("ec2", "ec2-instance-connect")


@pytest.fixture
def connect(aws: Stubbed) -> Iterator[Stubber]:
    with Stubber(aws.clients["ec2-instance-connect"]) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def ec2(aws: Stubbed) -> Iterator[Stubber]:
    with Stubber(aws.clients["ec2"]) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def pushing(aws: Stubbed) -> Iterator[Access]:
    made = access(Login(), [aws], ephemeral=True, pins=False)
    yield made
    assert list(made.close()) == []


@pytest.fixture
def pinning(aws: Stubbed, no_known_hosts: Login) -> Iterator[Access]:
    made = access(no_known_hosts, [aws])
    yield made
    assert list(made.close()) == []


@pytest.fixture
def no_known_hosts() -> Login:
    return Login(options=("UserKnownHostsFile=none", "GlobalKnownHostsFile=/dev/null"))


def shown(output: str) -> dict[str, Any]:
    # The service encodes it, and botocore decodes it.
    return {"InstanceId": ID, "Output": base64.b64encode(output.encode()).decode()}


def values(options: Any) -> dict[str, str]:
    """The options by name; each is set once."""
    arguments = list(options)
    assert arguments[::2] == ["-o"] * (len(arguments) // 2)
    pairs = [argument.split("=", 1) for argument in arguments[1::2]]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: value.strip('"') for name, value in pairs}


# -- which access


def test_without_any_of_it_nothing_is_special(aws: Stubbed) -> None:
    assert isinstance(access(Login(), [aws], pins=False), Plain)
    assert (Plain().options(TARGET), Plain().hint(TARGET), Plain().close()) == ((), "", ())


@pytest.mark.parametrize("kind", ["ssh:web-1", "mi-00000000000000001"])
def test_what_is_no_instance_of_ec2_passes_through(aws: Stubbed, kind: str) -> None:
    everything = access(Login(), [aws], ephemeral=True)
    other = Target(id=kind, region="eu-west-1", address="192.0.2.1")
    assert (list(everything.options(other)), everything.hint(other), list(everything.close())) == ([], "", [])


# -- the key


def test_a_key_is_pushed_for_the_user_of_the_target(pushing: Access, connect: Stubber, aws: Stubbed) -> None:
    aws.attempts.clear()
    request = {"InstanceId": ID, "InstanceOSUser": "ubuntu", "SSHPublicKey": ANY}
    connect.add_response("send_ssh_public_key", {"RequestId": "1", "Success": True}, request)
    options = values(pushing.options(TARGET))
    assert options == {"IdentityFile": ANY, "IdentitiesOnly": "yes", "IdentityAgent": "none"}
    private = Path(options["IdentityFile"])
    assert (private.stat().st_mode & 0o777, private.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert ("ec2-instance-connect", 5) in aws.attempts


def test_what_is_pushed_is_the_public_half_and_names_neither_the_user_nor_this_machine(
    pushing: Access, connect: Stubber, aws: Stubbed
) -> None:
    sent = []
    aws.clients["ec2-instance-connect"].meta.events.register(
        "before-parameter-build", lambda params, **_: sent.append(dict(params)), unique_id="sent"
    )
    connect.add_response("send_ssh_public_key", {"Success": True})
    private = Path(values(pushing.options(TARGET))["IdentityFile"])
    aws.clients["ec2-instance-connect"].meta.events.unregister("before-parameter-build", unique_id="sent")
    kind, blob, comment = sent[0]["SSHPublicKey"].split(" ")
    assert (kind, comment) == ("ssh-ed25519", "ssm-deploy")
    assert blob in private.with_suffix(".pub").read_text()


def test_the_users_own_choice_of_a_user_counts_where_the_target_names_none(aws: Stubbed, connect: Stubber) -> None:
    made = access(Login(user="admin"), [aws], ephemeral=True, pins=False)
    for target, user in ((TARGET, "ubuntu"), (Target(id=ID, region="eu-west-1", address="192.0.2.1"), "admin")):
        request = {"InstanceId": ID, "InstanceOSUser": user, "SSHPublicKey": ANY}
        connect.add_response("send_ssh_public_key", {"Success": True}, request)
        made.options(target)
    made.close()


def test_without_a_user_nothing_is_pushed(pushing: Access) -> None:
    with pytest.raises(UsageError, match="needs the name of the user") as caught:
        pushing.options(Target(id=ID, region="eu-west-1", address="192.0.2.1"))
    assert "--ssh-user" in caught.value.hint


def test_one_key_serves_the_run_and_is_pushed_anew_before_each_connection(pushing: Access, connect: Stubber) -> None:
    for _ in range(2):
        connect.add_response("send_ssh_public_key", {"Success": True})
    assert pushing.options(TARGET) == pushing.options(TARGET)


@pytest.mark.parametrize(
    ("code", "status", "kind", "words", "remedy"),
    [
        ("AuthException", 400, CloudError, "does not allow it for user ubuntu", "iam/operator-policy-ssh.json"),
        ("AccessDeniedException", 400, CloudError, "does not allow it for user ubuntu", "iam/operator-policy-ssh.json"),
        ("InvalidArgsException", 400, CloudError, "no such user name or instance", "is ubuntu the right user"),
        ("EC2InstanceNotFoundException", 400, CloudError, "no such instance in eu-west-1", "terminated"),
        ("EC2InstanceStateInvalidException", 400, CloudError, "is not running", "start it"),
        ("EC2InstanceUnavailableException", 503, CloudError, "cannot be reached by EC2 now", "status checks"),
        ("ServiceException", 500, Ambiguous, "ServiceException", "try again"),
        ("ThrottlingException", 400, Declined, "throttles", "wait a little"),
    ],
)
def test_a_refused_push_says_what_it_means_and_what_to_do(
    pushing: Access, connect: Stubber, code: str, status: int, kind: type[CloudError], words: str, remedy: str
) -> None:
    connect.add_client_error("send_ssh_public_key", code, "whatever", http_status_code=status)
    with pytest.raises(kind, match=words) as caught:
        pushing.options(TARGET)
    assert caught.value.message.startswith(f"cannot push a key to {ID}: ")
    assert remedy in caught.value.hint


def test_an_answer_without_success_is_a_failure(pushing: Access, connect: Stubber) -> None:
    connect.add_response("send_ssh_public_key", {"Success": False})
    with pytest.raises(CloudError, match="did not do it"):
        pushing.options(TARGET)


def test_a_refused_login_is_explained_by_what_the_machine_needs(aws: Stubbed) -> None:
    assert "EC2 Instance Connect is installed" in access(Login(), [aws], ephemeral=True, pins=False).hint(TARGET)


# -- the pins


def test_keys_of_the_console_as_it_is_now_are_pinned_to_the_address(pinning: Access, ec2: Stubber) -> None:
    ec2.add_response("get_console_output", shown(block(ED25519)), LATEST)
    options = values(pinning.options(TARGET))
    assert options.keys() == {"GlobalKnownHostsFile"}
    pins = Path(options["GlobalKnownHostsFile"])
    assert pins.read_text() == f"192.0.2.1 {ED25519}\n"
    assert pins.stat().st_mode & 0o777 == 0o600
    assert pinning.hint(TARGET) == ""


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [
        ("192.0.2.1", 2222, "[192.0.2.1]:2222"),
        ("2001:db8::1", 0, "2001:db8::1"),
        ("2001:db8::1", 2222, "[2001:db8::1]:2222"),
        ("Web-1.Example.com", 22, "web-1.example.com"),
    ],
)
def test_a_pin_has_the_name_by_which_ssh_looks_for_it(
    pinning: Access, ec2: Stubber, address: str, port: int, name: str
) -> None:
    ec2.add_response("get_console_output", shown(block(ED25519)), LATEST)
    options = values(pinning.options(Target(id=ID, region="eu-west-1", address=address, port=port)))
    assert Path(options["GlobalKnownHostsFile"]).read_text() == f"{name} {ED25519}\n"


@pytest.mark.parametrize("latest", ["unsupported", "silent", "scrolled"])
def test_the_console_of_the_last_boot_is_asked_if_the_latest_has_no_keys(
    pinning: Access, ec2: Stubber, latest: str
) -> None:
    if latest == "unsupported":
        ec2.add_client_error("get_console_output", "UnsupportedOperation", "…", 400, expected_params=LATEST)
    else:
        ec2.add_response("get_console_output", shown("x") if latest == "scrolled" else {"InstanceId": ID}, LATEST)
    ec2.add_response("get_console_output", shown(block(ED25519)), KEPT)
    assert values(pinning.options(TARGET)).keys() == {"GlobalKnownHostsFile"}


def test_a_console_without_keys_gives_no_pin_but_a_hint_and_is_not_asked_again(pinning: Access, ec2: Stubber) -> None:
    for request in (LATEST, KEPT):
        ec2.add_response("get_console_output", shown("no keys here"), request)
    assert [list(pinning.options(TARGET)) for _ in range(2)] == [[], []]
    assert f"the console of {ID} shows no host keys" in pinning.hint(TARGET)
    assert "add the host's key to your known_hosts file" in pinning.hint(TARGET)


def test_a_console_that_contradicts_itself_gives_no_pin(pinning: Access, ec2: Stubber) -> None:
    ec2.add_response("get_console_output", shown(block(ED25519) + block(key("ssh-ed25519", b"\x09"))), LATEST)
    assert list(pinning.options(TARGET)) == []
    assert "two different host keys" in pinning.hint(TARGET)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("UnauthorizedOperation", "does not allow ec2:GetConsoleOutput; iam/operator-policy-ssh.json allows it"),
        ("RequestLimitExceeded", "AWS throttles the requests"),
        ("InvalidInstanceID.NotFound", "InvalidInstanceID.NotFound"),
    ],
)
def test_a_console_that_cannot_be_read_stops_no_target(pinning: Access, ec2: Stubber, code: str, words: str) -> None:
    ec2.add_client_error("get_console_output", code, "whatever", http_status_code=403)
    assert list(pinning.options(TARGET)) == []
    assert words in pinning.hint(TARGET)


@pytest.mark.parametrize("entry", ["192.0.2.1 KEY", "192.0.2.* KEY", "@cert-authority 192.0.2.1 KEY", "hashed"])
def test_an_address_that_known_hosts_has_an_entry_for_is_not_asked_about(
    aws: Stubbed, ec2: Stubber, tmp_path: Path, entry: str
) -> None:
    del ec2  # whatever is asked fails
    known = tmp_path / "known hosts"
    known.write_text(entry.replace("KEY", ED25519).replace("hashed", f"192.0.2.1 {ED25519}") + "\n")
    if entry == "hashed":
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    for option in ("UserKnownHostsFile", "GlobalKnownHostsFile"):
        other = {"UserKnownHostsFile": "GlobalKnownHostsFile=/dev/null"}.get(option, "UserKnownHostsFile=none")
        made = access(Login(options=(f'{option}=/dev/null "{known}"', other)), [aws])
        assert (list(made.options(TARGET)), made.hint(TARGET)) == ([], "")


def test_a_command_of_the_users_own_for_host_keys_is_left_alone(aws: Stubbed, ec2: Stubber) -> None:
    del ec2
    made = access(Login(options=("KnownHostsCommand=/bin/true %H", "UserKnownHostsFile=none")), [aws])
    assert (list(made.options(TARGET)), made.hint(TARGET)) == ([], "")


def test_global_files_of_the_users_choice_stay_in_force_beside_the_pins(
    aws: Stubbed, ec2: Stubber, tmp_path: Path
) -> None:
    mine = tmp_path / "all hosts"
    mine.write_text(f"198.51.100.1 {ED25519}\n")
    ec2.add_response("get_console_output", shown(block(ED25519)), LATEST)
    made = access(Login(options=(f'GlobalKnownHostsFile="{mine}"', "UserKnownHostsFile=none")), [aws])
    (_, option) = made.options(TARGET)
    assert option.endswith(f' "{mine}"')
    made.close()


def test_a_client_that_cannot_read_its_configuration_stops_no_target(aws: Stubbed, ec2: Stubber) -> None:
    del ec2
    made = access(Login(options=("NoSuchOption=1",)), [aws])
    assert list(made.options(TARGET)) == []
    assert "ssh says: " in made.hint(TARGET)
    assert "NoSuchOption".lower() in made.hint(TARGET).lower()


def test_a_place_for_temporary_files_that_is_not_there_is_told(
    pushing: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/no/such/place")
    with pytest.raises(DeployError, match=r"cannot keep keys for ssh here: .*/no/such/place") as caught:
        pushing.options(TARGET)
    assert "TMPDIR" in caught.value.hint


# -- threads


def test_many_threads_get_one_key_and_a_file_of_pins_each(aws: Stubbed, temporary: Path) -> None:
    made = access(Login(options=("UserKnownHostsFile=none",)), [aws], ephemeral=True)
    answers = {"GetConsoleOutput": shown(block(ED25519)), "SendSSHPublicKey": {"Success": True}}
    targets = [Target(id=f"i-{n:017x}", region="eu-west-1", address="192.0.2.1", user="u") for n in range(16)]
    found: list[dict[str, str]] = []

    def answer(model: Any, **_: object) -> Any:
        return _Ok(), answers[model.name]

    for client in aws.clients.values():
        client.meta.events.register("before-call", answer, unique_id="canned")
    workers = [threading.Thread(target=lambda each=each: found.append(values(made.options(each)))) for each in targets]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for client in aws.clients.values():
        client.meta.events.unregister("before-call", unique_id="canned")
    assert len({options["IdentityFile"] for options in found}) == 1
    assert len({options["GlobalKnownHostsFile"] for options in found}) == 16
    assert list(made.close()) == []
    assert list(temporary.iterdir()) == []


class _Ok:
    status_code = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - as botocore's own
    raw = None
