"""Clients whose every call ends in time, presigned URLs that fit every bucket, and AWS's errors in our words."""

import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.exceptions as boto
import pytest
from botocore.parsers import ResponseParserError
from botocore.stub import Stubber

from ssm_deployer.aws import Aws, translated
from ssm_deployer.errors import Ambiguous, BadTarget, CloudError, Declined, DeployError, UsageError

KEYS = ("testing", "testing")


@pytest.fixture(scope="module")
def ssm() -> Any:
    return Aws(region="eu-west-1", credentials=KEYS).client("ssm", attempts=1)


def refusal(ssm: Any, code: str, message: str = "words of AWS", status: int = 400) -> DeployError:
    with Stubber(ssm) as stubber:
        stubber.add_client_error("list_commands", code, message, status)
        with pytest.raises(DeployError) as caught, translated("list the commands"):
            ssm.list_commands()
    assert isinstance(caught.value.__cause__, boto.ClientError)
    return caught.value


# -- error codes

CODES = [
    ("ThrottlingException", 400, Declined, "throttles"),
    ("RequestLimitExceeded", 503, Declined, "throttles"),
    ("SlowDown", 503, Declined, "throttles"),
    ("EC2ThrottledException", 400, Declined, "throttles"),
    ("TooManyRequestsException", 429, Declined, "throttles"),
    ("InvalidInstanceId", 400, BadTarget, "does not know the instance"),
    ("ExpiredToken", 400, CloudError, "expired"),
    ("ExpiredTokenException", 400, CloudError, "expired"),
    ("RequestExpired", 400, CloudError, "expired"),
    ("UnrecognizedClientException", 400, CloudError, "does not accept the credentials"),
    ("InvalidClientTokenId", 403, CloudError, "does not accept the credentials"),
    ("SignatureDoesNotMatch", 403, CloudError, "does not accept the credentials"),
    ("AuthFailure", 401, CloudError, "does not accept the credentials"),
    ("RequestTimeTooSkewed", 403, CloudError, "clock"),
    ("AccessDenied", 403, CloudError, "AccessDenied: words of AWS"),
    ("AccessDeniedException", 400, CloudError, "AccessDeniedException: words of AWS"),
    ("UnauthorizedOperation", 403, CloudError, "UnauthorizedOperation: words of AWS"),
    ("403", 403, CloudError, "403: words of AWS"),
    ("InvalidCommandId", 400, Declined, "SSM does not know the command yet"),
    ("InternalServerError", 500, Ambiguous, "InternalServerError: words of AWS"),
    ("ServiceUnavailable", 503, Ambiguous, "ServiceUnavailable: words of AWS"),
    ("502", 502, Ambiguous, "502: words of AWS"),
    ("ValidationException", 400, CloudError, "ValidationException: words of AWS"),
    ("SomethingNew", 400, CloudError, "SomethingNew: words of AWS"),
]


@pytest.mark.parametrize(("code", "status", "kind", "words"), CODES, ids=[case[0] for case in CODES])
def test_every_refusal_is_told_in_one_line_that_names_what_was_being_done(
    ssm: Any, code: str, status: int, kind: type[CloudError], words: str
) -> None:
    error = refusal(ssm, code, status=status)
    assert type(error) is kind
    assert error.message.startswith("cannot list the commands: ")
    assert words in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ExpiredToken", "aws sso login"),
        ("InvalidClientTokenId", "--profile"),
        ("AccessDenied", "iam/operator-policy.json"),
        ("RequestTimeTooSkewed", "set the clock"),
        ("Throttling", "wait"),
        ("InternalError", ""),
    ],
)
def test_a_refusal_brings_its_remedy(ssm: Any, code: str, remedy: str) -> None:
    assert remedy in refusal(ssm, code).hint


def test_a_word_of_aws_that_only_contains_a_known_one_is_not_taken_for_it(ssm: Any) -> None:
    assert "credentials" not in refusal(ssm, "AuthorNotFound", "no such author").message


def test_a_refusal_of_many_lines_becomes_one(ssm: Any) -> None:
    assert refusal(ssm, "Odd", "one\n  two\tthree").message == "cannot list the commands: Odd: one two three"


def test_a_refusal_without_code_and_message_is_told_all_the_same(ssm: Any) -> None:
    assert refusal(ssm, "", "").message.startswith("cannot list the commands")


def test_a_page_of_html_in_a_message_is_cut(ssm: Any) -> None:
    assert len(refusal(ssm, "Odd", "word " * 2000).message) < 1100


def test_a_code_can_mean_something_special_at_one_call(ssm: Any) -> None:
    special = UsageError("there is no such command")
    with Stubber(ssm) as stubber:
        stubber.add_client_error("list_commands", "InvalidCommandId")
        with pytest.raises(UsageError) as caught, translated("list the commands", {"InvalidCommandId": special}):
            ssm.list_commands()
    assert caught.value is special


# -- errors without an answer of AWS

LOCAL = [
    (boto.NoCredentialsError(), CloudError, "no AWS credentials", "--profile"),
    (boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), CloudError, "env", "--profile"),
    (boto.CredentialRetrievalError(provider="x", error_msg="e"), CloudError, "no valid AWS credentials", "sso login"),
    (boto.UnauthorizedSSOTokenError(), CloudError, "SSO session", "sso login"),
    (boto.TokenRetrievalError(provider="sso", error_msg="Token has expired"), CloudError, "expired", "sso login"),
    (boto.ProfileNotFound(profile="nope"), UsageError, "nope", "list-profiles"),
    (boto.NoRegionError(), UsageError, "no AWS region", "--region"),
    (boto.InvalidRegionError(region_name="x y"), UsageError, "x y", ""),
    (boto.ParamValidationError(report="Invalid bucket name"), UsageError, "Invalid bucket name", ""),
    (boto.ConfigParseError(path="/etc/aws"), UsageError, "/etc/aws", ""),
    (boto.EndpointConnectionError(endpoint_url="https://a"), Declined, "https://a", "network"),
    (boto.ConnectTimeoutError(endpoint_url="https://a"), Declined, "https://a", "network"),
    (boto.ProxyConnectionError(proxy_url="http://p"), Declined, "http://p", "network"),
    (boto.ReadTimeoutError(endpoint_url="https://a"), Ambiguous, "https://a", "try again"),
    (boto.ConnectionClosedError(endpoint_url="https://a"), Ambiguous, "https://a", "try again"),
    (boto.HTTPClientError(error="odd"), Ambiguous, "odd", "try again"),
    (boto.ResponseStreamingError(error="odd"), Ambiguous, "odd", "try again"),
    # The record of a TLS answer can be bad after the request has been accepted.
    (boto.SSLError(endpoint_url="https://a", error="bad record mac"), Ambiguous, "bad record mac", "try again"),
    (ResponseParserError("invalid XML"), Ambiguous, "invalid XML", "try again"),
    (boto.PaginationError(message="the same token twice"), CloudError, "the same token twice", ""),
]


def test_where_the_environment_leads_elsewhere_a_connection_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Declined) as caught, translated("send"):
        raise boto.EndpointConnectionError(endpoint_url="http://127.0.0.1:9/")
    assert caught.value.hint == "AWS_ENDPOINT_URL is set: is what it names up, or do you want to unset it?"


@pytest.mark.parametrize(("raised", "kind", "words", "remedy"), LOCAL, ids=[type(case[0]).__name__ for case in LOCAL])
def test_what_goes_wrong_on_the_way_is_told_with_its_remedy(
    raised: Exception, kind: type[DeployError], words: str, remedy: str
) -> None:
    with pytest.raises(DeployError) as caught, translated("send"):
        raise raised
    assert type(caught.value) is kind
    assert words in caught.value.message
    assert remedy in caught.value.hint


def test_no_error_of_botocore_gets_through_untranslated() -> None:
    kinds: list[Any] = [
        kind for _, kind in inspect.getmembers(boto, inspect.isclass) if issubclass(kind, boto.BotoCoreError)
    ]
    assert len(kinds) > 50
    for kind in kinds:
        with pytest.raises(DeployError), translated("try"):
            raise kind.__new__(kind)


def test_other_errors_are_not_ours_to_translate() -> None:
    with pytest.raises(ZeroDivisionError), translated("divide"):
        _ = 1 / 0


# -- what really happens on a socket


class Broken(BaseHTTPRequestHandler):
    """Answers as the server's `behaviour` says, and counts the requests."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.requests += 1
        body, length = server.behaviour
        if length is not None:
            self.send_response(server.status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def broken() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Broken)
    server.requests, server.status = 0, 200
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def at(server: Any, service: str, attempts: int = 1) -> Any:
    url = f"http://127.0.0.1:{server.server_port}"
    return Aws(region="eu-west-1", credentials=KEYS, endpoint_url=url).client(service, attempts=attempts)


BREAKS = {
    "no answer at all": (b"", None),
    "half of an answer": (b'{"Commands": [', 5000),
    "an answer that ends before its first byte": (b"", 5000),
}


@pytest.mark.parametrize("behaviour", BREAKS.values(), ids=list(BREAKS))
def test_a_call_that_is_cut_off_is_ambiguous_and_was_made_once(broken: Any, behaviour: tuple[bytes, int]) -> None:
    broken.behaviour = behaviour
    with pytest.raises(Ambiguous), translated("list the commands"):
        at(broken, "ssm").list_commands()
    assert broken.requests == 1


@pytest.mark.parametrize(
    ("service", "call"), [("ec2", "describe_instances"), ("ssm", "list_commands"), ("sts", "get_caller_identity")]
)
def test_a_page_of_html_instead_of_an_answer_is_ambiguous(broken: Any, service: str, call: str) -> None:
    page = b"<html><body><br>log in first</body></html>"
    broken.behaviour = (page, len(page))
    with pytest.raises(Ambiguous), translated("ask"):
        getattr(at(broken, service), call)()


def test_a_refusal_in_html_stays_one_and_keeps_its_words(broken: Any) -> None:
    page = b"<html><body>Blocked by policy</body></html>"
    broken.behaviour, broken.status = (page, len(page)), 403
    with pytest.raises(CloudError, match=r"403: .*Blocked by policy") as caught, translated("ask"):
        at(broken, "ssm").list_commands()
    assert type(caught.value) is CloudError


@pytest.mark.parametrize(("status", "kind"), [(203, Ambiguous), (408, Ambiguous), (429, Declined), (503, Ambiguous)])
def test_a_page_of_html_says_by_its_status_whether_to_ask_again(broken: Any, status: int, kind: type) -> None:
    page = b"<html><body>busy</body></html>"
    broken.behaviour, broken.status = (page, len(page)), status
    with pytest.raises(kind), translated("ask"):
        at(broken, "ssm").list_commands()


def test_nobody_listening_is_certainly_not_carried_out() -> None:
    client = Aws(region="eu-west-1", credentials=KEYS, endpoint_url="http://127.0.0.1:9").client("ssm", attempts=1)
    with pytest.raises(Declined), translated("list the commands"):
        client.list_commands()


def test_a_proxy_for_the_world_is_not_asked_for_a_sandbox(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    broken.behaviour = (b"{}", 2)
    at(broken, "ssm").list_commands()
    assert broken.requests == 1


# -- clients


def test_every_client_has_timeouts_and_the_asked_number_of_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    monkeypatch.setenv("AWS_RETRY_MODE", "legacy")
    aws = Aws(region="eu-west-1", credentials=KEYS)
    for attempts in (1, 3):
        config = aws.client("ssm", attempts=attempts).meta.config
        assert 0 < config.connect_timeout <= 10
        assert 0 < config.read_timeout <= 30
        assert config.retries == {"mode": "standard", "total_max_attempts": attempts}


def test_a_client_is_made_once() -> None:
    aws = Aws(region="eu-west-1", credentials=KEYS)
    assert aws.client("ssm") is aws.client("ssm")
    assert aws.client("ssm") is not aws.client("ssm", attempts=1)


HOSTS = [
    ("us-east-1", "bucket", "bucket.s3.us-east-1.amazonaws.com", "/a%20b"),
    ("eu-west-1", "bucket", "bucket.s3.eu-west-1.amazonaws.com", "/a%20b"),
    ("cn-north-1", "bucket", "bucket.s3.cn-north-1.amazonaws.com.cn", "/a%20b"),
    # A certificate for *.s3.… does not fit a name with a dot.
    ("us-east-1", "my.bucket", "s3.us-east-1.amazonaws.com", "/my.bucket/a%20b"),
    ("eu-west-1", "my.bucket", "s3.eu-west-1.amazonaws.com", "/my.bucket/a%20b"),
]


@pytest.mark.parametrize(("region", "bucket", "host", "path"), HOSTS)
def test_urls_are_signed_with_sigv4_for_the_regional_endpoint(region: str, bucket: str, host: str, path: str) -> None:
    s3 = Aws(region=region, credentials=KEYS).client("s3")
    url = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b"}, ExpiresIn=60))
    query = parse_qs(url.query)
    assert (url.scheme, url.netloc, url.path) == ("https", host, path)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Credential"][0].split("/")[2:4] == [region, "s3"]
    assert query["X-Amz-SignedHeaders"] == ["host"]


# -- identities


def test_the_region_is_what_was_asked_for_or_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert Aws().region == "eu-central-1"
    assert Aws(region="us-east-1").region == "us-east-1"


def test_a_profile_brings_its_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("[profile work]\nregion = ap-south-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    assert Aws("work").region == "ap-south-1"


def test_without_a_region_anywhere_the_user_is_told_where_to_set_it() -> None:
    with pytest.raises(UsageError, match="no AWS region") as caught:
        Aws()
    assert "--region" in caught.value.hint


def test_a_profile_that_is_not_there_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="nope"):
        Aws("nope", "eu-west-1")


def test_a_region_that_is_none_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="x y"):
        Aws(region="x y", credentials=KEYS).client("ssm")


def test_a_broken_file_of_the_aws_sdk_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("[profile work\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    with pytest.raises(UsageError, match="config"):
        Aws("work", "eu-west-1")


def test_without_credentials_a_call_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CloudError, match="no AWS credentials"), translated("list the commands"):
        Aws(region="eu-west-1").client("ssm", attempts=1).list_commands()


def test_a_sandboxs_credentials_do_not_mix_with_the_users_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "example-token-of-the-user")
    s3 = Aws(region="eu-west-1", credentials=KEYS).client("s3")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})
    assert "X-Amz-Security-Token" not in url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_PROFILE", "no-such-profile"),
        ("AWS_CONFIG_FILE", "[default\n"),
        ("AWS_CONFIG_FILE", "[default]\ns3 =\n  use_accelerate_endpoint = true\n"),
        ("AWS_SHARED_CREDENTIALS_FILE", "[default\n"),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_DEFAULTS_MODE", "no-such-mode"),
    ],
)
def test_a_sandbox_does_not_depend_on_the_users_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    if name.endswith("_FILE"):
        (tmp_path / "file").write_text(value)
        value = str(tmp_path / "file")
    monkeypatch.setenv(name, value)
    s3 = Aws(region="eu-west-1", credentials=KEYS, endpoint_url="http://127.0.0.1:9").client("s3")
    assert not s3.meta.config.use_fips_endpoint
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})
    assert url.startswith("http://127.0.0.1:9/bucket/key?")


def test_threads_that_ask_at_once_get_one_client() -> None:
    aws = Aws(region="eu-west-1", credentials=("testing", "testing"))
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: aws.client("ec2-instance-connect"), range(8)))
    assert len({id(client) for client in made}) == 1


def test_the_profile_is_known_to_whoever_must_name_it_to_another_program() -> None:
    assert Aws(region="eu-west-1", credentials=("testing", "testing")).profile == ""
