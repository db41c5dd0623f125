"""Why a target is not reached: what OpenSSH and the target's own programs say then, and what it means to the user.

The sentences are those of OpenSSH's ssh.c, sshconnect.c, sshconnect2.c, kex.c, packet.c, clientloop.c and readconf.c.
There is a list for each stage of a connection, and of a list the first that fits counts: what comes later is often only
what the earlier led to. Each says what is read for it, as the words of others must not be taken for those of ssh.
"""

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


LOGIN_REFUSED = re.compile(r"Permission denied \((.*)\)|Too many authentication failures")
_CHANGED = r"REMOTE HOST IDENTIFICATION HAS CHANGED"
_UNKNOWN = r"host key is known for|Host key verification failed"
_NOTHING_COMMON = r"no matching (.*) found"

# The target itself has said nothing yet. Read: what ssh says of the connection, and after it what comes from the jump
# host, proxy or tunnel.
ON_THE_WAY = (
    _cause(
        "JumpFailed",
        _CHANGED,
        "the jump host's key is not the one in known_hosts: either it was made anew or somebody is in between; find "
        "out which, and only then remove the old one: {removal}",
    ),
    _cause(
        "JumpFailed",
        _UNKNOWN,
        "known_hosts has no key of the jump host; connect to it once by hand and compare the fingerprint{by_hand}",
    ),
    _cause(
        "JumpFailed",
        _NOTHING_COMMON,
        "the jump host and ssh have no {} in common; allow one for it in ~/.ssh/config",
    ),
    _cause(
        "JumpRefused",
        r"Too many authentication failures",
        "ssh offered so many keys that the jump host hung up; name the right one for it in ~/.ssh/config: IdentityFile "
        "and IdentitiesOnly",
    ),
    _cause(
        "JumpRefused",
        r"Permission denied \((.*)\)",
        "the jump host refused the login ({}); is that the right user, and is the key in its authorized_keys?",
    ),
    _cause("JumpRefused", r"open failed: (?:connect failed: )?(.*)", "the jump host could not connect to it: {}"),
    _cause(
        "JumpBusy",
        # Not what ssh says of a proxy that has ended, nor what one jump host says of the one before it.
        r"exchange_identification: .*(?:\Z|\n(?!Connection \w+ (?:by|to) UNKNOWN port))",
        "the jump host closed the connection before any login: too many at once (MaxStartups), or it lets nobody in",
        passing=True,
    ),
    _cause(
        "TimedOut",
        r"Connection to UNKNOWN port \d+ timed out",
        "no answer through the jump host, proxy or tunnel: are it and the target up, and is the target reachable from "
        "there?",
    ),
    _cause(
        "JumpFailed",
        r"UNKNOWN port 65535\n+(?:ssh: )?(.+)|\Z",
        "what should lead to it (jump host, proxy or tunnel) failed: {}",
    ),
)
# No login was tried. Read: what ssh says of the connection, or, if it did not come so far, of its options.
CONNECTING = (
    _cause(
        "BadOption",
        r"^.* line \d+: ((?:bad|invalid|missing|no argument|keyword|unsupported) .*)|^(Bad owner or permissions on .*)",
        "ssh does not take its options: {}; look at --ssh-option, ssh.options and ~/.ssh/config",
    ),
    _cause("NoSuchName", r"Could not resolve hostname (.*)", "no such name: {}; is it spelt right?"),
    _cause(
        "HostKeyChanged",
        r"^Offending \S+ key in .*/known_hosts\.(i-[0-9a-f]+):\d",  # what ec2/pins.py has written
        "its host key is not the one that the console of {} shows: somebody is in between, or it was made anew since "
        "that was printed; connect by hand once you know which",
    ),
    _cause(
        "HostKeyChanged",
        _CHANGED,
        "its host key is not the one in known_hosts: either it was made anew or somebody is in between; find out "
        "which, and only then remove the old one: {removal}",
    ),
    _cause(
        "BadOption",
        r"Error checking host key .* in revoked keys file (.*)",
        "ssh cannot tell whether its host key is revoked: {}; look at RevokedHostKeys in ~/.ssh/config",
    ),
    _cause(
        "HostKeyRevoked",
        r"^Host key \S+ \S+ (revoked by file .*)|REVOKED HOST KEY DETECTED",
        "its host key is revoked by known_hosts or RevokedHostKeys",
    ),
    _cause(
        "HostKeyUnknown",
        _UNKNOWN,
        "known_hosts has no key of it; connect to it once by hand and compare the fingerprint, or set "
        "ssh.host_keys: accept-new",
    ),
    _cause("NoCommonAlgorithm", _NOTHING_COMMON, "it and ssh have no {} in common; allow one by --ssh-option"),
    _cause(
        "Busy",
        r"exchange_identification: .*(?:reset by peer|closed by remote host)"
        r"|Connection (?:reset|closed) by [\d.:a-f]+ port \d+",
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
    _cause(
        "BadOption",
        r"^(.+)\n(?:ssh: )?connect to .*: failure$",
        "ssh cannot connect from where it is told to: {}; look at BindAddress and BindInterface in ~/.ssh/config",
    ),
)
# The target refused the login. Read: what ssh says of it, with what is otherwise of interest to debuggers only.
REFUSED = (
    _cause(
        "AuthRefused",
        r"with partial success",
        "a key is not enough for {user}: it wants {methods} as well, and nobody is there to answer; let that user log "
        "in by a key alone (AuthenticationMethods)",
    ),
    _cause(
        "AuthRefused",
        # What was signed is answered. A key that cannot be used, for want of its passphrase, is passed over.
        r"Server accepts key: (.+) \S+ (?:SHA256|MD5):(?s:(?!Offering|Trying|Server accepts|Next auth|No more auth).)*?"
        r"(?:Authentications that can continue|Too many authentication failures)",
        "it knows the key {} and still refuses the login as {user}: is that account locked, or not among those that "
        "may log in (PermitRootLogin, AllowUsers)?",
    ),
    _cause(
        "KeyUnusable",
        r"((?:Load key|signing failed for) .*)",
        "it refused the login as {user}{keys}, but one key could not be used at all: {}; is it a private key that you "
        "alone may read (chmod 600)? With a passphrase it must be in the agent (ssh-add)",
    ),
    _cause(
        "KeyUnusable",
        r"Server accepts key: (.+) \S+ (?:SHA256|MD5):",
        "it knows the key {}, but ssh could not log in as {user} with it: if it has a passphrase, put it into the "
        "agent (ssh-add)",
    ),
    _cause(
        "TooManyKeys",
        r"Too many authentication failures",
        "ssh offered so many keys that the server hung up{keys}; name the right one: --ssh-key",
    ),
    _cause(
        "KeyUnusable",
        r"no mutual signature",
        "it refused the login as {user}{keys}: of an RSA key it takes only signatures as ssh makes them no more; take "
        "an Ed25519 key, or allow them by --ssh-option PubkeyAcceptedAlgorithms=+ssh-rsa",
    ),
    _cause(
        "AuthRefused",
        "",
        "it refused the login as {user}{keys}; is that the right user, and is the key in its authorized_keys?",
    ),
)
_ENDED = "it ended the connection amid the login as {user}{keys}: {ending}"
# The target ended the connection instead of an answer to a key, as PAM has it do. Read: what it says to the user.
AMID_LOGIN = (
    _cause("AuthRefused", r"System is booting up", _ENDED, passing=True),  # what systemd has in /run/nologin
    _cause("AuthRefused", "", f"{_ENDED}; is that account locked or expired?"),
)
# The login was accepted. Read: everything, as the server or the target's own programs say it.
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
        "files quiet, or set ssh.transfer: stream, which can do without or shows what it says",
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
