import base64
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.gate_bench import BASE, KEY, NOW, PORT, SECRET, Bench, Sent, sign
from urllib3.filepost import encode_multipart_formdata

from ssm_deployer.sandbox import sigv4
from ssm_deployer.sandbox.denial import Kind
from ssm_deployer.sandbox.gate import MAX_FORM_HEAD, STRANGERS
from ssm_deployer.sandbox.gate_post import MAX_FIELD

HOST = {"Host": f"127.0.0.1:{PORT}"}
SCOPE = "20260101/us-east-1/s3/aws4_request"
BASIC: dict[str, str] = {
    "key": "results/i-1/out",
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "x-amz-credential": f"{KEY}/{SCOPE}",
    "x-amz-date": "20260101T120000Z",
}
CONDITIONS: list[Any] = [
    {"bucket": "bucket"},
    ["starts-with", "$key", "results/"],
    ["content-length-range", 1, 10],
    *({name: value} for name, value in BASIC.items() if name != "key"),
]


def policy(conditions: object = None, expiration: object = "2026-01-01T13:00:00Z") -> str:
    document = {"expiration": expiration, "conditions": CONDITIONS if conditions is None else conditions}
    return base64.b64encode(json.dumps(document).encode()).decode()


def signature(text: str, service: str = "s3") -> str:
    claim = sigv4.checked(
        Kind.MISMATCH,
        credential=f"{KEY}/{SCOPE}".replace("s3", service),
        stamp="20260101T120000Z",
        names="host",
        signature="0" * 64,
        token="",
    )
    return sigv4.signature(sigv4.signing_key(SECRET, claim), text)


def form(
    fields: Mapping[str, str | None] | None = None,
    content: bytes = b"content",
    *,
    text: str | None = None,
    target: str = "/bucket",
    filename: str | None = "out.txt",
) -> Sent:
    """Return a form; `fields` change the basic ones, None leaves one out; `text` is the policy."""
    text = policy() if text is None else text
    sent = {**BASIC, "policy": text, "x-amz-signature": signature(text), **(fields or {})}
    return posted([(name, value) for name, value in sent.items() if value is not None], content, target, filename)


def posted(fields: Sequence[tuple[str, str]], content: bytes, target: str, filename: str | None = "out.txt") -> Sent:
    last: tuple[str, Any] = ("file", content if filename is None else (filename, content))
    body, content_type = encode_multipart_formdata([*fields, last], boundary="boundary")
    return Sent("POST", target, {**HOST, "Content-Type": content_type}, body)


def presigned(key: str, **options: Any) -> Mapping[str, Any]:
    client = boto3.session.Session().client(
        "s3",
        region_name="us-east-1",
        endpoint_url=BASE,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4"),
    )
    with patch("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(NOW, UTC)):
        made: Mapping[str, Any] = client.generate_presigned_post("bucket", key, **options)
    return made


def test_a_form_that_boto3_signed_passes() -> None:
    made = presigned("results/${filename}", Conditions=[["content-length-range", 1, 10]], ExpiresIn=10**9)
    sent = posted(list(made["fields"].items()), b"content", made["url"].removeprefix(BASE))
    bench = Bench()
    bench.ahead = 100.0
    seen = bench.passes(sent)
    assert (seen.path, seen.body, seen.access_key) == ("/bucket", sent.body, KEY)
    assert SCOPE in seen.environ["HTTP_AUTHORIZATION"]
    assert bench.refused(posted(list(made["fields"].items()), b"far too long", "/bucket")) == "EntityTooLarge"


@pytest.mark.parametrize("key", ["results/", "results/a b/ü+%?", "results/../x"])
def test_the_policy_leaves_the_rest_of_the_key_open(key: str) -> None:
    Bench().passes(form({"key": key}))


@pytest.mark.parametrize("filename", ["out.txt", None, "a/b", "\\x", ""])
def test_the_file_may_be_called_anything(filename: str | None) -> None:
    Bench().passes(form({"key": "results/${filename}"}, filename=filename))


def test_a_condition_on_the_key_is_on_the_key_as_it_will_be() -> None:
    text = policy([*CONDITIONS, {"key": "results/out.txt"}])
    Bench().passes(form({"key": "results/${filename}"}, text=text))
    assert Bench().refused(form({"key": "results/${filename}"}, text=text, filename="other")) == "AccessDenied"
    assert Bench().refused(form({"key": "results/${filename}"}, text=text, filename=None)) == "AccessDenied"
    empty = policy([*CONDITIONS, {"key": "results/"}])
    Bench().passes(form({"key": "results/${filename}"}, text=empty, filename=""))


def test_a_policy_that_was_signed_for_another_service_is_refused() -> None:
    scope = {"x-amz-credential": f"{KEY}/{SCOPE}".replace("s3", "ec2")}
    text = policy([each for each in CONDITIONS if "x-amz-credential" not in each] + [scope])
    fields = scope | {"x-amz-signature": signature(text, "ec2")}
    assert Bench().refused(form(fields, text=text)) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"key": "elsewhere"}, "AccessDenied"),
        ({"key": None}, "InvalidRequest"),
        ({"Key": "results/x"}, "InvalidRequest"),
        ({"Key": "results/x", "key": None}, "InvalidRequest"),
        ({"acl": "public-read"}, "AccessDenied"),
        ({"x-amz-meta-note": "x"}, "AccessDenied"),
        ({"success_action_redirect": "http://example.com"}, "AccessDenied"),
        ({"bucket": "bucket"}, "InvalidRequest"),
        ({"x-amz-signature": None}, "AccessDenied"),
        ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch"),
        ({"x-amz-signature": "x"}, "InvalidRequest"),
        ({"x-amz-algorithm": "AWS4-HMAC-SHA1"}, "InvalidRequest"),
        ({"x-amz-credential": f"{KEY}/20260101/us-east-1/ec2/aws4_request"}, "SignatureDoesNotMatch"),
        ({"x-amz-credential": f"OTHER/{SCOPE}"}, "InvalidAccessKeyId"),
        ({"x-amz-date": "20260101T120001Z"}, "AccessDenied"),
        ({"x-amz-security-token": "t"}, "InvalidToken"),
        ({"policy": policy([])}, "SignatureDoesNotMatch"),
        ({"policy": None}, "InvalidRequest"),
    ],
)
def test_a_form_that_the_policy_does_not_allow_is_refused(fields: Mapping[str, str | None], code: str) -> None:
    assert Bench().refused(form(fields)) == code


def test_a_field_that_is_to_be_ignored_needs_no_condition() -> None:
    Bench().passes(form({"x-ignore-note": "x"}))


@pytest.mark.parametrize(("size", "code"), [(0, "EntityTooSmall"), (1, ""), (10, ""), (11, "EntityTooLarge")])
@pytest.mark.parametrize("filename", ["out.txt", None])
def test_the_size_of_the_file_is_bounded(size: int, code: str, filename: str | None) -> None:
    sent = form(content=b"x" * size, filename=filename)
    if code:
        assert Bench().refused(sent) == code
    else:
        Bench().passes(sent)


@pytest.mark.parametrize(
    "conditions",
    [
        [each for each in CONDITIONS if each != {"bucket": "bucket"}],
        [each for each in CONDITIONS if each != {"bucket": "bucket"}] + [{"bucket": "other"}],
        [each for each in CONDITIONS if "$key" not in each],
        [*CONDITIONS, {"acl": "private"}],
        [*CONDITIONS, ["starts-with", "$acl", ""]],
        [],
    ],
)
def test_what_no_condition_allows_is_refused(conditions: object) -> None:
    assert Bench().refused(form(text=policy(conditions))) == "AccessDenied"


@pytest.mark.parametrize(
    "text",
    [
        "no base64!",
        base64.b64encode(b"no json").decode(),
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"[" * 100_000).decode(),
        policy(expiration="soon"),
        policy(expiration="2026-01-01T13:00:00"),
        policy(expiration=5),
        policy(5),
        policy(["eq", "$key"]),
        policy([*CONDITIONS, ["eq", "$key"]]),
        policy([*CONDITIONS, ["eq", "key", "results/i-1/out"]]),
        policy([*CONDITIONS, ["ends-with", "$key", "out"]]),
        policy([*CONDITIONS, ["content-length-range", "a", 5]]),
        policy([*CONDITIONS, ["content-length-range", -1, 5]]),
        policy([*CONDITIONS, ["eq", "$key", None]]),
        policy([*CONDITIONS, ["eq", ["$key"], "x"]]),
        policy([*CONDITIONS, {"key": True}]),
        policy([*CONDITIONS, {}]),
        policy([*CONDITIONS, {"key": "results/i-1/out", "acl": "x"}]),
    ],
)
def test_a_policy_that_is_none_is_refused(text: str) -> None:
    assert Bench().refused(form(text=text)) == "InvalidRequest"


@pytest.mark.parametrize(("ahead", "passes"), [(-910.0, False), (-800.0, True), (3_590.0, True), (3_610.0, False)])
def test_a_policy_is_in_force_until_it_expires(ahead: float, passes: bool) -> None:
    bench = Bench()
    bench.ahead = ahead
    if passes:
        bench.passes(form())
    else:
        assert bench.refused(form()) == "AccessDenied"


def test_a_policy_is_good_for_a_week_at_most() -> None:
    bench = Bench()
    sent = form(text=policy(expiration="2027-01-01T00:00:00.000Z"))
    bench.ahead = 7 * 86_400.0 - 10
    bench.passes(sent)
    bench.ahead = 7 * 86_400.0 + 10
    assert bench.refused(sent) == "AccessDenied"


@pytest.mark.parametrize("target", ["/bucket?delete", "/bucket/key", "/", "/bucket?uploads=", "/bucket//", "/bucket?"])
def test_a_form_cannot_become_another_request(target: str) -> None:
    """moto would read `POST /bucket?delete` as DeleteObjects, whatever its body is."""
    sent = form(target=target)
    if target == "/bucket?":
        Bench().passes(sent)
    else:
        assert Bench().refused(sent) == "AccessDenied"


@pytest.mark.parametrize("name", ["X-Amz-Target", "x-amz-acl", "x-amz-security-token"])
def test_a_form_cannot_bring_headers_with_it(name: str) -> None:
    assert Bench().send(form().with_header(name, "AmazonSSM.SendCommand")).status == 403


def test_a_form_from_a_web_page_is_refused() -> None:
    assert Bench().refused(form().with_header("Origin", "http://example.com")) == "AccessDenied"


def test_a_form_has_one_file_and_each_field_once() -> None:
    bench = Bench()
    good = form()
    first = b'--boundary\r\nContent-Disposition: form-data; name="'
    for more in (b'key"\r\n\r\nx', b'KEY"\r\n\r\nx'):
        assert bench.refused(replace(good, body=first + more + b"\r\n" + good.body)) == "InvalidRequest"
    for more in (b'file"; filename="b"\r\n\r\nx', b'other"; filename="b"\r\n\r\nx'):
        # The fields must come before the file, so this form has none.
        assert bench.refused(replace(good, body=first + more + b"\r\n" + good.body)) == "AccessDenied"
        twice = good.body[: good.body.rindex(first)] + first + more + b"\r\n" + good.body[good.body.rindex(first) :]
        assert bench.refused(replace(good, body=twice)) == "InvalidRequest"
    renamed = good.body.replace(b'name="file"', b'name="other"')
    assert bench.refused(replace(good, body=renamed)) == "InvalidRequest"
    without = good.body[: good.body.rindex(first)] + b"--boundary--\r\n"
    assert bench.refused(replace(good, body=without)) == "InvalidRequest"


def test_a_form_of_too_many_or_too_long_fields_is_refused() -> None:
    assert Bench().refused(form({f"x-ignore-{number}": "" for number in range(200)})) == "InvalidRequest"
    assert Bench().refused(form({"x-ignore-long": "x" * (MAX_FIELD + 1)})) == "InvalidRequest"


def test_a_session_token_stands_in_the_form() -> None:
    token = {"x-amz-security-token": "token"}
    text = policy([*CONDITIONS, token])
    Bench(tokens={KEY: "token"}).passes(form(token, text=text))
    assert Bench(tokens={KEY: "token"}).refused(form()) == "InvalidToken"


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10_000), piece=st.binary(max_size=3), width=st.integers(0, 30), head=st.booleans())
def test_a_form_of_noise_is_refused_cleanly(at: int, piece: bytes, width: int, head: bool) -> None:
    good = form()
    bench = Bench()
    if head:
        at %= len(good.headers["Content-Type"])
        value = good.headers["Content-Type"]
        bad = good.with_header("Content-Type", value[:at] + piece.decode("latin-1") + value[at + width :])
    else:
        at %= len(good.body)
        bad = replace(good, body=good.body[:at] + piece + good.body[at + width :])
    assert bench.send(bad).status in (200, 400, 403)


class Slow:
    """A body of many bytes that says how many were asked for."""

    def __init__(self, start: bytes, size: int) -> None:
        self.start, self.size, self.taken = start, size, 0

    def read(self, size: int = -1) -> bytes:
        size = min(size if size >= 0 else self.size, self.size - self.taken)
        piece = self.start[self.taken : self.taken + size].ljust(size, b"x")
        self.taken += size
        return piece


def test_a_form_is_read_on_only_once_it_is_known_who_signed_it() -> None:
    size = 100_000_000
    changes: tuple[dict[str, str | None], ...] = (
        {"x-amz-signature": "0" * 64},
        {"x-amz-credential": f"AKIASTRANGER/{SCOPE}"},
        {"policy": None},
    )
    for fields in changes:
        body = Slow(form(fields).body[:-14], size)
        more: dict[str, Any] = {"wsgi.input": body, "CONTENT_LENGTH": str(size)}
        Bench().refused(form(fields), **more)
        assert body.taken <= MAX_FORM_HEAD + 10_000


def test_forms_of_strangers_that_come_slowly_keep_only_each_other_waiting() -> None:
    bench, release, reading = Bench(), threading.Event(), threading.Semaphore(0)

    class Stuck:
        def read(self, _size: int = -1) -> bytes:
            reading.release()
            release.wait(10)
            return b""

    stuck = {"wsgi.input": Stuck(), "CONTENT_LENGTH": "1000"}
    threads = [threading.Thread(target=bench.send, args=(form(),), kwargs=stuck) for _ in range(STRANGERS)]
    for thread in threads:
        thread.start()
        assert reading.acquire(timeout=10)
    try:
        assert bench.send(form()).status == 503
        bench.passes(sign("PUT", "/bucket/key", b"body"))
    finally:
        release.set()
        for thread in threads:
            thread.join()
    bench.passes(form())
