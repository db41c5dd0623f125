"""What a connection showed, as one Invocation: the target's own record, or why none came. Pure functions."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from ssm_deployer import result
from ssm_deployer.backends.openssh import quiet
from ssm_deployer.backends.ssh_causes import (
    AMID_LOGIN,
    CONNECTING,
    LOGGED_IN,
    LOGIN_REFUSED,
    ON_THE_WAY,
    REFUSED,
    Cause,
)
from ssm_deployer.backends.verdict import by_record
from ssm_deployer.model import Invocation, Status, Target

LONGEST_QUOTE = 200
SSH_FAILED = 255  # its exit code, but a command's, too
LONGEST_LINE, LONGEST_SAID, LONGEST_LOG = 400, 8192, 65_536  # characters

Phase = Literal["queued", "connecting", "copying", "sending", "running"]


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one connection has shown by its end.

    Attributes:
        phase: how far it came: `connecting` until the target's shell has greeted, `sending` until all content was
            handed to ssh, `running` after that.
        stdout: what came after the greeting; before there is one, all that came.
        stderr: of the target, and of whatever ssh started to get there.
        log: what ssh itself says of the connection, at LogLevel DEBUG1.
        exit_code: of ssh; negative if a signal ended it.
        overdue: seconds after which we ended it, 0 if we did not.
        cancelled: whether the user had asked to stop.
    """

    phase: Phase
    stdout: str = ""
    stderr: str = ""
    log: str = ""
    exit_code: int = 0
    overdue: float = 0.0
    cancelled: bool = False


_OFFERED = re.compile(r"Offering public key: (.+) (\S+) ((?:SHA256|MD5):\S+)")
_USER = re.compile(r"Authenticating to \S+ as '(.*)'")
_AUTHENTICATED = re.compile(r"^Authenticated to ", re.MULTILINE)
_PROXY = re.compile(r"UNKNOWN port 65535|Executing proxy (?:dialer )?command")
_ANSWERED = re.compile(r"Remote protocol version")
_BY_JUMP = re.compile(r"Executing proxy command: exec (.*?)(?: -v+)? -W \S+(.*)")
_CHANGED_FOR = re.compile(r"Host key for (\S+) has changed")
_CHANGED_IN = re.compile(r"Offending \S+ key in (.+):\d+")
_ENDED = re.compile(r"^Connection (?:closed|reset) by ", re.MULTILINE)
# The last is the socket of a connection that others go through, which is there for as long as that connection is.
_CUT = re.compile(
    r"^Connection to .* closed by remote host|^Timeout, server .* not responding|^client_loop: send disconnect"
    r"|^debug1: channel \d+: free: .*\.sock, ",
    re.MULTILINE,
)


def verdict(target: Target, command: str, sight: Sight, run_id: str) -> Invocation:
    """Judge a target by its own record if it sent one, else by how far the connection came."""
    record, stdout = result.parse(sight.stdout, run_id) if sight.phase in {"sending", "running"} else (None, "")
    word, status, detail = _unrecorded(sight) if record is None else (record.outcome, *by_record(record))
    return Invocation(
        target=target.id,
        status=status,
        word=word,
        detail=detail,
        command=command,
        record=record,
        stdout=sight.stdout if record is None else stdout,
        stderr=sight.stderr,
    )


def passing(sight: Sight) -> bool:
    """Whether another connection may come further, and can do no harm since nothing has begun on the target."""
    if sight.phase != "connecting" or sight.cancelled:
        return False
    found = _cause_of(sight)
    return found is not None and found[0].passing


def _unrecorded(sight: Sight) -> tuple[str, Status, str]:
    if sight.phase == "running":
        return _lost(sight)
    if sight.cancelled:
        return "Cancelled", Status.CANCELLED, "stopped before the script was started"
    if sight.overdue:
        return _overdue(sight)
    return _unbegun(sight)


def _unbegun(sight: Sight) -> tuple[str, Status, str]:
    """Why the script was certainly not run."""
    if sight.phase == "sending":
        lost = "the connection was lost while the files were sent"
        ended = "the payload ended before it had all of the files"
        how = lost if sight.exit_code == SSH_FAILED or sight.exit_code < 0 else ended
        return "CutOff", Status.UNREACHED, f"{how}, so the script was not run ({_ending(sight)})"
    if _cut(sight):
        said = f"the connection ended before the script was sent ({_ending(sight)})"
        return "CutOff", Status.UNREACHED, said
    if found := _cause_of(sight):
        return found[0].word, Status.UNREACHED, _detail(*found, sight)
    if sight.phase == "copying":
        return "NoCopy", Status.UNREACHED, f"the files could not be copied ({_ending(sight)})"
    if _authenticated(sight):
        said = f"it ran something else than it was asked to ({_ending(sight)}): a ForceCommand, or no usual shell"
        return "NoShell", Status.UNREACHED, said
    return "NoConnection", Status.UNREACHED, f"ssh could not connect: {_ending(sight)}"


def _lost(sight: Sight) -> tuple[str, Status, str]:
    """All of the content was on its way, so that only the target knows."""
    if sight.overdue:
        return "Overdue", Status.UNKNOWN, f"no verdict after {sight.overdue:.0f} s; it may still run"
    asked = "asked to stop, but " if sight.cancelled else ""
    said = f"{asked}the connection ended without a record ({_ending(sight)}); the script may have run, or still run"
    return "Disconnected", Status.UNKNOWN, said


def _overdue(sight: Sight) -> tuple[str, Status, str]:
    seconds = f"{sight.overdue:.0f} s"
    if sight.phase in {"sending", "copying"}:
        said = f"not all of the files were there after {seconds}, so the script was not run; raise --upload-timeout"
        return "SlowTransfer", Status.UNREACHED, said
    if _authenticated(sight):
        said = f"the login was accepted, but no shell answered within {seconds}: what do its profile files wait for?"
        return "SlowLogin", Status.UNREACHED, said
    return "TimedOut", Status.UNREACHED, f"no login within {seconds}"


def _cause_of(sight: Sight) -> tuple[Cause, re.Match[str]] | None:
    """The first cause that fits, and what was said of it."""
    causes, said = _stage(sight)
    matches = ((cause, cause.says.search(said)) for cause in causes)
    return next(((cause, match) for cause, match in matches if match), None)


def _stage(sight: Sight) -> tuple[Sequence[Cause], str]:
    """How far the connection came, as the causes that can be, and what to look for them in."""
    if _authenticated(sight):
        return LOGGED_IN, _said(sight.log, sight.stderr, sight.stdout)
    if _PROXY.search(sight.log) and not _ANSWERED.search(sight.log):
        return ON_THE_WAY, _said(sight.log, sight.stderr)
    own = _said(sight.log)
    if LOGIN_REFUSED.search(own):
        return REFUSED, _bounded(sight.log, LONGEST_LOG)
    if _OFFERED.search(sight.log) and _ENDED.search(own):
        return AMID_LOGIN, _said(sight.stderr)
    return CONNECTING, own or _said(sight.stderr)


def _detail(cause: Cause, match: re.Match[str], sight: Sight) -> str:
    groups = [group for group in match.groups() if group]
    user, refused, jump = (each.search(sight.log) for each in (_USER, LOGIN_REFUSED, _BY_JUMP))
    return cause.detail.format(
        _short(groups[0].strip()) if groups else "it says nothing",
        user=user[1] if user else "that user",
        keys=_keys(sight.log),
        methods=refused[1] if refused else "",
        removal=_removal(match.string),
        ending=_ending(sight),
        by_hand=f": {jump[1]}{jump[2]}" if jump else "",
    )


def _keys(log: str) -> str:
    """The keys that were offered; of those that are called alike, how many."""
    offered = Counter(f"{name} ({kind})" for name, kind, _ in dict.fromkeys(_OFFERED.findall(log)))
    if not offered:
        return ", and ssh had no key to offer"
    return " with " + ", ".join(f"{count} times {key}" if count > 1 else key for key, count in offered.items())


def _removal(said: str) -> str:
    """The command that forgets a host key, which may be known by another name and in another file than usual."""
    path, name = _CHANGED_IN.search(said), _CHANGED_FOR.search(said)
    return shlex.join(["ssh-keygen", *(["-f", path[1]] if path else []), "-R", name[1] if name else "NAME"])


def _authenticated(sight: Sight) -> bool:
    return _AUTHENTICATED.search(sight.log) is not None


def _cut(sight: Sight) -> bool:
    return _authenticated(sight) and any(_CUT.search(text) for text in (sight.log, sight.stderr))


def _said(*texts: str) -> str:
    """What ssh, the way there and the target said, without what is of interest to debuggers only."""
    return quiet("\n".join(_bounded(text, LONGEST_SAID) for text in texts if text))


def _bounded(text: str, longest: int) -> str:
    """Not more of it than a server may say without keeping those busy who look for a cause in it."""
    lines = text[-longest:].replace("\r", "").splitlines()
    return "\n".join(line[:LONGEST_LINE] for line in lines)


def _ending(sight: Sight) -> str:
    """The last thing that was said, or else how ssh ended."""
    said = _said(sight.log, sight.stderr, sight.stdout)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if lines:
        return _short(lines[-1])
    return f"ssh ended with {sight.exit_code}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
