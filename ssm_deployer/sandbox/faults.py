"""How the sandbox misbehaves on request: in its API and per instance.

A `Faults` value is set whole by `POST /_ssm-deploy/faults` and read back by GET, signed like any other request.
"""

import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Annotated, Literal
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import msgspec
from msgspec import Meta

from ssm_deployer.sandbox.sigv4 import service_of

CONTROL_PATH = "/_ssm-deploy/faults"
MAX_FAULTS = 1 << 20
MAX_SECONDS = 60.0
MESSAGE = "A fault that was asked for"
REFUSALS = {
    "json": {
        "throttle": ("ThrottlingException", "400 Bad Request"),
        "error": ("InternalServerError", "500 Internal Server Error"),
        "deny": ("AccessDeniedException", "400 Bad Request"),
        "skew": ("InvalidSignatureException", "400 Bad Request"),
    },
    "s3": {
        "throttle": ("SlowDown", "503 Slow Down"),
        "error": ("InternalError", "500 Internal Server Error"),
        "deny": ("AccessDenied", "403 Forbidden"),
        "skew": ("RequestTimeTooSkewed", "403 Forbidden"),
    },
    "query": {
        "throttle": ("RequestLimitExceeded", "503 Service Unavailable"),
        "error": ("InternalError", "500 Internal Server Error"),
        "deny": ("UnauthorizedOperation", "403 Forbidden"),
        "skew": ("RequestExpired", "400 Bad Request"),
    },
}
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
_ACTION = re.compile(rb"(?:^|&)Action=([A-Za-z0-9]+)")


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way in which some requests go wrong.

    Attributes:
        operation: the API operation (`SendCommand`, `DescribeInstances`), for S3 `s3:` and the method, or `*`.
        fault: `throttle`, `error` and `deny` refuse, `skew` as if the signer's clock were wrong; `slow` waits `seconds`
            first; `lost` carries the request out and then drops the connection without an answer.
        rate: share of the matching requests, 0..1.
        times: how many requests go wrong at most, None for no limit.
        seconds: for `slow`.
    """

    operation: str
    fault: Literal["throttle", "error", "deny", "skew", "slow", "lost"]
    rate: Annotated[float, Meta(ge=0, le=1)] = 1.0
    times: Annotated[int, Meta(ge=0)] | None = None
    seconds: Seconds = 0.0


class InstanceFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one instance differs from a healthy one; `hidden` and `disk_bytes` hold from its next boot.

    Attributes:
        agent: `silent` has lost touch: it gets no message and no cancel, and reports nothing until it is back, while
            what it runs lives on; `missing` was never registered.
        platform: Windows cannot run anything here.
        denied: an IAM condition refuses Run Command on it.
        hidden: programs that it does not have.
        disk_bytes: size of each of its temporary and home directories.
        duplicate: each message reaches its agent twice.
    """

    agent: Literal["online", "silent", "missing"] = "online"
    platform: Literal["Linux", "Windows"] = "Linux"
    denied: bool = False
    hidden: tuple[Annotated[str, Meta(pattern="^[^/\\x00]+$")], ...] = ()
    disk_bytes: Annotated[int, Meta(ge=1)] | None = None
    duplicate: bool = False


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is wrong at present.

    Attributes:
        rules: the first that matches a request and strikes decides.
        instances: by instance id.
        visible_seconds: until then GetCommandInvocation knows nothing of a command.
        delivery_seconds: until then a command is not sent.
        ramp_seconds: after each of these the invocations under way may double.
        seed: of the dice behind `rate`.
    """

    rules: tuple[Rule, ...] = ()
    instances: dict[str, InstanceFaults] = {}
    visible_seconds: Seconds = 0.1
    delivery_seconds: Seconds = 0.2
    ramp_seconds: Seconds = 0.03
    seed: int = 0


class FaultLayer:
    """Lets requests go wrong as the current faults say, and takes new ones.

    Args:
        app: the WSGI application behind.
        changed: called after the faults were set.
        sleep: waits that many seconds.
    """

    def __init__(
        self, app: WSGIApplication, changed: Callable[[], None], sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._app = app
        self._changed = changed
        self._sleep = sleep
        self._lock = threading.Lock()
        self.set(Faults())

    def set(self, faults: Faults) -> None:
        """Replace all faults."""
        with self._lock:
            self.current = faults
            self._dice = random.Random(faults.seed)  # noqa: S311  # dice, no secret
            self._left = [rule.times for rule in faults.rules]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the control path, or pass the request on, or let it go wrong."""
        if environ.get("PATH_INFO") == CONTROL_PATH:
            return self._control(environ, start_response)
        rule = self._strikes(operation(environ)) if self.current.rules else None
        if rule is None:
            return self._app(environ, start_response)
        if rule.fault == "slow":
            self._sleep(min(rule.seconds, MAX_SECONDS))
            return self._app(environ, start_response)
        if rule.fault == "lost":
            return self._lose(environ)
        return _refuse(environ, start_response, rule.fault)

    def reaches(self, name: str) -> bool:
        """Whether a request that the sandbox makes itself, in an instance's name, is carried out; a slow one waits."""
        rule = self._strikes(name)
        if rule is not None and rule.fault == "slow":
            self._sleep(min(rule.seconds, MAX_SECONDS))
        return rule is None or rule.fault in ("slow", "lost")

    def _strikes(self, name: str) -> Rule | None:
        with self._lock:
            for number, rule in enumerate(self.current.rules):
                left = self._left[number]
                if rule.operation in ("*", name) and left != 0 and self._dice.random() < rule.rate:
                    self._left[number] = None if left is None else left - 1
                    return rule
        return None

    def _lose(self, environ: WSGIEnvironment) -> Iterable[bytes]:
        answer = self._app(environ, lambda *_: lambda _body: None)
        if hasattr(answer, "close"):
            answer.close()
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        # The server answers this with silence: it takes it for the client's doing.
        raise ConnectionResetError

    def _control(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            if int(environ.get("CONTENT_LENGTH") or 0) > MAX_FAULTS:
                return _complain(start_response, "The body is larger than 1 MB")
            try:
                self.set(msgspec.json.decode(_take(environ), type=Faults))
            except (msgspec.DecodeError, ValueError) as error:
                return _complain(start_response, str(error))
            self._changed()
        return _answer(start_response, "200 OK", "application/json", msgspec.json.encode(self.current))


def operation(environ: WSGIEnvironment) -> str:
    """Return which API operation a request is, as `Rule.operation` names it; an EC2 form is left readable."""
    target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
    if target:
        return target.partition(".")[2]
    if match := _ACTION.search(query(environ)):
        return match[1].decode("ascii")
    return f"s3:{environ['REQUEST_METHOD']}"


def query(environ: WSGIEnvironment) -> bytes:
    """Return the parameters of a call of EC2, IAM or STS, which a POST carries as a form and a GET in its URL."""
    if str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded"):
        return _take(environ)
    elsewhere = service_of(environ) in ("", "s3") or environ["REQUEST_METHOD"] != "GET"
    return b"" if elsewhere else str(environ.get("QUERY_STRING", "")).encode("latin-1")


def _take(environ: WSGIEnvironment) -> bytes:
    """Read the body, whose size the gate has bounded, and leave it to be read again."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = BytesIO(body)
    return body


def _refuse(
    environ: WSGIEnvironment, start_response: StartResponse, fault: Literal["throttle", "error", "deny", "skew"]
) -> Iterable[bytes]:
    """Refuse in the protocol of the service: JSON for SSM, XML for S3 and for EC2's and STS's queries."""
    protocol = "json" if environ.get("HTTP_X_AMZ_TARGET") else operation(environ).partition(":")[0]
    code, status = REFUSALS.get(protocol, REFUSALS["query"])[fault]
    error = f"<Error><Code>{code}</Code><Message>{MESSAGE}</Message></Error>"
    if protocol == "json":
        body = msgspec.json.encode({"__type": code, "message": MESSAGE})
        return _answer(start_response, status, "application/x-amz-json-1.1", body)
    text = error if protocol == "s3" else f"<Response><Errors>{error}</Errors></Response>"
    return _answer(start_response, status, "application/xml", text.encode())


def _complain(start_response: StartResponse, text: str) -> Iterable[bytes]:
    return _answer(start_response, "400 Bad Request", "application/json", msgspec.json.encode(text))


def _answer(start_response: StartResponse, status: str, kind: str, body: bytes) -> Iterable[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
