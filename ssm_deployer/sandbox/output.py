"""What the agent makes of a script's two streams: the cut texts and the short output of the list pages."""

STREAM_BYTES = 24_000
STDERR_CHARACTERS = 8_000
SHORT_CHARACTERS = 2_500
CUT = "--output truncated--"
ERROR_TITLE = "\n----------ERROR-------\n"
OUTPUT_CUT = "\n---Output truncated---"
ERROR_CUT = "\n---Error truncated----"


def cut(stream: bytes) -> str:
    """Return a whole stream as the agent reports it: its head of 24,000 bytes, marked if it had that many or more."""
    if len(stream) < STREAM_BYTES:
        return stream.decode("utf-8", "replace")
    return stream[: STREAM_BYTES - len(CUT)].decode("utf-8", "replace") + CUT


def short(stdout: bytes, stderr: bytes, capacity: int = SHORT_CHARACTERS) -> str:
    """Return the `Output` of list pages: stdout, then stderr under a title, each cut so that both fit in `capacity`.

    Bytes are counted, and the order of the cases and the strict comparison are the agent's (iohandler.go,
    TruncateOutput).
    """
    title = ERROR_TITLE if stderr else ""
    space = capacity - len(title)
    if len(stdout) + len(stderr) < space:
        parts = (stdout, "", title, stderr, "")
    elif len(stdout) > space // 2 and len(stderr) > space // 2:
        half = (space - len(OUTPUT_CUT) - len(ERROR_CUT)) // 2
        parts = (stdout[:half], OUTPUT_CUT, title, stderr[:half], ERROR_CUT)
    elif len(stdout) < space // 2:
        parts = (stdout, "", title, stderr[: space - len(ERROR_CUT) - len(stdout)], ERROR_CUT)
    else:
        parts = (stdout[: space - len(OUTPUT_CUT) - len(stderr)], OUTPUT_CUT, title, stderr, "")
    return "".join(part if isinstance(part, str) else part.decode("utf-8", "replace") for part in parts)
