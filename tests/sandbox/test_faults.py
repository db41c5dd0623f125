import io
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import msgspec
import pytest

from ssm_deployer.sandbox.faults import CONTROL_PATH, FaultLayer, Faults, InstanceFaults, Rule, operation


class Socket:
    """A connection that remembers being shut down."""

    closed = False

    def shutdown(self, _how: int) -> None:
        self.closed = True


class Bench:
    """The layer over an application that counts its calls."""

    def __init__(self, *rules: Rule) -> None:
        self.reached = 0
        self.changes = 0
        self.waits: list[float] = []
        self.layer = FaultLayer(self._app, self._changed, self.waits.append)
        self.layer.set(Faults(rules=rules))

    def _app(self, _environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.reached += 1
        start_response("200 OK", [])
        return [b"ok"]

    def _changed(self) -> None:
        self.changes += 1

    def call(self, **environ: Any) -> tuple[str, bytes]:
        statuses: list[str] = []
        full = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO(), **environ}
        body = b"".join(self.layer(full, lambda status, _headers: statuses.append(status)))  # type: ignore[arg-type]  # no write()
        return statuses[0], body


SEND = {"HTTP_X_AMZ_TARGET": "AmazonSSM.SendCommand", "REQUEST_METHOD": "POST"}


def form(body: bytes) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }


def got(service: str, query: str) -> dict[str, Any]:
    scope = f"AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/{service}/aws4_request"
    return {"REQUEST_METHOD": "GET", "QUERY_STRING": query, "HTTP_AUTHORIZATION": scope}


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        (SEND, "SendCommand"),
        ({"REQUEST_METHOD": "PUT"}, "s3:PUT"),
        (form(b"Action=DescribeInstances&Version=1"), "DescribeInstances"),
        (form(b"Version=1&Action=GetCallerIdentity"), "GetCallerIdentity"),
        (form(b"MyAction=x"), "s3:POST"),
        (form(b"Action=CreateTags&" + b"x" * 2_000_000), "CreateTags"),
        (got("ec2", "Version=1&Action=RebootInstances"), "RebootInstances"),
        (got("s3", "Action=RebootInstances"), "s3:GET"),
    ],
)
def test_requests_have_the_name_of_their_operation(environ: dict[str, Any], name: str) -> None:
    assert operation(environ) == name


def test_a_form_can_still_be_read_after_it_was_named() -> None:
    environ = form(b"Action=RunInstances")
    operation(environ)
    assert environ["wsgi.input"].read() == b"Action=RunInstances"


def test_without_faults_requests_pass() -> None:
    assert Bench().call(**SEND) == ("200 OK", b"ok")


def test_throttling_reaches_only_its_operation_and_stops_after_its_times() -> None:
    bench = Bench(Rule(operation="SendCommand", fault="throttle", times=2))
    statuses = [bench.call(**SEND)[0] for _ in range(3)]
    assert statuses == ["400 Bad Request", "400 Bad Request", "200 OK"]
    assert bench.call()[0] == "200 OK"
    assert bench.reached == 2


@pytest.mark.parametrize(
    ("environ", "fault", "status", "code"),
    [
        (SEND, "throttle", "400 Bad Request", b"ThrottlingException"),
        (SEND, "error", "500 Internal Server Error", b"InternalServerError"),
        ({}, "throttle", "503 Slow Down", b"<Code>SlowDown</Code>"),
        ({}, "error", "500 Internal Server Error", b"<Code>InternalError</Code>"),
        (form(b"Action=X"), "throttle", "503 Service Unavailable", b"<Code>RequestLimitExceeded</Code>"),
        (form(b"Action=X"), "error", "500 Internal Server Error", b"<Code>InternalError</Code>"),
        (SEND, "deny", "400 Bad Request", b"AccessDeniedException"),
        ({}, "deny", "403 Forbidden", b"<Code>AccessDenied</Code>"),
        (form(b"Action=X"), "deny", "403 Forbidden", b"<Code>UnauthorizedOperation</Code>"),
        (SEND, "skew", "400 Bad Request", b"InvalidSignatureException"),
        ({}, "skew", "403 Forbidden", b"<Code>RequestTimeTooSkewed</Code>"),
        (form(b"Action=X"), "skew", "400 Bad Request", b"<Code>RequestExpired</Code>"),
    ],
)
def test_each_protocol_is_refused_in_its_own_words(
    environ: dict[str, Any], fault: Any, status: str, code: bytes
) -> None:
    bench = Bench(Rule(operation="*", fault=fault))
    got, body = bench.call(**environ)
    assert got == status
    assert code in body
    assert bench.reached == 0


def test_a_rate_strikes_that_share() -> None:
    bench = Bench(Rule(operation="*", fault="throttle", rate=0.3))
    struck = sum(bench.call(**SEND)[0] != "200 OK" for _ in range(1_000))
    assert 250 < struck < 350


def test_slow_waits_and_then_answers() -> None:
    bench = Bench(Rule(operation="*", fault="slow", seconds=7))
    assert bench.call() == ("200 OK", b"ok")
    assert bench.waits == [7]


def test_slow_has_a_limit() -> None:
    bench = Bench(Rule(operation="*", fault="slow", seconds=1e9))
    bench.call()
    assert bench.waits == [60]


def test_lost_carries_out_and_closes_the_connection() -> None:
    bench = Bench(Rule(operation="*", fault="lost"))
    connection = Socket()
    with pytest.raises(ConnectionResetError):
        bench.call(**{"werkzeug.socket": connection})
    assert bench.reached == 1
    assert connection.closed


def test_faults_are_set_and_read_back_over_the_control_path() -> None:
    bench = Bench()
    wanted = Faults(
        rules=(Rule(operation="SendCommand", fault="error"),), instances={"i-1": InstanceFaults(agent="silent")}
    )
    body = msgspec.json.encode(wanted)
    status, answer = bench.call(
        REQUEST_METHOD="POST", PATH_INFO=CONTROL_PATH, CONTENT_LENGTH=str(len(body)), **{"wsgi.input": io.BytesIO(body)}
    )
    assert status == "200 OK"
    assert msgspec.json.decode(answer, type=Faults) == bench.layer.current == wanted
    assert bench.call(PATH_INFO=CONTROL_PATH)[1] == answer
    assert bench.changes == 1


@pytest.mark.parametrize(
    ("fault", "reached", "waits"),
    [("deny", False, []), ("error", False, []), ("skew", False, []), ("lost", True, []), ("slow", True, [3])],
)
def test_what_an_instance_uploads_is_struck_too(fault: Any, reached: bool, waits: list[float]) -> None:
    bench = Bench(Rule(operation="s3:PUT", fault=fault, seconds=3))
    assert bench.layer.reaches("s3:PUT") is reached
    assert bench.layer.reaches("s3:GET")
    assert bench.waits == waits


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"x": 1}',
        b'{"rules": [{"operation": "x", "fault": "odd"}]}',
        b'{"rules": [{"operation": "x", "fault": "deny", "rate": 1.1}]}',
        b'{"rules": [{"operation": "x", "fault": "deny", "rate": -0.1}]}',
        b'{"rules": [{"operation": "x", "fault": "deny", "times": -1}]}',
        b'{"rules": [{"operation": "x", "fault": "slow", "seconds": -1}]}',
        b'{"rules": [{"operation": "x", "fault": "slow", "seconds": 1e308}]}',
        b'{"delivery_seconds": 1e308}',
        b'{"visible_seconds": -1}',
        b'{"ramp_seconds": 1e999}',
        b'{"instances": {"i-1": {"disk_bytes": 0}}}',
        b'{"instances": {"i-1": {"hidden": ["/usr/bin/curl"]}}}',
        b'{"instances": {"i-1": {"hidden": [""]}}}',
    ],
)
def test_nonsense_changes_nothing(body: bytes) -> None:
    bench = Bench()
    status, _ = bench.call(
        REQUEST_METHOD="POST", PATH_INFO=CONTROL_PATH, CONTENT_LENGTH=str(len(body)), **{"wsgi.input": io.BytesIO(body)}
    )
    assert status == "400 Bad Request"
    assert bench.layer.current == Faults()
    assert bench.changes == 0


def test_a_huge_body_is_refused_unread() -> None:
    bench = Bench()
    status, _ = bench.call(REQUEST_METHOD="POST", PATH_INFO=CONTROL_PATH, CONTENT_LENGTH=str(1 << 30))
    assert status == "400 Bad Request"
