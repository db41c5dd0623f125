"""What travels beside the payload: the script, and its arguments and environment."""

import re
from collections.abc import Mapping, Sequence

from ssm_deployer.errors import UsageError

LONGEST_WORD = 131_071  # Linux: MAX_ARG_STRLEN, 32 pages with the final NUL
LARGEST_INPUTS = 1_900_000  # Linux: a quarter of the 8 MiB stack; the target's own environment needs some of it
OF_EACH_WORD = 9  # bytes of that, beside its own: the final NUL and a pointer

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = re.compile(r"DEPLOY_FILES_DIR|SSM_DEPLOY_.*")


def check_script(content: bytes) -> None:
    """Refuse what certainly cannot run on any target.

    Raises:
        UsageError: empty, not a script, or with Windows line endings.
    """
    if not content.strip():
        raise UsageError("the script is empty", "write into it what the targets are to run, or name another file")
    if content.startswith(b"\x7fELF"):
        return
    if content.startswith(b"\xef\xbb\xbf#!"):
        raise UsageError(
            "the script begins with a byte order mark, which hides its `#!` from Linux",
            "remove it: sed -i '1s/^\\xef\\xbb\\xbf//' SCRIPT",
        )
    first = content.split(b"\n", 1)[0]
    if first.startswith(b"#!") and not first[2:].strip():
        raise UsageError("the script's `#!` names no interpreter", "write #!/bin/sh, or what else shall run it")
    if first.endswith(b"\r"):
        raise UsageError(
            "the script has Windows line endings (CRLF): its first line would name an interpreter that ends in \\r",
            "convert it: sed -i 's/\\r$//' SCRIPT",
        )
    if b"\0" in content:
        raise UsageError(
            f"the script has a NUL byte at offset {content.index(0)}, so it is no text",
            "UTF-16? convert it: iconv -f UTF-16 -t UTF-8",
        )


def inputs(args: Sequence[str | bytes], env: Mapping[str, str | bytes]) -> bytes:
    """Make the object that carries the script's arguments and environment, byte for byte.

    It is sh text: one `set` that puts NAME=VALUE words before the command's and the arguments after, for `env` to take
    apart. So a name never becomes a variable of the shell, which has read-only ones. Its last line tells that the
    shell could read it all.

    Raises:
        UsageError: a name that is none or is ours, a NUL byte, or more than Linux hands over.
    """
    words = [_pair(name, value) for name, value in env.items()]
    after = [_word(arg, f"argument {number}") for number, arg in enumerate(args, 1)]
    if sum(len(word) + OF_EACH_WORD for word in (*words, *after)) > LARGEST_INPUTS:
        raise UsageError("the arguments and the environment are too large", "put the data into a file of the bundle")
    return b" ".join([b"set --", *words, b'"$@"', *after]) + b"\nINPUTS=read\n"


def _pair(name: str, value: str | bytes) -> bytes:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of an environment variable", "use --env NAME=VALUE")
    if _OURS.fullmatch(name):
        raise UsageError(f"{name} is set by ssm-deploy itself", "use another name")
    return name.encode() + b"=" + _word(value, name)


def _word(value: str | bytes, what: str) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise UsageError(f"{what} contains a NUL byte, which no process can be given")
    if len(raw) > LONGEST_WORD - 300:  # the name counts too
        raise UsageError(
            f"{what} is longer than the 128 KiB that Linux allows", "put the data into a file of the bundle"
        )
    return b"'" + raw.replace(b"'", b"'\\''") + b"'"
