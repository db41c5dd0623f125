"""Words that all views share: statuses, sizes, times, and foreign text made safe for a terminal."""

import re

from ssm_deployer.events import Run
from ssm_deployer.model import Invocation, Plan, Status

MARKS = {
    Status.SUCCEEDED: ("✓", "green"),
    Status.FAILED: ("✗", "red"),
    Status.TIMED_OUT: ("✗", "red"),
    Status.REFUSED: ("✗", "red"),
    Status.UNREACHED: ("✗", "red"),
    Status.UNKNOWN: ("?", "red"),
    Status.CANCELLED: ("■", "yellow"),
    Status.SKIPPED: ("-", "yellow"),
    Status.RUNNING: ("●", "cyan"),
    Status.DELAYED: ("●", "yellow"),
    Status.CANCELLING: ("●", "yellow"),
    Status.SENT: ("○", "cyan"),
    Status.PENDING: ("·", "dim"),
}

# What a reader looks for first comes first.
URGENCY = (
    Status.FAILED, Status.TIMED_OUT, Status.REFUSED, Status.UNKNOWN, Status.UNREACHED, Status.CANCELLING,
    Status.DELAYED, Status.RUNNING, Status.SENT, Status.PENDING, Status.CANCELLED, Status.SKIPPED, Status.SUCCEEDED,
)  # fmt: skip

# ECMA-48: CSI and OSC sequences, then any other escape of two characters. An OSC without its end hides no lines.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[^\n]")
# Surrogates stand for the bytes of a file's name that are no UTF-8, and cannot be written.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def has_marks(encoding: str) -> bool:
    """Whether an encoding has the marks: what stands for one that it lacks makes a row longer than the screen."""
    try:
        "".join(mark for mark, _ in MARKS.values()).encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """Foreign text without anything that could steer a terminal: escape sequences go, other controls become `�`.

    A carriage return ends a line, as the progress bars that print it mean it.
    """
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """Foreign text for a place that has room for one line."""
    return " ".join(printable(text).split())


def size(count: float) -> str:
    """A number of bytes as `512 B`, `4.1 kB` or `1.2 GB`."""
    if count < 1000:  # noqa: PLR2004 - SI prefixes
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):  # noqa: B007 - the one at which the loop ends is shown
        count /= 1000
        if count < 1000:  # noqa: PLR2004
            break
    return f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """A time span as `1.2 s`, `3 min 5 s` or `2 h 3 min`."""
    if seconds < 60:  # noqa: PLR2004
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def elapsed(run: Run, target: str, now: float) -> float | None:
    """How long a target has been at it, from sending to its end or `now`; None where nothing was sent."""
    sent = run.sent_at.get(target)
    return None if sent is None else run.ended_at.get(target, now) - sent


def last_line(invocation: Invocation) -> str:
    """The last line that tells something: what failed writes to stderr, what succeeded to stdout."""
    streams = [invocation.stdout, invocation.stderr]
    if invocation.status is not Status.SUCCEEDED:
        streams.reverse()
    for stream in streams:
        lines = [line for line in printable(stream).splitlines() if line.strip()]
        if lines:
            return lines[-1].strip()
    return ""


def count(number: int, noun: str) -> str:
    """`1 target`, `3 targets`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def run_line(plan: Plan) -> str:
    """A run by its id and, if it concerns AWS, its regions."""
    return f"run {plan.run_id}" + (f" in {', '.join(plan.regions)}" if plan.regions else "")


def called(run: Run, target: str) -> str:
    """A target's id and, if it has one, its name."""
    return f"{target} {one_line(run.names.get(target, ''))}".rstrip()
