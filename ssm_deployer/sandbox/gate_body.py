"""The body of a request: received whole, bounded, hashed, without the aws-chunked framing, and readable again.

The framing is in S3's "Authenticating Requests: chunked upload". Memory stays flat: above a few MiB a body is on disk.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from io import BufferedReader
from tempfile import SpooledTemporaryFile
from typing import IO
from wsgiref.types import WSGIEnvironment

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from ssm_deployer.sandbox import sigv4
from ssm_deployer.sandbox.denial import Denied, Kind

EMPTY = sha256().hexdigest()
IN_MEMORY = 4 * 1024 * 1024
PIECE = 256 * 1024
MAX_LINE = 1_024
MAX_TRAILERS = 16 * 1024
# What stands for the hash of a body in frames, and whether each frame is signed.
STREAMS = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": True,
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": True,
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": False,
}
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})(?:;chunk-signature=([0-9a-f]{64}))?\r\n")
_TRAILER = re.compile(r"(x-amz-checksum-[a-z0-9]{1,16}|x-amz-trailer-signature):[ \t]*([A-Za-z0-9+/=-]{1,256})[ \t]*")


class Body:
    """A received body.

    Attributes:
        file: at its start.
        length: in bytes.
        sha256: in hex.
        trailers: headers that came after it.
    """

    def __init__(self) -> None:
        # The gate closes it when the answer was sent: this outlives any block here.
        self.file: IO[bytes] = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        self.length = 0
        self.trailers: Mapping[str, str] = {}
        self._hash = sha256()

    @property
    def sha256(self) -> str:
        """The hash of what was received."""
        return self._hash.hexdigest()

    def add(self, piece: bytes) -> None:
        """Append. Raises Denied if there is no room on the disk."""
        try:
            self.file.write(piece)
        except OSError as error:
            raise Denied(Kind.NO_ROOM, f"The sandbox cannot keep this body: {error.strerror}") from error
        self.length += len(piece)
        self._hash.update(piece)

    def close(self) -> None:
        """Forget it."""
        # A file that could not be written to the end cannot be flushed either.
        with suppress(OSError):
            self.file.close()


class Chain:
    """The signatures of a stream: each is made over the one before it, and the first over the request's own."""

    def __init__(self, key: bytes, claim: sigv4.Claim) -> None:
        self._key = key
        self._context = f"{claim.stamp}\n{claim.scope}"
        self._previous = claim.signature

    def check(self, kind: str, hashes: str, given: str) -> None:
        """Raise Denied if `given` is not the signature of that part."""
        text = f"{sigv4.ALGORITHM}-{kind}\n{self._context}\n{self._previous}\n{hashes}"
        self._previous = sigv4.signature(self._key, text)
        if not sigv4.same(self._previous, given):
            raise Denied(Kind.MISMATCH, "The signature of a chunk of the body does not match")


def receive(body: Body, environ: WSGIEnvironment, limit: int) -> None:
    """Take the body as it is. Raises Denied if it is cut, longer than `limit`, or of no valid length."""
    stream = _stream(environ, limit)
    while piece := _read(stream, PIECE):
        body.add(piece)
    body.file.seek(0)


def receive_form(body: Body, environ: WSGIEnvironment, limit: int, head: int, check: Callable[[bytes], None]) -> None:
    """Take the body as `receive` does, but let `check` see its first `head` bytes before more of it is read."""
    stream = _stream(environ, limit)
    first = _read(stream, head)
    check(first)
    body.add(first)
    while piece := _read(stream, PIECE):
        body.add(piece)
    body.file.seek(0)


def receive_stream(body: Body, environ: WSGIEnvironment, limit: int, chain: Chain | None) -> None:
    """Take an aws-chunked body out of its frames, checking each with `chain`. Raises Denied as `receive` does."""
    declared = environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH", "")
    if not _LENGTH.fullmatch(declared):
        raise Denied(Kind.BAD_REQUEST, "x-amz-decoded-content-length must say how long the body is")
    if int(declared) > limit:
        raise Denied(Kind.TOO_LARGE, f"A body can have {limit} bytes here")
    stream = _stream(environ, 2 * limit)  # the frames come on top
    while _chunk(body, stream, int(declared), chain):
        pass
    if body.length != int(declared):
        raise Denied(Kind.INCOMPLETE, "The body is not as long as x-amz-decoded-content-length says")
    body.trailers = _trailers(stream, environ, chain)
    body.file.seek(0)


def _chunk(body: Body, stream: BufferedReader, declared: int, chain: Chain | None) -> bool:
    """Take one chunk; False for the last one, which is empty."""
    match = _CHUNK.fullmatch(_read(stream, MAX_LINE, line=True))
    if not match or (match[2] is None) is not (chain is None):
        raise Denied(Kind.INCOMPLETE, "A chunk of the body has no valid head")
    left = int(match[1], 16)
    if body.length + left > declared:
        raise Denied(Kind.INCOMPLETE, "The body is longer than x-amz-decoded-content-length says")
    last = left == 0
    digest = sha256()
    while left:
        piece = _read(stream, min(left, PIECE))
        if not piece:
            raise Denied(Kind.INCOMPLETE, "The body ended inside a chunk")
        body.add(piece)
        digest.update(piece)
        left -= len(piece)
    if chain is not None:
        chain.check("PAYLOAD", f"{EMPTY}\n{digest.hexdigest()}", match[2].decode())
    if not last and _read(stream, 2) != b"\r\n":
        raise Denied(Kind.INCOMPLETE, "A chunk of the body does not end with its line")
    return not last


def _trailers(stream: BufferedReader, environ: WSGIEnvironment, chain: Chain | None) -> Mapping[str, str]:
    """Read the headers after the last chunk: those that x-amz-trailer announced, and their signature."""
    rest = _read(stream, MAX_TRAILERS).decode("latin-1")
    # Java's SDK ends these lines as HTTP does, AWS's own example with a bare newline as well.
    matches = [_TRAILER.fullmatch(line) for line in re.split(r"\r?\n", rest) if line]
    if not rest.endswith("\r\n") or None in matches:
        raise Denied(Kind.INCOMPLETE, "The trailers of the body are not valid")
    found = {match[1]: match[2] for match in matches if match}
    given = found.pop("x-amz-trailer-signature", "")
    announced = [name.strip().lower() for name in environ.get("HTTP_X_AMZ_TRAILER", "").split(",") if name.strip()]
    if sorted(announced) != sorted(found):
        raise Denied(Kind.INCOMPLETE, "The trailers of the body are not those that x-amz-trailer announced")
    if chain is not None and announced:
        lines = "".join(f"{name}:{value}\n" for name, value in found.items())
        chain.check("TRAILER", sha256(lines.encode()).hexdigest(), given)
    return found


def _stream(environ: WSGIEnvironment, limit: int) -> BufferedReader:
    length = environ.get("CONTENT_LENGTH") or "0"
    framed = "HTTP_TRANSFER_ENCODING" in environ
    if not _LENGTH.fullmatch(length) or (framed and environ.get("CONTENT_LENGTH")):
        raise Denied(Kind.BAD_REQUEST, "Content-Length must be a number, and there must be no other framing")
    if framed and not environ.get("wsgi.input_terminated"):
        raise Denied(Kind.BAD_REQUEST, "This Transfer-Encoding is not known")
    try:
        return BufferedReader(get_input_stream(environ, max_content_length=limit))  # type: ignore[arg-type]  # it is raw
    except RequestEntityTooLarge as error:
        raise Denied(Kind.TOO_LARGE, f"A body can have {limit} bytes here") from error


def _read(stream: BufferedReader, size: int, *, line: bool = False) -> bytes:
    try:
        return stream.readline(size) if line else stream.read(size)
    except RequestEntityTooLarge as error:
        raise Denied(Kind.TOO_LARGE, "The body is too large") from error
    except (HTTPException, OSError, ValueError) as error:
        raise Denied(Kind.INCOMPLETE, "The body was cut, or its framing is broken") from error
