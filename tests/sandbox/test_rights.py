from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from sandbox import gate_bench
from sandbox.gate_bench import KEY, Sent, sign

from ssm_deployer.sandbox.faults import CONTROL_PATH
from ssm_deployer.sandbox.rights import Rights

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
IDENTITY = b"Action=GetCallerIdentity&Version=2011-06-15"
SEND = {"X-Amz-Target": "AmazonSSM.SendCommand", "Content-Type": "application/x-amz-json-1.1"}


class Bench(gate_bench.Bench):
    """The gate, rights and a recording application."""

    def __init__(self, *limited: str) -> None:
        super().__init__()
        inner = self._app
        self._rights = Rights(inner, limited)
        self._app = self._limited  # type: ignore[method-assign]  # what the gate calls
        self.gate = type(self.gate)(self._limited, self.credentials, clock=lambda: gate_bench.NOW)

    def _limited(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._rights(environ, start_response)


@pytest.mark.parametrize(
    "sent",
    [
        sign("GET", "/bucket/key"),
        sign("PUT", "/bucket/key", b"body"),
        sign("GET", "/bucket/key", how="presigned"),
        sign("POST", "/", IDENTITY, FORM, how="other", service="sts"),
    ],
)
def test_the_instances_role_may_use_s3_and_ask_who_it_is(sent: Sent) -> None:
    Bench(KEY).passes(sent)


@pytest.mark.parametrize(
    ("sent", "protocol", "code"),
    [
        (sign("POST", "/", b"{}", SEND, how="other", service="ssm"), "json", "AccessDeniedException"),
        (sign("POST", "/", b"{}", SEND, service="s3"), "json", "AccessDeniedException"),
        (sign("POST", "/", b"Action=CreateAccessKey", FORM, how="other", service="iam"), "query", "AccessDenied"),
        (sign("POST", "/", b"Action=AssumeRole", FORM, how="other", service="sts"), "query", "AccessDenied"),
        (sign("POST", "/", IDENTITY, FORM, how="other", service="ec2"), "ec2", "UnauthorizedOperation"),
        (sign("GET", "/?Action=RunInstances", how="other", service="ec2"), "ec2", "UnauthorizedOperation"),
        (sign("POST", CONTROL_PATH, b"{}", service="s3"), "rest-xml", "AccessDenied"),
        (sign("POST", CONTROL_PATH, b"{}", how="other", service="ssm"), "query", "AccessDenied"),
    ],
)
def test_the_instances_role_may_do_nothing_else(sent: Sent, protocol: str, code: str) -> None:
    assert Bench(KEY).refused(sent, protocol) == code
    Bench().passes(sent)


@pytest.mark.parametrize("path", ["/moto-api/reset", "/moto-api/"])
@pytest.mark.parametrize("limited", [(), (KEY,)])
def test_motos_own_api_is_closed_to_everyone(path: str, limited: tuple[str, ...]) -> None:
    sent: Any = sign("POST", path, service="s3")
    assert Bench(*limited).refused(sent) == "AccessDenied"
