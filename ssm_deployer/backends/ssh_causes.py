"""Why a target is not reached: what OpenSSH and the target's own programs say then, and what it means to the user."""

import re

import msgspec


class Cause(msgspec.Struct, frozen=True):
    """Why a target was not reached: a word, what ssh or the target says then, and what it means to the user.

    `passing` is what may be over in a moment, where nothing has begun on the target: it is worth another try.
    """

    word: str
    says: re.Pattern[str]
    detail: str
    passing: bool = False


def _cause(word: str, says: str, detail: str, *, passing: bool = False) -> Cause:
    return Cause(word, re.compile(says, re.IGNORECASE | re.MULTILINE), detail, passing)


# By whichever machine on the way.
_LOGIN_REFUSED = r"Permission denied \((.*)\)|(Too many authentication failures)"
# In this order, the first that fits: what comes later is often only what the earlier led to. The sentences are those of
# OpenSSH's ssh.c, sshconnect.c, sshconnect2.c, kex.c, packet.c, clientloop.c and readconf.c.
# What comes before the target has proved who it is, so ssh alone can have said it.
CONNECTING = (
    _cause(
        "BadOption",
        r"^.* line \d+: ((?:bad|invalid|missing|no argument|keyword|unsupported) .*)|^(Bad owner or permissions on .*)",
        "ssh does not take its options: {}; look at --ssh-option, ssh.options and ~/.ssh/config",
    ),
    _cause("NoSuchName", r"Could not resolve hostname (.*)", "no such name: {}; is it spelt right?"),
    _cause(
        "HostKeyChanged",
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one in known_hosts: either it was made anew or somebody is in between; find out "
        "which, and only then remove the old one: ssh-keygen -R {address}",
    ),
    _cause("HostKeyRevoked", r"host key .*revoked|REVOKED HOST KEY DETECTED", "its host key is revoked by known_hosts"),
    _cause(
        "HostKeyUnknown",
        r"host key is known for|Host key verification failed",
        "known_hosts has no key of it; connect to it once by hand and compare the fingerprint, or set "
        "ssh.host_keys: accept-new",
    ),
    _cause(
        "NoCommonAlgorithm",
        r"no matching (.*) found",
        "it and ssh have no {} in common; allow one by --ssh-option",
    ),
    _cause(
        "JumpRefused",
        rf"\A(?>(?s:.*?)exchange_identification: )(?>(?s:.*?)UNKNOWN port 65535)(?s:.*?)(?:{_LOGIN_REFUSED})",
        "the jump host refused the login ({}); is that the right user, and is the key in its authorized_keys?",
    ),
    _cause(
        "AuthRefused",
        rf"\A(?>(?s:.*?)with partial success)(?s:.*?)(?:{_LOGIN_REFUSED})",
        "a key is not enough for {user}: it wants {} as well, and nobody is there to answer; let that user log in by a "
        "key alone (AuthenticationMethods)",
    ),
    _cause(
        "KeyUnusable",
        rf"\A(?>(?s:.*?)((?:Load key|signing failed for) .*))(?s:.*?)(?:{_LOGIN_REFUSED})",
        "it refused the login as {user}{keys}, but one key could not be used at all: {}; is it a private key that you "
        "alone may read (chmod 600)? With a passphrase it must be in the agent (ssh-add)",
    ),
    _cause(
        "KeyUnusable",
        rf"\A(?>(?s:.*?)Server accepts key: (\S+))(?s:.*?)(?:{_LOGIN_REFUSED})",
        "it knows the key {}, but ssh did not log in as {user} with it: if it has a passphrase, put it into the agent "
        "(ssh-add); or is the account locked?",
    ),
    _cause(
        "AuthRefused",
        _LOGIN_REFUSED,
        "it refused the login as {user}{keys}; is that the right user, and is the key in its authorized_keys?",
    ),
    _cause("JumpRefused", r"open failed: (?:connect failed: )?(.*)", "the jump host could not connect to it: {}"),
    _cause(
        "JumpBusy",
        r"UNKNOWN port 65535(?s:.)*exchange_identification",
        "the jump host closed the connection before any login: too many at once (MaxStartups), or it lets nobody in",
        passing=True,
    ),
    _cause(
        "JumpFailed",
        r"UNKNOWN port 65535\n+(?:ssh: )?(.+)|UNKNOWN port 65535",
        "what should lead to it (jump host, proxy or tunnel) failed: {}",
    ),
    _cause(
        "Busy",
        r"Exceeded MaxStartups|Not allowed at this time|exchange_identification: .*reset by peer"
        r"|exchange_identification: .*closed by remote host|Connection (?:reset|closed) by [\d.:a-f]+ port \d+",
        "its SSH server closed the connection before any login: too many at once (MaxStartups), or it lets nobody in",
        passing=True,
    ),
    _cause("Refused", r"(?:connect to .*: )?Connection refused", "nothing listens there: is its SSH server running?"),
    _cause(
        "TimedOut",
        r"timed out|Timeout, server .* not responding",
        "no answer: is the address right, and does a firewall or security group let SSH through?",
    ),
    _cause("NoRoute", r"(No route to host|Network is unreachable)", "{}: is there a way from here to its network?"),
)
# What comes once the login has been accepted: the server or the target's own programs say it.
LOGGED_IN = (
    _cause(  # what cloud-init lets root's key do, on most images of EC2: DISABLE_USER_OPTS of its ssh_util.py
        "WrongUser",
        r'Please login as the user "([^"]+)" rather than the user',
        "it runs nothing for this user and asks for {}; give that to --ssh-user, or set aws.username",
    ),
    _cause(
        "SftpOnly",
        r"This service allows sftp connections only",
        "it allows sftp only, so no script can be run there; allow commands for this user (ForceCommand)",
    ),
    _cause(
        "SudoPassword",
        r"sudo: .*(?:password is required|terminal is required|must have a tty|askpass)",
        "sudo wants a password, and nobody is there to be asked; give the user NOPASSWD, or log in as root",
    ),
    _cause(
        "SudoRefused",
        r"sudo: (?:.*not found|.*no such file)|not in the sudoers file|may not run sudo|not allowed to execute"
        r"|(?:exec|env)\S* .*sudo.*(?:not found|no such file)",
        "sudo does not make this user root",
    ),
    _cause(
        "NoSession",
        r"(?:exec|shell) request failed|Session open refused|open failed|administratively prohibited",
        "its SSH server lets nobody run a command (MaxSessions, PermitTTY or a restricted key)",
    ),
    _cause(
        "NoSpace",
        r"No space left on device|write remote .*: Failure",
        "it has no room for the files in the home of the user that logs in",
    ),
    _cause(
        "NoisyShell",
        r"Received message too long",
        "its shell prints something at every login, or runs something else, so nothing can be copied; make its profile "
        "files quiet, or set ssh.transfer: stream",
    ),
    _cause(
        "NoCopy",
        r"scp: (.*)|subsystem request failed.*",
        "the files could not be copied ({}); ssh.transfer: stream needs no sftp",
    ),
    _cause(
        "NoShell",
        r"account is (?:currently )?not available|restricted|no such file|not found|is not recognized",
        "the user that logs in has no shell that runs commands",
    ),
)
