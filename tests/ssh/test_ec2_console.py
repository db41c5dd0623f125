"""Host keys out of what a console shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ssh.host_key_lines import FIELDS, block, key

from ssm_deployer.backends.ec2.console import Contradiction, host_keys

KEYS = [key(kind) for kind in FIELDS]
ED25519, ECDSA, RSA = KEYS
# The end of the first boot of an Ubuntu 20.04, with other keys.
BOOT = f"""\
[   28.254438] cloud-init[1278]: ci-info: no authorized SSH keys fingerprints found for user ubuntu.
<14>Jan  6 15:27:31 ec2: #############################################################
<14>Jan  6 15:27:31 ec2: -----BEGIN SSH HOST KEY FINGERPRINTS-----
<14>Jan  6 15:27:31 ec2: 256 SHA256:8KKnft4X6/5ANZjy4c9Pf8nLPghM25r2h7KQCcmMWJQ root@ip-10-0-0-1 (ECDSA)
<14>Jan  6 15:27:32 ec2: -----END SSH HOST KEY FINGERPRINTS-----
<14>Jan  6 15:27:32 ec2: #############################################################
{block(*KEYS)}\
[   28.296420] cloud-init[1278]: Cloud-init v. 21.4 finished at Thu, 06 Jan 2022 15:27:32 +0000.

Ubuntu 20.04.3 LTS ip-10-0-0-1 ttyS0

ip-10-0-0-1 login: """


def test_the_keys_are_found_among_all_that_a_boot_prints() -> None:
    assert host_keys(BOOT) == KEYS


@pytest.mark.parametrize(
    "before",
    [
        "[   12.345678] cloud-init[123]: ",
        "[   12.345678] cloud-init[123]: <14>Jan  6 15:27:31 ec2: ",
        "<14>Jan  6 15:27:31 cloud-init: ",
        "<14>Jan 16 15:27:31 ec2: ",
        "Jul 19 02:30:49 ip-172-31-24-168 cloud-init[1563]: ",
        "ec2: ",
        "",
    ],
)
def test_what_a_log_puts_before_the_lines_does_not_matter(before: str) -> None:
    assert host_keys(block(*KEYS, before=before)) == KEYS


def test_carriage_returns_and_missing_comments_do_not_matter() -> None:
    assert host_keys(block(*KEYS, comment="").replace("\n", "\r\n")) == KEYS
    assert host_keys(BOOT.replace("\n", "\r\n")) == KEYS


@pytest.mark.parametrize("output", ["", "no block at all", BOOT.partition("-----END SSH HOST KEY KEYS")[0]])
def test_without_a_whole_block_there_are_no_keys(output: str) -> None:
    assert host_keys(output) == []


def test_a_block_whose_beginning_was_cut_off_is_none() -> None:
    assert host_keys(BOOT.partition("BEGIN SSH HOST KEY KEYS")[2]) == []


def test_what_the_kernel_prints_into_a_block_spoils_no_more_than_one_line() -> None:
    printed = "[   28.27] audit: type=1400"
    output = block(ED25519, f"{ECDSA[:60]}{printed}\n{ECDSA[60:]}", RSA).replace(f"{RSA} ", f"{printed}\n{RSA} ")
    assert host_keys(output) == [ED25519, RSA]


@given(st.integers(1, len(RSA) - 1))
def test_half_a_key_is_no_key(length: int) -> None:
    assert host_keys(block(RSA[:length], comment="")) == []


@given(st.text(st.characters(codec="utf-8")))
def test_noise_has_no_keys(noise: str) -> None:
    assert host_keys(block(noise)) == []


@pytest.mark.parametrize("kind", ["ssh-dss", "ssh-ed25519-cert-v01@openssh.com", "rsa-sha2-512"])
def test_other_kinds_are_left_out(kind: str) -> None:
    assert host_keys(block(ED25519.replace("ssh-ed25519", kind), RSA)) == [RSA]


def test_a_key_of_another_kind_than_it_says_is_left_out() -> None:
    assert host_keys(block(RSA.replace("ssh-rsa", "ecdsa-sha2-nistp256"))) == []


@pytest.mark.parametrize(
    "before",
    [
        "[  900.1] sshd[99]: Invalid user ",
        "Jul 19 02:30:49 ip-172-31-24-168 sshd[99]: Invalid user ",
        "cloud-init[1]: Invalid user ",
        "> ",
    ],
)
def test_a_block_in_what_another_program_logs_is_the_word_of_a_stranger(before: str) -> None:
    assert host_keys(BOOT + "\n" + block(key("ssh-ed25519", b"\x09"), before=before)) == KEYS
    assert host_keys(block(ED25519, before=before)) == []


@pytest.mark.parametrize("parting", ["\r", "\x0b", "\x0c", "\x1e", "\x85", "\u2028"])
def test_a_stranger_begins_no_line_but_by_a_newline(parting: str) -> None:
    words = block(ED25519).replace("\n", parting)
    assert host_keys(f"[  900.1] app[99]: no such page: {parting}{words}\n") == []
    lines = "".join(f"[  900.1] app[99]: no such page: {parting}{line}\n" for line in block(ED25519).splitlines())
    assert host_keys(lines) == []


def test_a_second_block_may_say_the_same_or_more() -> None:
    assert host_keys(block(ED25519) + "reboot\n" + block(ED25519, RSA)) == [ED25519, RSA]


def test_two_different_keys_of_a_kind_are_a_contradiction() -> None:
    with pytest.raises(Contradiction):
        host_keys(BOOT + "\n" + block(key("ssh-ed25519", b"\x09")))
