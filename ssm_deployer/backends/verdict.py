"""What SSM says of one target, and what the target says itself, as one Invocation. Pure functions."""

import re
import signal

from ssm_deployer import result
from ssm_deployer.model import Invocation, Status
from ssm_deployer.payload import REFUSALS
from ssm_deployer.result import Record

# StatusDetails, spaces stripped, and what it says of a target that printed no record.
# https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
STATUSES = {
    "Pending": (Status.SENT, ""),
    "InProgress": (Status.RUNNING, ""),
    "Delayed": (Status.DELAYED, "its agent does not answer; SSM will try again"),
    "Cancelling": (Status.CANCELLING, ""),
    "Success": (Status.UNKNOWN, "SSM says Success, but the target printed no record of the run"),
    "Failed": (Status.UNKNOWN, "SSM says Failed, and the target printed no record of the run"),
    "TimedOut": (Status.UNKNOWN, "SSM says TimedOut, and the target printed no record of the run"),
    "ExecutionTimedOut": (Status.UNKNOWN, "SSM calls it timed out; it was killed before it could report"),
    "DeliveryTimedOut": (Status.UNKNOWN, "SSM had no answer in time, which does not prove that it never ran"),
    "Cancelled": (Status.CANCELLED, ""),
    "Terminated": (Status.SKIPPED, "SSM held it back after errors on other targets"),
    "Undeliverable": (Status.UNREACHED, "SSM could not deliver it: the machine or its agent is gone"),
    "InvalidPlatform": (Status.UNREACHED, "SSM says that its platform is wrong for a shell script"),
    "AccessDenied": (Status.UNREACHED, "your IAM policy allows SendCommand, but not on this machine"),
}

# What a whole command may say that has no invocations, and never will.
NOTHING_RAN = {
    "RateExceeded": "SSM refused it: too many commands are under way in this account",
    "LimitExceeded": "SSM refused it: it has more targets than the account's quota allows",
    "NoInstancesInTag": "SSM found none of its targets",
}

# The second form names signals as Go does: `killed`, `segmentation fault (core dumped)`, `trace/breakpoint trap`.
_AGENTS_SENTENCE = re.compile(r"failed to run commands: (?:exit status -?\d+|signal: [\w /()-]+)\Z")
# Between the two streams on list pages, and where these were cut to 2,500 characters.
_STDERR_MARK = "\n----------ERROR-------\n"
_CUTS = ("\n---Output truncated---", "\n---Error truncated----")


def verdict(invocation: Invocation, run_id: str) -> Invocation:
    """Judge a target by its own record, and by the service's word only where there is none.

    Args:
        invocation: `word` as the service wrote it, `stdout` and `stderr` as they came, record and extracts in one.
        run_id: whose record counts.

    Returns:
        the invocation with status, detail, record and the mere extracts.
    """
    word = invocation.word.replace(" ", "")
    # A word that AWS has added since is not taken for an end.
    status, detail = STATUSES.get(word, (Status.RUNNING, f"SSM says {invocation.word}"))
    if not status.final:
        return Invocation(
            target=invocation.target, status=status, word=invocation.word, detail=detail, command=invocation.command
        )
    record, stdout = result.parse(invocation.stdout, run_id)
    stderr = without_agents_sentence(invocation.stderr)
    if record is not None:
        status, detail = _by_record(record)
    return Invocation(
        target=invocation.target,
        status=status,
        word=invocation.word,
        detail=detail,
        command=invocation.command,
        record=record,
        stdout=stdout,
        stderr=stderr,
        partial=invocation.partial or (record is not None and not _whole(record, stdout, stderr)),
    )


def _whole(record: Record, stdout: str, stderr: str) -> bool:
    """Whether the extracts have the size that the record says; not where the two streams were parted wrongly."""
    sizes = (len(text.encode(errors="replace")) for text in (stdout, stderr))
    return (*sizes,) == (record.stdout_bytes, record.stderr_bytes)


def _by_record(record: Record) -> tuple[Status, str]:
    if record.outcome == "refused":
        return Status.REFUSED, _refusal(record)
    if record.outcome == "cancelled":
        return Status.CANCELLED, _joined(_ending(record), record.detail)
    if record.outcome == "timed-out":
        return Status.TIMED_OUT, _joined(f"stopped after {record.script_seconds} s ({_ending(record)})", record.detail)
    if record.succeeded:
        return Status.SUCCEEDED, record.detail
    return Status.FAILED, _joined(_ending(record), record.detail)


def _refusal(record: Record) -> str:
    refusal = REFUSALS.get(record.error)
    if refusal is None:  # a payload of a later version
        return f"{record.error}: {record.detail}"
    again = "after the reboot that the script asked for: " if record.resumed else ""
    return f"{again}{refusal.message} ({record.detail}); {refusal.remedy}"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _ending(record: Record) -> str:
    if not record.signal:
        return f"exit {record.code}"
    try:
        return f"killed by {signal.Signals(record.signal).name}"
    except ValueError:
        return f"killed by signal {record.signal}"


def without_agents_sentence(stderr: str) -> str:
    """Take away what the agent appends to stderr, with no newline before it, when the payload's exit code is not 0."""
    return _AGENTS_SENTENCE.sub("", stderr)


def split_list_output(output: str) -> tuple[str, str, bool]:
    """Take apart the `Output` of a list page: stdout, stderr, and whether that may not be the whole truth.

    It is not where something was cut, nor where the script itself wrote the mark that stands between the two.
    """
    cut = any(mark in output for mark in _CUTS) or output.count(_STDERR_MARK) > 1
    for mark in _CUTS:
        output = output.replace(mark, "")
    # The last mark is the service's own unless the script wrote one to stderr, which is the rarer place.
    stdout, mark, stderr = output.rpartition(_STDERR_MARK)
    return (stdout, stderr, cut) if mark else (output, "", cut)
