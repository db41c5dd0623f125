"""What people log in with: certificates, security keys, agents, and keys that ssh cannot use as they are.

No security key is plugged in here: `sk-dummy.so`, with which OpenSSH tests itself, signs in place of one. All else is
what it is elsewhere, from `ssh-keygen -t ed25519-sk` to sshd, which takes the signature only for such a key.
"""

import subprocess
from pathlib import Path

import pytest
from ssh.client import Client
from ssh.farm import Farm
from ssh.layout import write
from ssh.server import Server

from ssm_deployer.model import Status

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_as_the_farms_user")]

HELLO = b"echo hello\n"
AUTHENTICATOR = Path("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so")
CA_TRUSTED = ["TrustedUserCAKeys /etc/ssh/ca.pub"]


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    return made(tmp_path / "ca")


def made(key: Path, *options: str, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", *(options or ("-t", "ed25519")), "-N", passphrase, "-f", key], check=True)
    return key


def certified(key: Path, ca: Path, *options: str) -> Path:
    """Sign the public key, which leaves the certificate beside it."""
    subprocess.run(["ssh-keygen", "-q", "-s", ca, "-I", "example", *options, f"{key}.pub"], check=True)
    return Path(f"{key}-cert.pub")


def server_of(farm: Farm, key: Path) -> Server:
    """A server that lets root in by that key alone."""
    return farm.server(
        authorized=False,
        config=["AuthorizedKeysFile /etc/ssh/these"],
        files={"these": Path(f"{key}.pub").read_text()},
    )


# -- certificates


@pytest.mark.parametrize("transfer", ["stream", "scp"])
def test_a_certificate_beside_the_key_logs_in(farm: Farm, tmp_path: Path, ca: Path, transfer: str) -> None:
    server = farm.server(authorized=False, config=CA_TRUSTED, files={"ca.pub": Path(f"{ca}.pub").read_text()})
    key = made(tmp_path / "key")
    certified(key, ca, "-n", "root", "-V", "-5m:+5m")
    seen = Client(farm, HELLO, key=str(key), transfer=transfer).deploy_one(server)
    assert (seen.status, seen.stdout) == (Status.SUCCEEDED, "hello\n"), seen


@pytest.mark.parametrize("options", [("-n", "root", "-V", "-10m:-5m"), ("-n", "somebody", "-V", "-5m:+5m")])
def test_a_certificate_that_is_not_good_for_it_is_named_among_what_was_refused(
    farm: Farm, tmp_path: Path, ca: Path, options: tuple[str, ...]
) -> None:
    server = farm.server(authorized=False, config=CA_TRUSTED, files={"ca.pub": Path(f"{ca}.pub").read_text()})
    key = made(tmp_path / "key")
    certified(key, ca, *options)
    seen = Client(farm, HELLO, key=str(key)).deploy_one(server)
    assert (seen.status, seen.word) == (Status.UNREACHED, "AuthRefused")
    assert f"{key} (ED25519-CERT)" in seen.detail


def test_a_host_is_known_by_the_certificate_of_an_authority(farm: Farm, ca: Path, tmp_path: Path) -> None:
    host = made(tmp_path / "host")
    certificate = certified(host, ca, "-h", "-n", "127.0.0.1")
    server = farm.server(
        trusted=False,
        config=["HostKey /etc/ssh/host", "HostCertificate /etc/ssh/host-cert.pub"],
        files={"host": host.read_text(), "host-cert.pub": certificate.read_text()},
    )
    (server.folder / "ssh" / "host").chmod(0o600)
    assert Client(farm, HELLO).deploy_one(server).word == "HostKeyUnknown"
    known = tmp_path / "known_hosts"
    known.write_text(f"@cert-authority {server.known_as} {Path(f'{ca}.pub').read_text()}")
    seen = Client(farm, HELLO, options=(f"UserKnownHostsFile={known}",)).deploy_one(server)
    assert seen.status is Status.SUCCEEDED, seen


# -- security keys


@pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
def test_a_security_key_logs_in(farm: Farm, tmp_path: Path, kind: str) -> None:
    key = made(tmp_path / "key", "-t", kind, "-w", str(AUTHENTICATOR))
    options = (f"SecurityKeyProvider={AUTHENTICATOR}",)
    seen = Client(farm, HELLO, key=str(key), options=options).deploy_one(server_of(farm, key))
    assert (seen.status, seen.stdout) == (Status.SUCCEEDED, "hello\n"), seen


def test_a_security_key_that_is_not_plugged_in_is_told_from_one_that_is_not_known(farm: Farm, tmp_path: Path) -> None:
    key = made(tmp_path / "key", "-t", "ed25519-sk", "-w", str(AUTHENTICATOR))
    seen = Client(farm, HELLO, key=str(key)).deploy_one(server_of(farm, key))
    assert (seen.status, seen.word) == (Status.UNREACHED, "KeyUnusable")
    assert f'signing failed for ED25519-SK "{key}": ' in seen.detail


# -- passphrases, files and second factors


def test_a_key_with_a_passphrase_logs_in_by_the_agent_which_is_the_remedy_without(
    farm: Farm, tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = made(tmp_path / "key", passphrase="example")
    options = (f"IdentityAgent={agent}",)
    server = server_of(farm, key)
    seen = Client(farm, HELLO, key=str(key), options=options).deploy_one(server)
    assert (seen.status, seen.word) == (Status.UNREACHED, "KeyUnusable")
    assert f"it knows the key {key}, " in seen.detail
    write(tmp_path / "answer", "#!/bin/sh\necho example\n", 0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(tmp_path / "answer"))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    subprocess.run(["ssh-add", "-q", key], check=True)
    assert Client(farm, HELLO, key=str(key), options=options).deploy_one(server).status is Status.SUCCEEDED


def test_a_file_that_is_no_key_is_told(farm: Farm, tmp_path: Path) -> None:
    key = tmp_path / "key.ppk"
    key.write_text("PuTTY-User-Key-File-3: ssh-ed25519\n")
    key.chmod(0o600)
    seen = Client(farm, HELLO, key=str(key)).deploy_one(farm.server(authorized=False))
    assert (seen.status, seen.word) == (Status.UNREACHED, "KeyUnusable")
    assert f'Load key "{key}": ' in seen.detail


def test_a_key_that_others_may_read_is_told(farm: Farm, tmp_path: Path) -> None:
    key = made(tmp_path / "key")
    server = server_of(farm, key)
    key.chmod(0o644)
    Path(f"{key}.pub").unlink()
    seen = Client(farm, HELLO, key=str(key)).deploy_one(server)
    assert (seen.status, seen.word) == (Status.UNREACHED, "KeyUnusable")
    assert f'Load key "{key}": bad permissions' in seen.detail


def test_a_server_that_wants_more_than_a_key_is_told(farm: Farm) -> None:
    server = farm.server(config=["PasswordAuthentication yes", "AuthenticationMethods publickey,password"])
    seen = Client(farm, HELLO).deploy_one(server)
    assert (seen.status, seen.word) == (Status.UNREACHED, "AuthRefused")
    assert "a key is not enough for root: it wants password as well" in seen.detail
