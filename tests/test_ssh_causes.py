"""Why a target is not reached. The sentences are those that OpenSSH 9.2 was seen to write."""

import pytest
from sights import DENIED, LOGGED_IN, judged

from ssm_deployer.backends.ssh_verdict import Sight, passing
from ssm_deployer.model import Status

# -- before the login

CHANGED = """@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
Offending ED25519 key in /home/me/.ssh/known_hosts:7
Host key for [web1]:2222 has changed and you have requested strict checking.
Host key verification failed."""
UNKNOWN_KEY = """No ED25519 host key is known for [web1]:2222 and you have requested strict checking.
Host key verification failed."""
PROXY_ENDED = """debug1: Executing proxy command: exec /usr/bin/ssh -l ops -p 2022 -v -W '[web1]:2222' bastion
kex_exchange_identification: Connection closed by remote host
Connection closed by UNKNOWN port 65535
"""
REFUSED = "deploy@web1: Permission denied (publickey)."
ACCEPTED = "debug1: Server accepts key: /k ED25519 SHA256:x explicit\n"
ANSWERED = "debug1: Authentications that can continue: publickey\n"
SAID = [
    ("ssh: Could not resolve hostname web1: Name or service not known", "NoSuchName", "Name or service not known"),
    ("ssh: connect to host web1 port 2222: Connection refused", "Refused", "is its SSH server running"),
    ("ssh: connect to host web1 port 2222: Connection timed out", "TimedOut", "firewall"),
    ("Connection timed out during banner exchange\nConnection to 10.0.0.1 port 22 timed out", "TimedOut", "firewall"),
    ("ssh: connect to host web1 port 2222: No route to host", "NoRoute", "No route to host"),
    ("ssh: connect to host web1 port 2222: Network is unreachable", "NoRoute", "Network is unreachable"),
    (CHANGED, "HostKeyChanged", "ssh-keygen -f /home/me/.ssh/known_hosts -R '[web1]:2222'"),
    (UNKNOWN_KEY, "HostKeyUnknown", "accept-new"),
    (
        "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-dss",
        "NoCommonAlgorithm",
        "host key type",
    ),
    (
        "kex_exchange_identification: Connection closed by remote host\nConnection closed by 10.0.0.1 port 22",
        "Busy",
        "",
    ),
    ("kex_exchange_identification: read: Connection reset by peer", "Busy", "MaxStartups"),
    ("Exceeded MaxStartups\nkex_exchange_identification: Connection closed by remote host", "Busy", ""),
    ("command-line: line 0: Bad configuration option: bogus", "BadOption", "Bad configuration option: bogus"),
    ("command-line line 0: missing argument.", "BadOption", "missing argument."),
    ("/home/me/.ssh/config line 7: Bad number 'x': invalid", "BadOption", "Bad number 'x'"),
    ("Bad owner or permissions on /home/me/.ssh/config", "BadOption", "Bad owner or permissions on /home"),
    (f'Load key "/k": bad permissions\n{REFUSED}', "KeyUnusable", 'Load key "/k": bad permissions; '),
    (
        f'sign_and_send_pubkey: signing failed for RSA "me" from agent: agent refused operation\n{REFUSED}',
        "KeyUnusable",
        "agent refused operation; ",
    ),
    (f"{ACCEPTED}debug1: Offering public key: /l RSA SHA256:y\n{REFUSED}", "KeyUnusable", "it knows the key /k, but"),
    (f"{ACCEPTED}debug1: No more authentication methods to try.\n{REFUSED}", "KeyUnusable", "(ssh-add)"),
    (f"{ACCEPTED}{ANSWERED}{REFUSED}", "AuthRefused", "it knows the key /k and still refuses the login"),
    (f'Load key "/old": bad permissions\n{ACCEPTED}{ANSWERED}{REFUSED}', "AuthRefused", "PermitRootLogin"),
    (f"{ACCEPTED}debug1: start_helper: starting ssh-sk-helper\n{ANSWERED}{REFUSED}", "AuthRefused", "AllowUsers"),
    (f"{ACCEPTED}Received disconnect: Too many authentication failures", "AuthRefused", "it knows the key /k"),
    (f"debug1: send_pubkey_test: no mutual signature algorithm\n{REFUSED}", "KeyUnusable", "+ssh-rsa"),
    (
        "Error checking host key ED25519 SHA256:x in revoked keys file /r: No such file\nHost key verification failed.",
        "BadOption",
        "/r: No such file; ",
    ),
    ("Host key ED25519 SHA256:x revoked by file /r\nHost key verification failed.", "HostKeyRevoked", ""),
    (
        "bind 10.1.1.1: Cannot assign requested address\nssh: connect to host web1 port 22: failure",
        "BadOption",
        "bind 10.1.1.1: Cannot assign requested address; look at BindAddress",
    ),
    (
        'Authenticated using "publickey" with partial success.\ndeploy@web1: Permission denied (password,hostbased).',
        "AuthRefused",
        "it wants password,hostbased as well",
    ),
    ('Load key "/k": bad permissions\nssh: connect to host web1 port 22: Connection refused', "Refused", ""),
]


@pytest.mark.parametrize(("said", "word", "detail"), SAID, ids=[f"{word}-{said[:24]}" for said, word, _ in SAID])
def test_each_reason_before_the_login_has_its_own_word_and_remedy(said: str, word: str, detail: str) -> None:
    seen = judged(log=said.replace("\n", "\r\n"), exit_code=255)
    assert (seen.word, seen.status) == (word, Status.UNREACHED)
    assert detail in seen.detail
    assert "\n" not in seen.detail


def test_a_refused_login_names_the_user_and_each_key_that_was_tried() -> None:
    seen = judged(log=DENIED, exit_code=255)
    assert seen.word == "AuthRefused"
    assert "as deploy with /home/me/.ssh/id_rsa (RSA), deploy@laptop (ED25519)" in seen.detail


def test_a_refused_login_without_any_key_says_so() -> None:
    assert "no key to offer" in judged(log="deploy@web1: Permission denied (publickey).\r\n", exit_code=255).detail


def test_keys_that_are_called_alike_are_counted() -> None:
    offered = [f"debug1: Offering public key: me at home RSA SHA256:{each} agent\n" for each in "aabc"]
    said = "".join(offered) + "Received disconnect from 10.0.0.1: Too many authentication failures\n"
    seen = judged(log=said, exit_code=255)
    assert seen.word == "TooManyKeys"
    assert "hung up with 3 times me at home (RSA); name the right one: --ssh-key" in seen.detail


def test_no_banner_is_taken_for_what_ssh_says() -> None:
    banner = "Host key verification failed\nno matching cipher found\nCould not resolve hostname web1\n"
    assert judged(log=DENIED, stderr=banner, exit_code=255).word == "AuthRefused"


def test_no_line_for_debuggers_is_quoted() -> None:
    seen = judged(log=f"{ACCEPTED}Connection to 10.0.0.1 lost\n{ACCEPTED}", exit_code=255)
    assert seen.detail == "ssh could not connect: Connection to 10.0.0.1 lost"


@pytest.mark.parametrize(
    ("said", "command"),
    [
        (CHANGED.replace("[web1]:2222", "[10.0.0.1]:22000"), "-f /home/me/.ssh/known_hosts -R '[10.0.0.1]:22000'"),
        (CHANGED.replace("[web1]:2222", "alias").replace("/.ssh/", "/a b/"), "-f '/home/me/a b/known_hosts' -R alias"),
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", "-R NAME"),
    ],
)
def test_the_command_that_removes_a_key_names_file_and_machine_as_ssh_does(said: str, command: str) -> None:
    seen = judged(log=said, exit_code=255)
    assert seen.detail.endswith(f"remove the old one: ssh-keygen {command}")


# -- by way of others

BY_THE_WAY = [
    ("channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed", "JumpRefused", "refused"),
    ("kex_exchange_identification: read: reset\nConnection reset by 10.0.0.9 port 22", "JumpBusy", "MaxStartups"),
    ("ssh_exchange_identification: Connection closed by remote host", "JumpBusy", "MaxStartups"),
    ("", "JumpFailed", "failed: it says nothing"),
    ("ssh: connect to host bastion port 22: Connection refused", "JumpFailed", "failed: connect to host bastion"),
    (f"ssh: connect to host first port 22: Connection refused\n{PROXY_ENDED}", "JumpFailed", "connect to host first"),
    ("/bin/sh: line 1: nc: not found", "JumpFailed", "failed: /bin/sh: line 1: nc: not found"),
    (CHANGED.replace("web1", "bastion"), "JumpFailed", "ssh-keygen -f /home/me/.ssh/known_hosts -R '[bastion]:2222'"),
    (UNKNOWN_KEY, "JumpFailed", "by hand and compare the fingerprint: /usr/bin/ssh -l ops -p 2022 bastion"),
    ("no matching cipher found. Their offer: 3des-cbc", "JumpFailed", "no cipher in common; allow one for it in"),
    ("ops@bastion: Permission denied (publickey).", "JumpRefused", "refused the login (publickey)"),
    ("Received disconnect: Too many authentication failures", "JumpRefused", "IdentitiesOnly"),
]


@pytest.mark.parametrize(("said", "word", "detail"), BY_THE_WAY)
def test_what_happens_on_the_way_is_not_blamed_on_the_target(said: str, word: str, detail: str) -> None:
    seen = judged(log=PROXY_ENDED.replace("\n", "\r\n"), stderr=said.replace("\n", "\r\n"), exit_code=255)
    assert (seen.word, seen.status) == (word, Status.UNREACHED)
    assert detail in seen.detail
    assert "debug1" not in seen.detail


def test_a_target_that_is_silent_behind_a_jump_host_is_told() -> None:
    log = "Connection timed out during banner exchange\r\nConnection to UNKNOWN port 65535 timed out\r\n"
    seen = judged(log=log, stderr="Authorized use only\r\n", exit_code=255)
    assert seen.word == "TimedOut"
    assert "no answer through the jump host" in seen.detail


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("Unable to negotiate with UNKNOWN port 65535: no matching cipher found. Their offer: x", "NoCommonAlgorithm"),
        ("Received disconnect from UNKNOWN port 65535:2: Too many authentication failures", "TooManyKeys"),
        (CHANGED, "HostKeyChanged"),
    ],
)
def test_what_a_target_behind_a_jump_host_says_itself_is_its_own(said: str, word: str) -> None:
    log = f"{PROXY_ENDED.splitlines()[0]}\ndebug1: Remote protocol version 2.0, remote software version x\n{said}"
    assert judged(log=log, exit_code=255).word == word


# -- amid the login

OFFERED = "debug1: Offering public key: /k ED25519 SHA256:x\nConnection closed by 10.0.0.1 port 22\n"
BOOTING = '"System is booting up. Unprivileged users are not permitted to log in yet."\n\n'


def test_an_account_that_is_shut_out_after_its_key_was_taken_is_told_with_what_the_server_says() -> None:
    said = "no trespassing\nYour account has expired; please contact your system administrator.\n"
    seen = judged(log=OFFERED, stderr=said, exit_code=255)
    assert (seen.word, seen.status) == ("AuthRefused", Status.UNREACHED)
    assert "amid the login as that user with /k (ED25519): Your account has expired; please" in seen.detail
    assert "(Connection closed by 10.0.0.1 port 22)" not in seen.detail


def test_only_a_machine_that_boots_is_worth_another_try_amid_the_login() -> None:
    assert passing(Sight(phase="connecting", log=OFFERED, stderr=BOOTING))
    assert not passing(Sight(phase="connecting", log=OFFERED, stderr="Your account has expired.\n"))
    assert not passing(Sight(phase="connecting", log=OFFERED))


# -- between login and script


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("This service allows sftp connections only.\n", "SftpOnly"),
        ('Please login as the user "ubuntu" rather than the user "root".\n\n', "WrongUser"),
        ("sudo: a password is required\n", "SudoPassword"),
        ("sudo: a terminal is required to read the password; either use the -S option\n", "SudoPassword"),
        ("sudo: sorry, you must have a tty to run sudo\n", "SudoPassword"),
        ("deploy is not in the sudoers file.\n", "SudoRefused"),
        ("/bin/sh: 1: exec: sudo: not found\n", "SudoRefused"),
        ("This account is currently not available.\n", "NoShell"),
        ("rbash: line 1: exec: restricted\n", "NoShell"),
        ("welcome to the menu\n", "NoShell"),
    ],
)
def test_each_reason_why_no_script_could_be_started_has_its_word(said: str, word: str) -> None:
    seen = judged(stdout=said, exit_code=1, log=LOGGED_IN)
    assert (seen.word, seen.status) == (word, Status.UNREACHED)


def test_a_server_without_sessions_has_its_word() -> None:
    seen = judged(log=LOGGED_IN + "exec request failed on channel 0\r\n", exit_code=255)
    assert seen.word == "NoSession"


@pytest.mark.parametrize(
    ("log", "stderr"),
    [
        ("debug1: Exit status -1\n", "cat: not found\nConnection to web1 closed by remote host.\n"),
        ("Timeout, server web1 not responding.\n", ""),
        ("client_loop: send disconnect: Broken pipe\n", ""),
        ("debug1: channel 0: free: /tmp/a b/1.sock, nchannels 3\n", "scp: Connection closed\n"),
    ],
)
def test_a_connection_that_ends_before_the_script_is_sent_is_told_from_a_shell_that_does(log: str, stderr: str) -> None:
    seen = judged(log=LOGGED_IN + log, stderr=stderr, exit_code=255)
    assert (seen.word, seen.status) == ("CutOff", Status.UNREACHED)
    assert seen.detail.startswith("the connection ended before the script was sent")


def test_a_server_that_ends_the_copying_has_not_cut_the_connection() -> None:
    seen = judged("copying", log=LOGGED_IN, stderr="scp: Connection closed\n", exit_code=255)
    assert (seen.word, seen.status) == ("NoCopy", Status.UNREACHED)
    assert "(Connection closed)" in seen.detail


# -- whoever says much


@pytest.mark.parametrize(
    ("line", "log"),
    [
        ("exchange_identification: ", "Executing proxy command"),
        ("UNKNOWN port 65535", "exchange_identification: UNKNOWN port 65535"),
        ("exec sudo ", LOGGED_IN),
        ("Connection to web1 ", LOGGED_IN),
        ("debug1: channel 0: free: ", LOGGED_IN),
        ("booting ", "Offering public key: /k RSA SHA256:x\nConnection closed by 10.0.0.1 port 22"),
        (":", ""),
        ("Load key ", ""),
        ("Server accepts key: /k ", ""),
        ("with partial success", ""),
        ("Executing proxy command: exec ", "Executing proxy command: exec ssh "),
        (" line 0: ", ""),
    ],
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_server_that_says_much_keeps_nobody_busy(line: str, log: str, end: str) -> None:
    """Its banner may hold what is looked for, again and again; the patterns must not try every pair of places."""
    much = f"{line}{end}" * (65_536 // len(line))
    assert judged(stderr=much, stdout=much, exit_code=255, log=log).status is Status.UNREACHED


@pytest.mark.parametrize("line", ["Server accepts key: k x SHA256:", "with partial success", "Offering public key: "])
def test_a_server_that_has_much_written_into_the_log_keeps_nobody_busy(line: str) -> None:
    log = f"debug1: Remote: {line}\n" * 20_000
    assert judged(log=log + REFUSED, exit_code=255).status is Status.UNREACHED
