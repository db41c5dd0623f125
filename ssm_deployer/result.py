"""The result record: the first line that the payload prints, and its parser.

The line is `ssm-deploy-result ` and one JSON object, in ASCII, below 900 bytes, so that it arrives whole with the
2,500 characters that ListCommandInvocations shows. Only the payload writes to the agent's pipe before it, so a line
that is not the very first is no record. What follows the record is the extract of the script's stdout; the payload's
stderr is the extract of the script's stderr, to which the agent appends a sentence of its own when the exit is not 0.
"""

from typing import Literal

import msgspec

FORMAT = 1
MARK = "ssm-deploy-result "

Outcome = Literal["exited", "signalled", "timed-out", "cancelled", "refused"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What happened on one target, as the payload saw it.

    Attributes:
        format: version of this record; fields are added, never renamed.
        run: the run's id.
        command: the SSM command id that the agent told the payload, empty where it told none.
        outcome: `exited` with `code`; `signalled` by `signal`; `timed-out` (stopped by the payload's own deadline,
            `code` or `signal` say how it ended); `cancelled` (stopped at the word of a client that it could hear,
            likewise); `refused` (the script never ran, `error` says why).
        code: exit code of the script, 128 + N where signal N ended it, or the payload's own where it refused.
        signal: number of the signal that ended the script, 0 if none did.
        error: a word of `payload.REFUSALS` where the outcome is `refused`, else empty.
        detail: the particulars of that, one line of at most 240 characters; also why an exit 194 had no reboot.
        started: when the payload began, seconds since the epoch by the target's clock.
        ended: when it wrote the record, likewise.
        script_seconds: how long the script ran, in whole seconds.
        stdout_bytes: how much the script wrote to stdout in all, whatever the extract shows.
        stderr_bytes: likewise for stderr.
        stdout_sha256: first 16 hex digits of the sha256 of all of stdout, empty if it could not be had.
        stderr_sha256: likewise for stderr.
        bundle: sha256 (hex) of the content of the bundle that was received and verified, empty if the run has none.
        resumed: how many times the machine was rebooted by exit 194 before this end; where it is refused, the script
            ran as often, and the extracts are those runs'.
    """

    format: int
    run: str
    outcome: Outcome
    code: int
    signal: int
    started: int
    ended: int
    script_seconds: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_sha256: str = ""
    stderr_sha256: str = ""
    command: str = ""
    error: str = ""
    detail: str = ""
    bundle: str = ""
    resumed: int = 0

    @property
    def duplicate(self) -> bool:
        """True where another command of the same run had got to the target before, and has the verdict."""
        return self.outcome == "refused" and self.error == "duplicate"

    @property
    def succeeded(self) -> bool:
        """True only for a script that ran to its end and exited 0."""
        return self.outcome == "exited" and self.code == 0


def parse(stdout: str, run_id: str) -> tuple[Record | None, str]:
    """Split what a target printed into the record of `run_id` and the extract of the script's stdout.

    Returns `(None, stdout)` where the first line is no whole record of this run: cut, of another run, of a format
    that this version does not know, or anything else.
    """
    line, newline, extract = stdout.partition("\n")
    if not newline or not line.startswith(MARK) or not line.isascii():
        return None, stdout
    try:
        record = msgspec.json.decode(line.removeprefix(MARK), type=Record)
    except (msgspec.DecodeError, RecursionError):
        return None, stdout
    return (record, extract) if record.run == run_id and record.format == FORMAT else (None, stdout)
