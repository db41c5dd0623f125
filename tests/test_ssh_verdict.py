"""What is made of what a connection showed. The sentences are those that OpenSSH 9.2 was seen to write."""

import pytest
from fakes import RUN_ID

from ssm_deployer import result
from ssm_deployer.backends.ssh_verdict import Phase, Sight, passing, verdict
from ssm_deployer.model import Invocation, Status, Target

TARGET = Target(id="ssh:web1:2222", address="web1", port=2222, via="ssh")
LOGGED_IN = 'Authenticated to web1 ([10.0.0.1]:2222) using "publickey".\r\n'
RECORD = f'{result.MARK}{{"format":1,"run":"{RUN_ID}","outcome":"exited","code":%s,"signal":0,"started":1,"ended":2}}\n'
DENIED = """debug1: Authenticating to web1:2222 as 'deploy'
debug1: Offering public key: /home/me/.ssh/id_rsa RSA SHA256:aaaa explicit
debug1: Authentications that can continue: publickey,password
debug1: Offering public key: deploy@laptop ED25519 SHA256:bbbb agent
deploy@web1: Permission denied (publickey,password).
"""


def judged(phase: Phase = "connecting", **seen: object) -> Invocation:
    return verdict(TARGET, "the command", Sight(phase=phase, **seen), RUN_ID)  # type: ignore[arg-type]


# -- the target's own record


def test_a_record_says_success_and_what_follows_it_is_the_output() -> None:
    seen = judged("running", stdout=RECORD % 0 + "hello\n", stderr="warning\n", log=LOGGED_IN)
    assert (seen.status, seen.stdout, seen.stderr) == (Status.SUCCEEDED, "hello\n", "warning\n")
    assert seen.record is not None
    assert seen.command == "the command"


def test_a_record_counts_whatever_became_of_the_connection_after_it() -> None:
    seen = judged("running", stdout=RECORD % 3, exit_code=255, log=LOGGED_IN + "client_loop: send disconnect\r\n")
    assert (seen.status, seen.detail) == (Status.FAILED, "exit 3")


def test_a_record_of_before_the_greeting_is_none() -> None:
    assert judged("connecting", stdout=RECORD % 0, log=LOGGED_IN).status is Status.UNREACHED


def test_a_record_of_another_run_is_none() -> None:
    other = (RECORD % 0).replace(RUN_ID, "20250101T000000Z-ffffffff")
    assert judged("running", stdout=other, log=LOGGED_IN).status is Status.UNKNOWN


@pytest.mark.parametrize("code", [0, 1, 255, -9])
def test_no_exit_code_of_ssh_is_ever_taken_for_the_scripts(code: int) -> None:
    seen = judged("running", exit_code=code, log=LOGGED_IN)
    assert seen.status is Status.UNKNOWN
    assert "may have run" in seen.detail


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


def test_something_else_is_quoted() -> None:
    assert "a new sentence" in judged(log="debug1: noise\r\na new sentence\r\n", exit_code=255).detail


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
    assert seen.detail.startswith("the connection was lost before the script was sent")


def test_a_server_that_ends_the_copying_has_not_cut_the_connection() -> None:
    seen = judged("copying", log=LOGGED_IN, stderr="scp: Connection closed\n", exit_code=255)
    assert (seen.word, seen.status) == ("NoCopy", Status.UNREACHED)
    assert "(Connection closed)" in seen.detail


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


# -- the session


def test_a_slow_login_is_told_from_no_answer() -> None:
    assert judged(overdue=45, exit_code=-9, log=LOGGED_IN).word == "SlowLogin"
    assert judged(overdue=45, exit_code=-9).word == "TimedOut"


def test_a_connection_that_ends_amid_the_files_has_run_nothing() -> None:
    seen = judged("sending", exit_code=255, log=LOGGED_IN + "Connection to web1 closed by remote host.\r\n")
    assert (seen.word, seen.status) == ("CutOff", Status.UNREACHED)
    assert "closed by remote host" in seen.detail


def test_a_payload_that_ends_amid_the_files_by_itself_is_told_from_a_lost_connection() -> None:
    seen = judged("sending", exit_code=2, log=LOGGED_IN, stderr="/bin/sh: 5: Cannot fork\n")
    assert (seen.word, seen.status) == ("CutOff", Status.UNREACHED)
    assert seen.detail.startswith("the payload ended before it had all of the files")


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


def test_files_that_take_too_long_have_run_nothing() -> None:
    seen = judged("sending", overdue=60, exit_code=-9, log=LOGGED_IN)
    assert (seen.word, seen.status) == ("SlowTransfer", Status.UNREACHED)


def test_a_refusal_of_the_target_itself_is_its_record_even_amid_the_files() -> None:
    refused = (RECORD % 75).replace('"exited"', '"refused"').replace('"ended":2', '"ended":2,"error":"no-place"')
    seen = judged("sending", stdout=refused, exit_code=75, log=LOGGED_IN)
    assert seen.status is Status.REFUSED


# -- once all is on its way


def test_a_lost_connection_says_what_ssh_said_last_and_claims_nothing() -> None:
    seen = judged("running", exit_code=255, log=LOGGED_IN + "Timeout, server web1 not responding.\r\n")
    assert (seen.word, seen.status) == ("Disconnected", Status.UNKNOWN)
    assert "Timeout, server web1 not responding." in seen.detail


def test_what_is_cancelled_before_the_files_are_there_was_not_run() -> None:
    assert judged("sending", cancelled=True, exit_code=-9, log=LOGGED_IN).status is Status.CANCELLED
    assert judged("connecting", cancelled=True, exit_code=-9).status is Status.CANCELLED


def test_what_is_cancelled_later_is_cancelled_only_if_the_target_says_so() -> None:
    assert judged("running", cancelled=True, exit_code=255, log=LOGGED_IN).status is Status.UNKNOWN


# -- another try


def test_only_what_began_nothing_and_may_pass_is_worth_another_try() -> None:
    busy = "kex_exchange_identification: Connection closed by remote host\r\n"
    assert passing(Sight(phase="connecting", log=busy))
    assert not passing(Sight(phase="connecting", log=busy, cancelled=True))
    assert not passing(Sight(phase="connecting", log=DENIED))
    assert not passing(Sight(phase="running", log=LOGGED_IN + busy))


def test_a_long_line_is_cut() -> None:
    assert len(judged(log="x" * 5000, exit_code=255).detail) < 300
