"""The host keys that an instance printed on its console when it first booted."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator

# How many parts the blob of a kind of key has: RFC 8709 section 4 (ed25519), RFC 5656 section 3.1 (ecdsa) and RFC 4253
# section 6.6 (rsa). Other kinds OpenSSH has no more, or they are no host keys.
PARTS = {
    "ssh-ed25519": 2,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "ssh-rsa": 3,
}
# cloud-init prints the lines as they are, through logger (`<14>Jan  6 15:27:31 ec2: `), or into the journal, which puts
# `[   28.310] cloud-init[1278]: ` before them; or both. Nothing else may stand there: what other programs log is words
# of strangers, who could write a block of their own into it (`Invalid user …`).
# https://github.com/canonical/cloud-init/blob/main/tools/write-ssh-key-fingerprints
_BEFORE = (
    r"(?:(?:<\d+>)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d )?(?:\[ *\d+\.\d+\] )?"
    r"(?:(?:[\w.-]+ )?(?:cloud-init|ec2)(?:\[\d+\])?: )?){0,2}"
)
_BEGIN = re.compile(rf"{_BEFORE}-----BEGIN SSH HOST KEY KEYS-----\s*")
_END = re.compile(rf"{_BEFORE}-----END SSH HOST KEY KEYS-----\s*")
_KEY = re.compile(rf"{_BEFORE}({'|'.join(PARTS)}) ([A-Za-z0-9+/]+={{0,2}})(?:\s.*)?")


class Contradiction(Exception):
    """A console shows two different keys of one kind."""


def host_keys(output: str) -> list[str]:
    """Find the keys, each as `TYPE BASE64`, in what a console shows; none if it shows no whole block of them.

    Lines of a block that are no whole key are skipped: the kernel prints between them, and into them.

    Raises:
        Contradiction: two blocks have different keys of one kind, so that one of them may be somebody else's.
    """
    keys: dict[str, str] = {}
    for kind, blob in _found(output.split("\n")):  # splitlines() would part them at what a stranger may write, too
        if keys.setdefault(kind, blob) != blob:
            raise Contradiction(kind)
    return [f"{kind} {blob}" for kind, blob in keys.items()]


def _found(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    block: list[tuple[str, str]] | None = None
    for line in lines:
        if _BEGIN.fullmatch(line):
            block = []
        elif block is not None and _END.fullmatch(line):
            yield from block
            block = None
        elif block is not None and (match := _KEY.fullmatch(line)) and _whole(match[1], match[2]):
            block.append((match[1], match[2]))


def _whole(kind: str, blob: str) -> bool:
    """Whether this is a key of its kind from its first byte to its last: also half of one may be valid base64."""
    try:
        parts = list(_parts(base64.b64decode(blob, validate=True)))
    except (binascii.Error, EOFError):
        return False
    return len(parts) == PARTS[kind] and parts[0] == kind.encode()


def _parts(data: bytes) -> Iterator[bytes]:
    while data:
        size = int.from_bytes(data[:4])
        if len(data) < 4 + size:
            raise EOFError
        yield data[4 : 4 + size]
        data = data[4 + size :]
