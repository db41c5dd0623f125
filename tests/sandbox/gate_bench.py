"""A gate with a recording application behind it, and requests for it as botocore signs them."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote_to_bytes, urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

from botocore.auth import BaseSigner, S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.parsers import create_parser

from ssm_deployer.sandbox.gate import ACCESS_KEY, Gate

PORT = 4321
NOW = 1_767_268_800.0  # 2026-01-01, noon
BASE = f"http://127.0.0.1:{PORT}"
KEY = "AKIAEXAMPLE"
SECRET = "an-example-secret"
ME = Credentials(KEY, SECRET)
SIGNERS = {"header": S3SigV4Auth, "presigned": S3SigV4QueryAuth, "other": SigV4Auth}


@dataclass(frozen=True)
class Sent:
    """A request on the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    def with_header(self, name: str, value: str) -> "Sent":
        return replace(self, headers={**self.headers, name: value})

    def without(self, name: str) -> "Sent":
        return replace(self, headers={key: value for key, value in self.headers.items() if key != name})


@dataclass(frozen=True)
class Seen:
    """A request as the application behind the gate sees it."""

    method: str
    path: str
    query: str
    body: bytes
    access_key: str
    environ: WSGIEnvironment = field(compare=False)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def code(self, protocol: str) -> str:
        """The code that botocore makes of it."""
        raw = {"status_code": self.status, "headers": {k.lower(): v for k, v in self.headers}, "body": self.body}
        return str(create_parser(protocol).parse(raw, None)["Error"]["Code"])


class Bench:
    """Sends requests to a gate; `ahead` is how many seconds the gate's clock is ahead of the signer's."""

    def __init__(self, tokens: Mapping[str, str] | None = None) -> None:
        self.credentials = {KEY: SECRET}
        self.ahead = 0.0
        self.seen: list[Seen] = []
        self.expirations: dict[str, float] = {}
        self.gate = Gate(
            self._app,
            self.credentials,
            tokens=tokens or {},
            expirations=self.expirations,
            clock=lambda: NOW + self.ahead,
        )

    def _app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        assert environ["wsgi.input"].read() == b""
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "surrogateescape")
        seen = Seen(environ["REQUEST_METHOD"], path, environ["QUERY_STRING"], body, environ[ACCESS_KEY], environ)
        self.seen.append(seen)
        start_response("200 OK", [("Access-Control-Allow-Origin", "*"), ("X-Kept", "1")])
        return [b"done"]

    def send(self, sent: Sent, **more: Any) -> Answer:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            started.append((status, headers))

        answer = self.gate(environ(sent) | more, start_response)
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        ((status, headers),) = started
        return Answer(int(status.split()[0]), headers, body)

    def passes(self, sent: Sent, **more: Any) -> Seen:
        """Send a request that is let through; return what the application saw."""
        answer = self.send(sent, **more)
        assert (answer.status, answer.body) == (200, b"done"), answer.body
        return self.seen[-1]

    def refused(self, sent: Sent, protocol: str = "rest-xml", **more: Any) -> str:
        """Send a request that must not reach the application; return the code of the answer."""
        before = len(self.seen)
        answer = self.send(sent, **more)
        assert len(self.seen) == before
        assert answer.status in (400, 403)
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]
        return answer.code(protocol)


def environ(sent: Sent) -> WSGIEnvironment:
    """What werkzeug's server makes of a request."""
    path, _, query = sent.target.partition("?")
    made: WSGIEnvironment = {
        "REQUEST_METHOD": sent.method,
        "SERVER_PORT": str(PORT),
        "RAW_URI": sent.target,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(sent.body)),
        "wsgi.input": io.BytesIO(sent.body),
    }
    for name, value in sent.headers.items():
        key = name.upper().replace("-", "_")
        made[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    return made


def sign(
    method: str,
    target: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    how: str = "header",
    service: str = "s3",
    who: Credentials = ME,
) -> Sent:
    """Return a request that botocore signed; `how` is a key of SIGNERS."""
    request = AWSRequest(method=method, url=BASE + target, data=body, headers=dict(headers or {}))
    return signed(request, SIGNERS[how](who, service, "us-east-1"))


def signed(request: AWSRequest, signer: BaseSigner) -> Sent:
    """Sign a request at NOW; return what goes over the wire."""
    with patch("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(NOW, UTC)):
        signer.add_auth(request)
    parts = urlsplit(request.url)
    sent = {"Host": parts.netloc, **{name: str(value) for name, value in request.headers.items()}}
    return Sent(request.method, parts.path + (f"?{parts.query}" if parts.query else ""), sent, request.data or b"")


def call(operation: str = "SendCommand", body: bytes = b"{}", **options: Any) -> Sent:
    """Return a signed call of SSM."""
    headers = {"X-Amz-Target": f"AmazonSSM.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    return sign("POST", "/", body, headers, how="other", service="ssm", **options)


def query_call(
    service: str = "sts", body: bytes = b"Action=GetCallerIdentity&Version=2011-06-15", **options: Any
) -> Sent:
    """Return a signed call of a Query service."""
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return sign("POST", "/", body, headers, how="other", service=service, **options)
