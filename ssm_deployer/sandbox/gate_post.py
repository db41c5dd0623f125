"""Browser-style uploads to S3: a form whose signed policy says what may be uploaded, where, and until when.

From S3's "Browser-based uploads using POST" and "POST policy". Each field must be allowed by a condition.
"""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, Any, cast

import msgspec
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Field, MultipartDecoder, Preamble

from ssm_deployer.sandbox import sigv4
from ssm_deployer.sandbox.denial import Denied, Kind
from ssm_deployer.sandbox.gate_body import Body

MAX_FIELD = 256 * 1024
MAX_PARTS = 100
SKEW_SECONDS = 900
_FREE = {"x-amz-signature", "policy", "file"}
_NUMBER = re.compile(r"[0-9]{1,15}")
_PATH = re.compile(r"/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/?")


class Policy(msgspec.Struct, frozen=True):
    """A policy document as its author wrote it."""

    expiration: str
    conditions: tuple[dict[str, Any] | list[Any], ...]


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """A form as it was sent.

    Attributes:
        claim: who signed it.
        fields: by name in small letters, with the bucket as one of them, and the key as it will be.
        size: of the file, in bytes.
    """

    claim: sigv4.Claim
    fields: Mapping[str, str]
    size: int


def is_form(request: sigv4.Request) -> bool:
    """Whether a request is an upload by form; one that is signed itself is not."""
    return (
        request.method == "POST"
        and request.headers.get("Content-Type", "").startswith("multipart/form-data")
        and "Authorization" not in request.headers
        and not any(name in sigv4.QUERY_NAMES for name, _ in request.query)
    )


def read(request: sigv4.Request, body: Body) -> Form:
    """Read a form from a received body. Raises Denied if it is not one that S3 would take."""
    bucket = _PATH.fullmatch(request.path)
    # A policy speaks of neither: `?delete` or a header would make another request of it behind the gate.
    if not bucket or request.query_string or any(name.lower().startswith("x-amz-") for name, _ in request.headers):
        raise Denied(Kind.FORBIDDEN, "A form is sent to the bucket, without a query and without x-amz- headers")
    sent, size, filename = _parts(request, body)
    fields = {name.lower(): value for name, value in sent}
    if len(fields) != len(sent) or "key" not in dict(sent) or "bucket" in fields:
        raise Denied(Kind.BAD_REQUEST, "A form has each field once, and one of them is the key")
    if filename is not None:
        fields["key"] = fields["key"].replace("${filename}", filename.rpartition("/")[2])
    fields["bucket"] = bucket[1]
    return Form(claim=_claim(fields), fields=fields, size=size)


def _claim(fields: Mapping[str, str]) -> sigv4.Claim:
    if not fields.get("x-amz-signature"):
        raise Denied(Kind.MISSING, "The form carries no Signature Version 4")
    if fields.get("x-amz-algorithm") != sigv4.ALGORITHM or not fields.get("policy"):
        raise Denied(Kind.BAD_REQUEST, f"The form needs a policy, signed with {sigv4.ALGORITHM}")
    return sigv4.checked(
        Kind.BAD_REQUEST,
        credential=fields.get("x-amz-credential", ""),
        stamp=fields.get("x-amz-date", ""),
        names="host",
        signature=fields["x-amz-signature"],
        token=fields.get("x-amz-security-token", ""),
    )


def signed(request: sigv4.Request, head: bytes) -> tuple[sigv4.Claim, str]:
    """Return who signed a form, and the policy that was signed, from the fields before its file.

    Raises Denied if they do not stand in `head`.
    """
    boundary = parse_options_header(request.headers.get("Content-Type"))[1].get("boundary", "")
    try:
        fields = dict(_fields(MultipartDecoder(boundary.encode("ascii"), MAX_FIELD, max_parts=MAX_PARTS), head))
    except (HTTPException, ValueError) as error:
        raise Denied(Kind.BAD_REQUEST, "The body of the form is not well-formed multipart/form-data") from error
    return _claim(fields), fields["policy"]


def _fields(decoder: MultipartDecoder, head: bytes) -> Iterator[tuple[str, str]]:
    decoder.receive_data(head)
    name, value = "", b""
    while True:
        event = decoder.next_event()
        if isinstance(event, Data):
            value += event.data
            continue
        yield name, value.decode("utf-8", "replace")
        if not isinstance(event, Field | Preamble) or (isinstance(event, Field) and event.name == "file"):
            return
        name, value = _name(event) if isinstance(event, Field) else "", b""


def _name(part: Field) -> str:
    if not isinstance(part.name, str):  # werkzeug gives a part without a name the name None
        raise Denied(Kind.BAD_REQUEST, "Each part of a form needs a name")
    return part.name.lower()


def check_signature(claim: sigv4.Claim, text: str, key: bytes) -> None:
    """Raise Denied unless the policy is signed."""
    if claim.service != "s3" or not sigv4.same(sigv4.signature(key, text), claim.signature):
        raise Denied(Kind.MISMATCH, "The signature of the policy does not match")


def check(form: Form, key: bytes, now: float) -> None:
    """Raise Denied unless the policy is signed, in force, and allows all of the form."""
    text = form.fields["policy"]
    check_signature(form.claim, text, key)
    policy, expires = _policy(text)
    if now > expires or now > form.claim.signed_at + sigv4.MAX_SECONDS:
        raise Denied(Kind.EXPIRED, "Invalid according to Policy: Policy expired.")
    if now < form.claim.signed_at - SKEW_SECONDS:
        raise Denied(Kind.EXPIRED, "Request is not yet valid")
    allowed = {_hold(condition, form) for condition in policy.conditions}
    extra = sorted(name for name in form.fields if name not in allowed | _FREE and not name.startswith("x-ignore-"))
    if extra:
        raise Denied(Kind.FORBIDDEN, f"Invalid according to Policy: Extra input fields: {extra[0]}")


def _policy(text: str) -> tuple[Policy, float]:
    try:
        policy = msgspec.json.decode(b64decode(text, validate=True), type=Policy)
        expiration = datetime.fromisoformat(policy.expiration)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Denied(Kind.BAD_REQUEST, "Invalid Policy: it must be JSON with an expiration and conditions") from error
    if expiration.tzinfo is None:
        raise Denied(Kind.BAD_REQUEST, "Invalid Policy: its expiration must name its zone")
    return policy, expiration.timestamp()


def _hold(condition: dict[str, Any] | list[Any], form: Form) -> str:
    """Return the name of the field that a condition allows. Raises Denied if it does not hold."""
    operator, name, wanted = _terms(condition)
    if operator == "content-length-range":
        _check_size(form.size, name, wanted)
        return "file"
    if operator not in ("eq", "starts-with") or not name.startswith("$"):
        raise Denied(Kind.BAD_REQUEST, "Invalid Policy: a condition is not valid")
    field = name[1:].lower()
    value = form.fields.get(field)
    if value is None or not (value == wanted if operator == "eq" else value.startswith(wanted)):
        raise Denied(Kind.FORBIDDEN, f"Invalid according to Policy: Policy Condition failed: {operator} {name}")
    return field


def _terms(condition: dict[str, Any] | list[Any]) -> tuple[str, str, str]:
    """Return a condition as operator, variable and value; `{"acl": "private"}` is short for an `eq`."""
    if isinstance(condition, dict):
        terms = [term for name, wanted in condition.items() for term in ("eq", f"${name}", wanted)]
    else:
        terms = condition
    if len(terms) != 3 or any(isinstance(term, bool) or not isinstance(term, str | int) for term in terms):  # noqa: PLR2004  # operator, variable, value
        raise Denied(Kind.BAD_REQUEST, "Invalid Policy: a condition is not valid")
    return str(terms[0]).lower(), str(terms[1]), str(terms[2])


def _check_size(size: int, low: str, high: str) -> None:
    if not (_NUMBER.fullmatch(low) and _NUMBER.fullmatch(high)):
        raise Denied(Kind.BAD_REQUEST, "Invalid Policy: content-length-range needs two numbers")
    if size < int(low):
        raise Denied(Kind.TOO_SMALL, "Your proposed upload is smaller than the minimum allowed size")
    if size > int(high):
        raise Denied(Kind.TOO_LARGE, "Your proposed upload exceeds the maximum allowed size")


def _parts(request: sigv4.Request, body: Body) -> tuple[Sequence[tuple[str, str]], int, str | None]:
    """Return the fields, and size and name of the one file, None without one. Raises Denied if it is no such form."""
    mimetype, options = parse_options_header(request.headers.get("Content-Type"))
    parser = FormDataParser(
        stream_factory=_measure,
        max_form_memory_size=MAX_FIELD,
        max_form_parts=MAX_PARTS,
        silent=False,
    )
    try:
        _, fields, files = parser.parse(body.file, mimetype, body.length, options)
    except (HTTPException, ValueError) as error:
        raise Denied(Kind.BAD_REQUEST, "The body of the form is not well-formed multipart/form-data") from error
    sent = list(fields.items(multi=True))
    if not all(isinstance(name, str) for name, _ in sent):
        raise Denied(Kind.BAD_REQUEST, "Each part of a form needs a name")
    uploads = list(files.items(multi=True))
    # A part without a filename is the file too, if it is called so.
    plain = [value for name, value in sent if name == "file"]
    if len(uploads) + len(plain) != 1 or any(name != "file" for name, _ in uploads):
        raise Denied(Kind.BAD_REQUEST, "POST requires exactly one file upload per request.")
    if plain:
        return sent, len(plain[0].encode()), None
    return sent, uploads[0][1].stream.tell(), uploads[0][1].filename


def _measure(*_args: object, **_options: object) -> IO[bytes]:
    return cast("IO[bytes]", _Measure())


class _Measure:
    """A file that keeps nothing but its length: the form is read a second time by the application behind."""

    def __init__(self) -> None:
        self._length = 0

    def write(self, piece: bytes) -> int:
        self._length += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._length

    def seek(self, _offset: int, _whence: int = 0) -> int:
        return self._length

    def close(self) -> None:
        """Nothing was opened."""
