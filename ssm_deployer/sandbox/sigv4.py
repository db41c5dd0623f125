"""Signature Version 4: who a request claims to be from, what was signed, and the signature that this must have.

Written from AWS's page "Create a signed AWS API request" (IAM User Guide) and S3's "Authenticating Requests".
"""

import hmac
import re
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, unquote, unquote_to_bytes
from wsgiref.types import WSGIEnvironment

import msgspec
from werkzeug.datastructures import EnvironHeaders

from ssm_deployer.sandbox.denial import Denied, Kind

ALGORITHM = "AWS4-HMAC-SHA256"
NOT_VERSION_4 = f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}."
MAX_SECONDS = 604_800
STAMP = "%Y%m%dT%H%M%SZ"
QUERY_NAMES = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_URI = re.compile(r"(/[!\"$->@-~]*)(?:\?([!\"$-~]*))?")  # printable ASCII; # would begin a fragment
_CREDENTIAL = re.compile(r"([A-Za-z0-9_]{1,128})/([0-9]{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request")
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +Credential=([^\s,]+), *SignedHeaders=([^\s,]+), *Signature=([0-9a-f]{{64}})"
)
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_NAMES = re.compile(r"[a-z0-9_.-]+(?:;[a-z0-9_.-]+)*")
_HEX = re.compile(r"[0-9a-f]{64}")
_BLANKS = re.compile(r"[ \t\r\n\v\f]+")


class Request(msgspec.Struct, frozen=True):
    """A request as it was sent.

    Attributes:
        method: in capitals.
        path: still percent-encoded.
        query: pairs of name and value, encoded and sorted as the canonical request wants them.
        query_string: as it was sent.
        headers: their names are found in any case.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    query_string: str
    headers: EnvironHeaders

    @classmethod
    def read(cls, environ: WSGIEnvironment) -> "Request":
        """Raises Denied for a URI that no client sends: not absolute, not ASCII, or with a fragment."""
        # PATH_INFO is decoded, so `a%2Fb` and `a/b` are one there; werkzeug's server leaves the original here.
        match = _URI.fullmatch(environ.get("RAW_URI", ""))
        if not match:
            raise Denied(Kind.BAD_REQUEST, "Couldn't parse the specified URI.")
        path, query = match[1], match[2] or ""
        return cls(environ["REQUEST_METHOD"], path, canonical_query(query), query, EnvironHeaders(environ))


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request claims to be from, and the signature that is to prove it.

    Attributes:
        access_key: whose secret signed.
        date: of the credential scope, `YYYYMMDD`.
        region: likewise.
        service: likewise.
        stamp: when it was signed, `YYYYMMDDTHHMMSSZ`.
        names: the signed headers, in small letters, sorted.
        signature: 64 hex digits.
        token: the session token that was sent, empty if none was.
        seconds: how long a presigned URL lives, None for a request that was signed in a header.
    """

    access_key: str
    date: str
    region: str
    service: str
    stamp: str
    names: tuple[str, ...]
    signature: str
    token: str
    seconds: int | None = None

    @property
    def scope(self) -> str:
        """The credential scope, without the access key."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"

    @property
    def signed_at(self) -> float:
        """`stamp` in seconds since the epoch."""
        return datetime.strptime(self.stamp, STAMP).replace(tzinfo=UTC).timestamp()


def claim_of(request: Request) -> Claim:
    """Read the claim from the Authorization header or the query. Raises Denied if there is none, or no valid one."""
    presigned = any(name in QUERY_NAMES for name, _ in request.query)
    if "Authorization" in request.headers:
        if presigned:
            raise Denied(Kind.BAD_REQUEST, "Only one auth mechanism allowed")
        return _from_header(request)
    if presigned:
        return _from_query(request)
    if any(name == "Signature" for name, _ in request.query):
        raise Denied(Kind.BAD_REQUEST, NOT_VERSION_4)
    raise Denied(Kind.MISSING, "The request carries no Signature Version 4")


def _from_header(request: Request) -> Claim:
    if request.headers["Authorization"].startswith("AWS "):
        raise Denied(Kind.BAD_REQUEST, NOT_VERSION_4)
    match = _AUTHORIZATION.fullmatch(request.headers["Authorization"])
    if not match:
        raise Denied(Kind.MALFORMED, f"The Authorization header is no well-formed {ALGORITHM}")
    return checked(
        Kind.MALFORMED,
        credential=match[1],
        stamp=request.headers.get("X-Amz-Date") or _stamp_of_date(request.headers.get("Date", "")),
        names=match[2],
        signature=match[3],
        token=request.headers.get("X-Amz-Security-Token", ""),
    )


def _from_query(request: Request) -> Claim:
    counts = Counter(name for name, _ in request.query)
    if any(counts[name] > 1 for name in (*QUERY_NAMES, "X-Amz-Security-Token", "X-Amz-Content-Sha256")):
        raise Denied(Kind.BAD_QUERY, "A query parameter of the signature stands there twice")
    found = {name: unquote(value) for name, value in request.query}
    missing = [name for name in QUERY_NAMES if not found.get(name)]
    if missing or found["X-Amz-Algorithm"] != ALGORITHM:
        raise Denied(Kind.BAD_QUERY, f"A presigned URL needs {', '.join(missing) or ALGORITHM}")
    seconds = found["X-Amz-Expires"]
    if not re.fullmatch(r"[0-9]{1,6}", seconds) or not 1 <= int(seconds) <= MAX_SECONDS:
        raise Denied(Kind.BAD_QUERY, f"X-Amz-Expires must be a number from 1 to {MAX_SECONDS}")
    return checked(
        Kind.BAD_QUERY,
        credential=found["X-Amz-Credential"],
        stamp=found["X-Amz-Date"],
        names=found["X-Amz-SignedHeaders"],
        signature=found["X-Amz-Signature"],
        token=found.get("X-Amz-Security-Token", ""),
        seconds=int(seconds),
    )


def checked(
    kind: Kind, *, credential: str, stamp: str, names: str, signature: str, token: str, seconds: int | None = None
) -> Claim:
    """Return a claim of valid parts. Raises Denied of that kind if one is not."""
    scope = _CREDENTIAL.fullmatch(credential)
    if not scope or not _valid_stamp(stamp) or stamp[:8] != scope[2]:
        raise Denied(
            kind, "The credential must be KEY/DATE/REGION/SERVICE/aws4_request, of the same date as the request"
        )
    listed = tuple(names.split(";"))
    if not _NAMES.fullmatch(names) or list(listed) != sorted(set(listed)) or not _HEX.fullmatch(signature):
        raise Denied(kind, "SignedHeaders must be sorted names in small letters, and the signature 64 hex digits")
    return Claim(
        access_key=scope[1],
        date=scope[2],
        region=scope[3],
        service=scope[4],
        stamp=stamp,
        names=listed,
        signature=signature,
        token=token,
        seconds=seconds,
    )


def service_of(environ: WSGIEnvironment) -> str:
    """Return the service that a request names in its credential scope, however broken the rest of it; empty if none."""
    text = f"{environ.get('HTTP_AUTHORIZATION', '')} {unquote(environ.get('QUERY_STRING', ''))}"
    match = re.search(r"/[0-9]{8}/[^/\s]*/([a-z0-9-]{1,64})/aws4_request", text)
    return match[1] if match else ""


def _stamp_of_date(date: str) -> str:
    """A Date header may stand in for X-Amz-Date. HTTP says GMT there, botocore -0000."""
    try:
        day = datetime.strptime(date.replace(" GMT", " +0000"), "%a, %d %b %Y %H:%M:%S %z")
    except ValueError:
        return date
    return day.astimezone(UTC).strftime(STAMP)


def _valid_stamp(stamp: str) -> bool:
    if not _STAMP.fullmatch(stamp):
        return False
    try:
        datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def executed_path(path: str, service: str) -> str:
    """Return the one spelling of a path that both the signature and the application are to see.

    S3 takes the path as it is, since `//` and `..` are good keys there; everywhere else it is first normalised.
    """
    if service == "s3":
        return quote(unquote_to_bytes(path), safe="/~")
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept[-1:] = []
        elif segment not in ("", "."):
            kept.append(segment)
    return f"/{'/'.join(kept)}{'/' if kept and path.endswith('/') else ''}"


def canonical_query(query: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a query, decoded and encoded again the one way that is signed, and sorted."""
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return tuple(sorted((_encoded(name), _encoded(value)) for name, _, value in pairs))


def _encoded(text: str) -> str:
    # What reads a query string behind the gate takes + for a blank, so that is what must have been signed.
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="~")


def string_to_sign(request: Request, claim: Claim, body: str) -> str:
    """Return what the signature is made over; `body` is the hash of the body, or the word that stands for it.

    Raises Denied if a signed header is not there.
    """
    path = executed_path(request.path, claim.service)
    missing = [name for name in claim.names if name not in request.headers]
    if missing:
        raise Denied(Kind.MISMATCH, f"The signed header {missing[0]} is not in the request")
    canonical = "\n".join(
        (
            request.method,
            path if claim.service == "s3" else quote(path, safe="/~"),
            "&".join(f"{name}={value}" for name, value in request.query if name != "X-Amz-Signature"),
            *(f"{name}:{_BLANKS.sub(' ', request.headers[name]).strip(' ')}" for name in claim.names),
            "",
            ";".join(claim.names),
            body,
        )
    )
    # Header values are bytes, which WSGI shows as Latin-1.
    return f"{ALGORITHM}\n{claim.stamp}\n{claim.scope}\n{sha256(canonical.encode('latin-1')).hexdigest()}"


def signing_key(secret: str, claim: Claim) -> bytes:
    """Return the key of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (claim.date, claim.region, claim.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(key: bytes, text: str) -> str:
    """Return the signature of a text, in hex."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def same(expected: str, given: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(expected.encode(), given.encode())
