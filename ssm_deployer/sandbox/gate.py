"""The guard before an endpoint that executes commands: nothing passes that its owner's keys did not sign.

What was verified is what runs: the application behind sees the path, the scope and the body that the signature covers.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from threading import BoundedSemaphore
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, unquote_to_bytes
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.wsgi import ClosingIterator

from ssm_deployer.sandbox import gate_post, sigv4
from ssm_deployer.sandbox.denial import Denied, Kind, answer
from ssm_deployer.sandbox.gate_body import STREAMS, Body, Chain, receive, receive_form, receive_stream

ACCESS_KEY = "ssm_deploy.access_key"
SKEW_SECONDS = 900
MAX_OBJECT = 5 * 1024**3
MAX_FORM = 1024**3
MAX_FORM_HEAD = 320 * 1024
"""What is read of a form before it is known who signed it: gate_post.MAX_FIELD, and what is around that."""
STRANGERS = 8
"""How many such forms are read at once, so that whoever sends them slowly takes no place from others."""
STRANGER_SECONDS = 1.0
MAX_CALL = 16 * 1024**2
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
UNSIGNED = "UNSIGNED-PAYLOAD"
_NONE: Mapping[str, str] = MappingProxyType({})
_NEVER: Mapping[str, float] = MappingProxyType({})
_HASH = re.compile(r"[0-9a-f]{64}")


class Gate:
    """A WSGI application that lets signed requests through to `app`, with `ssm_deploy.access_key` in the environ.

    Everything else is refused in the words of the service: unsigned, tampered, expired and replayed requests, those of
    Signature Version 2, and whatever a browser sends on a web page's behalf (an Origin, a foreign Host).

    Args:
        app: what is guarded.
        credentials: secret by access key, asked on every request.
        tokens: session token by access key, for those keys that have one.
        expirations: when a key ends, in seconds since the epoch, for those keys that do.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        app: WSGIApplication,
        credentials: Mapping[str, str],
        *,
        tokens: Mapping[str, str] = _NONE,
        expirations: Mapping[str, float] = _NEVER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._tokens = tokens
        self._expirations = expirations
        self._clock = clock
        self._strangers = BoundedSemaphore(STRANGERS)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on, or refuse it."""
        body = Body()
        with ExitStack() as held:
            held.callback(body.close)
            try:
                admitted = self._admit(environ, body)
            except Denied as denied:
                return answer(denied, environ, sigv4.service_of(environ), start_response)
            # Called here and not in the iterator: the server limits how many requests are inside at once.
            return ClosingIterator(self._app(admitted, _without_cors(start_response)), held.pop_all().close)

    def _admit(self, environ: WSGIEnvironment, body: Body) -> WSGIEnvironment:
        _check_origin(environ)
        request = sigv4.Request.read(environ)
        if gate_post.is_form(request):
            return self._admit_form(environ, request, body)
        claim = sigv4.claim_of(request)
        key = self._key(claim)
        self._check_time(claim)
        _check_names(request, claim)
        self._receive(environ, request, claim, key, body)
        admitted = _admitted(environ, request, claim, body)
        if claim.service == "s3" and environ.get("CONTENT_TYPE", "").strip().lower().startswith(FORMS):
            # moto would parse a form that `curl --data-binary` puts, and store the name of its last field instead.
            admitted["CONTENT_TYPE"] = "binary/octet-stream"
        return admitted

    def _admit_form(self, environ: WSGIEnvironment, request: sigv4.Request, body: Body) -> WSGIEnvironment:
        if not self._strangers.acquire(timeout=STRANGER_SECONDS):
            raise Denied(Kind.NO_ROOM, "Too many forms are being sent")
        with ExitStack() as held:
            held.callback(self._strangers.release)

            def known(head: bytes) -> None:
                claim, policy = gate_post.signed(request, head)
                gate_post.check_signature(claim, policy, self._key(claim))
                held.close()

            receive_form(body, environ, MAX_FORM, MAX_FORM_HEAD, known)
        form = gate_post.read(request, body)
        key = self._key(form.claim)
        gate_post.check(form, key, self._clock())
        body.file.seek(0)
        return _admitted(environ, request, form.claim, body)

    def _key(self, claim: sigv4.Claim) -> bytes:
        """The signing key of a claim. Raises Denied for a key that is unknown or has ended, or a token not its own."""
        secret = self._credentials.get(claim.access_key)
        if secret is None:
            raise Denied(Kind.UNKNOWN_KEY, "The access key does not exist here")
        if not sigv4.same(self._tokens.get(claim.access_key, ""), claim.token):
            raise Denied(Kind.BAD_TOKEN, "The session token is not the one of this access key")
        if self._clock() >= self._expirations.get(claim.access_key, math.inf):
            raise Denied(Kind.TOKEN_EXPIRED, "The provided token has expired.")
        return sigv4.signing_key(secret, claim)

    def _check_time(self, claim: sigv4.Claim) -> None:
        age = self._clock() - claim.signed_at
        if claim.seconds is None and abs(age) > SKEW_SECONDS:
            raise Denied(Kind.SKEWED, f"Signature expired or not yet valid: {claim.stamp} is not the time here")
        if claim.seconds is not None and age > claim.seconds:
            raise Denied(Kind.EXPIRED, "Request has expired")
        if age < -SKEW_SECONDS:
            raise Denied(Kind.EXPIRED, "Request is not yet valid")

    @staticmethod
    def _receive(environ: WSGIEnvironment, request: sigv4.Request, claim: sigv4.Claim, key: bytes, body: Body) -> None:
        """Check the signature, and receive the body that it covers; the first before the second where that can be."""
        word = _body_word(request, claim)
        limit = MAX_OBJECT if claim.service == "s3" else MAX_CALL
        if word:
            _check_signature(request, claim, key, word)
        if word in STREAMS:
            receive_stream(body, environ, limit, Chain(key, claim) if STREAMS[word] else None)
            return
        receive(body, environ, limit)
        if not word:
            _check_signature(request, claim, key, body.sha256)
        elif word != UNSIGNED and not sigv4.same(word, body.sha256):
            raise Denied(
                Kind.BODY_DIFFERS, "The provided 'x-amz-content-sha256' header does not match what was computed."
            )


def _check_origin(environ: WSGIEnvironment) -> None:
    """Refuse what comes from a web page, also from one whose name was rebound to this address."""
    if "HTTP_ORIGIN" in environ:
        raise Denied(Kind.FORBIDDEN, "No web page may talk to the sandbox")
    port = environ["SERVER_PORT"]
    if environ.get("HTTP_HOST") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
        raise Denied(Kind.FORBIDDEN, "The sandbox answers on 127.0.0.1 only; buckets stand in the path")


def _check_names(request: sigv4.Request, claim: sigv4.Claim) -> None:
    """Refuse headers that change a request's meaning and are not signed."""
    # As WSGI names them: there `-` and `_` are one, and so they are for what reads them behind.
    signed = {name.replace("_", "-") for name in claim.names}
    sent = {name.lower() for name in request.headers.keys()}  # noqa: SIM118  # headers iterate over pairs
    if "host" not in signed:
        raise Denied(Kind.MISMATCH, "The Host header must be signed")
    if claim.seconds is None and not signed & {"x-amz-date", "date"}:
        raise Denied(Kind.MISMATCH, "The date of the request must be signed")
    unsigned = sorted(name for name in sent - signed if name.startswith("x-amz-"))
    if unsigned:
        raise Denied(Kind.UNSIGNED, f"There were headers present in the request which were not signed: {unsigned[0]}")


def _body_word(request: sigv4.Request, claim: sigv4.Claim) -> str:
    """Return what stands for the body in what was signed; empty where that is its real hash, as outside S3."""
    word: str = request.headers.get("X-Amz-Content-Sha256", "")
    if not word and claim.seconds is not None:
        word = unquote(dict(request.query).get("X-Amz-Content-Sha256", "")) or (
            UNSIGNED if claim.service == "s3" else ""
        )
    streamed = word in STREAMS and claim.service == "s3" and claim.seconds is None
    if _HASH.fullmatch(word) or streamed or (word == UNSIGNED and claim.service == "s3"):
        return word
    if word or claim.service == "s3":
        raise Denied(Kind.BAD_REQUEST, "x-amz-content-sha256 must be the body's hash, or a word that S3 has for it")
    return ""


def _check_signature(request: sigv4.Request, claim: sigv4.Claim, key: bytes, word: str) -> None:
    if not sigv4.same(sigv4.signature(key, sigv4.string_to_sign(request, claim, word)), claim.signature):
        raise Denied(
            Kind.MISMATCH,
            "The request signature we calculated does not match the signature you provided. Check your key.",
        )


def _admitted(environ: WSGIEnvironment, request: sigv4.Request, claim: sigv4.Claim, body: Body) -> WSGIEnvironment:
    """Return the environ that the application gets: with nothing in it that the signature does not stand for."""
    path = sigv4.executed_path(request.path, claim.service)
    uri = f"{path}?{request.query_string}" if request.query_string else path
    admitted = {
        **environ,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in body.trailers.items()},
        ACCESS_KEY: claim.access_key,
        "RAW_URI": uri,
        "REQUEST_URI": uri,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": request.query_string,
        "CONTENT_LENGTH": str(body.length),
        "wsgi.input": body.file,
        # moto chooses the service by this header, and without it by the body, which a presigned URL leaves open.
        "HTTP_AUTHORIZATION": f"{sigv4.ALGORITHM} Credential={claim.access_key}/{claim.scope}, "
        f"SignedHeaders={';'.join(claim.names)}, Signature={claim.signature}",
    }
    for name in ("HTTP_TRANSFER_ENCODING", "wsgi.input_terminated"):
        admitted.pop(name, None)
    return _unframed(admitted)


def _unframed(admitted: WSGIEnvironment) -> WSGIEnvironment:
    """Say no more of frames that the body has no more."""
    if admitted.get("HTTP_X_AMZ_CONTENT_SHA256") in STREAMS:
        admitted["HTTP_X_AMZ_CONTENT_SHA256"] = UNSIGNED
        admitted.pop("HTTP_X_AMZ_DECODED_CONTENT_LENGTH", None)
        admitted.pop("HTTP_X_AMZ_TRAILER", None)
        codings = [each.strip() for each in admitted.pop("HTTP_CONTENT_ENCODING", "").split(",")]
        kept = ",".join(each for each in codings if each not in ("", "aws-chunked"))
        if kept:
            admitted["HTTP_CONTENT_ENCODING"] = kept
    return admitted


def _without_cors(start_response: StartResponse) -> StartResponse:
    def started(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:  # noqa: ANN401  # as WSGI has it
        kept = [pair for pair in headers if not pair[0].lower().startswith("access-control-")]
        return start_response(status, kept, *exc_info)

    return started
