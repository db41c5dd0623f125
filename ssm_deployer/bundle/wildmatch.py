"""Git's globs as regular expressions over bytes: the wildmatch of git's own source, where a path is matched as a whole.

pathspec, the library for this, describes what a pattern leaves of a list of files. It cannot say whether git enters a
folder, takes `!*/` after `*` for the weaker rule, compares characters instead of bytes, and lets `[!a]` match a slash.
"""

import re
import string
from collections.abc import Iterator

NEVER = b"(?!)"
TOKEN = re.compile(
    rb"(?s)\\(?P<escaped>.) | (?P<folders>(?<![^/])\*\*+/) | (?P<below>(?<![^/])\*\*+\Z) | (?P<stars>\*+)"
    rb"| (?P<one>\?) | (?P<set>\[) | (?P<plain>[^\\*?\[])",
    re.VERBOSE,
)
MEMBER = re.compile(rb"(?s)\[:(?P<name>[^]]*):]|(?P<low>\\.|[^\\])(?:-(?P<high>\\.|[^]\\]))?")
CLASSES = {
    b"alnum": string.ascii_letters + string.digits,
    b"alpha": string.ascii_letters,
    b"blank": " \t",
    b"cntrl": "".join(map(chr, [*range(32), 127])),
    b"digit": string.digits,
    b"graph": string.ascii_letters + string.digits + string.punctuation,
    b"lower": string.ascii_lowercase,
    b"print": string.ascii_letters + string.digits + string.punctuation + " ",
    b"punct": string.punctuation,
    b"space": string.whitespace,
    b"upper": string.ascii_uppercase,
    b"xdigit": string.hexdigits,
}


def compiled(glob: bytes) -> re.Pattern[bytes]:
    """Make the expression that matches, with `fullmatch`, what a glob does; a malformed glob matches nothing."""
    try:
        return re.compile(b"".join(_parts(glob)), re.DOTALL)
    except _MalformedError:
        return re.compile(NEVER)


class _MalformedError(ValueError):
    """A set without an end or of an unknown class, or a backslash with nothing behind it."""


def _parts(glob: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(glob):
        token = TOKEN.match(glob, at)
        if token is None:
            raise _MalformedError
        at = token.end()
        match token.lastgroup:
            case "folders":
                yield b"(?:.*/)?"
            case "below":
                yield b".*"
            case "stars":
                yield b"[^/]*"
            case "one":
                yield b"[^/]"
            case "set":
                members, at = _set(glob, at)
                yield members
            case kind:
                yield re.escape(token[str(kind)])


def _set(glob: bytes, at: int) -> tuple[bytes, int]:
    """Read what stands between brackets, from behind the first; tell the expression, and where it goes on."""
    negated = glob[at : at + 1] in {b"!", b"^"}
    start = at = at + negated
    members: set[int] = set()
    while at == start or glob[at : at + 1] != b"]":  # a bracket that comes first is a member
        member = MEMBER.match(glob, at)
        if member is None:
            raise _MalformedError
        members |= _members(member)
        at = member.end()
    accepted = (set(range(256)) - members if negated else members) - {ord("/")}
    return (b"[%s]" % b"".join(b"\\x%02x" % byte for byte in sorted(accepted)) if accepted else NEVER), at + 1


def _members(member: re.Match[bytes]) -> set[int]:
    if member["name"] is not None:
        if member["name"] not in CLASSES:
            raise _MalformedError
        return set(CLASSES[member["name"]].encode())
    low = member["low"][-1]
    high = member["high"][-1] if member["high"] else low
    return {low, *range(low, high + 1)}  # of a range that runs backwards, git knows the first
