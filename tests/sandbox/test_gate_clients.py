"""The gate with real clients before it and moto behind it."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from sandbox.sandbox_bench import Client, client_of
from urllib3.filepost import encode_multipart_formdata

from ssm_deployer.sandbox import launch
from ssm_deployer.sandbox.launch import Account, exports

pytestmark = pytest.mark.slow

KEY = "a//b/../ü +%2F?x=1#é~(1)'.txt"
READS = {
    "s3": ("list_buckets", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
    "ssm": (
        "list_commands",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
    ),
    "sts": ("get_caller_identity", "MissingAuthenticationToken", "InvalidClientTokenId", "SignatureDoesNotMatch"),
    "iam": ("list_roles", "MissingAuthenticationToken", "InvalidClientTokenId", "SignatureDoesNotMatch"),
    "ec2": ("describe_instances", "MissingAuthenticationToken", "AuthFailure", "SignatureDoesNotMatch"),
}


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with launch.throwaway(1) as account:
        yield account


@pytest.fixture(scope="module")
def client(account: Account) -> Client:
    return client_of(account)


def code_with(account: Account, service: str, access_key: str, secret: str, *, unsigned: bool = False) -> str:
    client = boto3.session.Session().client(
        service,
        region_name=account.region,
        endpoint_url=account.endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        config=Config(signature_version=UNSIGNED if unsigned else None, retries={"total_max_attempts": 1}),
    )
    with pytest.raises(ClientError) as refused:
        getattr(client, READS[service][0])()
    return str(refused.value.response["Error"]["Code"])


@pytest.mark.parametrize("service", sorted(READS))
def test_boto3_raises_the_services_own_codes(account: Account, client: Client, service: str) -> None:
    name, missing, unknown, mismatch = READS[service]
    getattr(client(service), name)()
    assert code_with(account, service, "x", "x", unsigned=True) == missing
    assert code_with(account, service, "AKIAEXAMPLE", account.secret_key) == unknown
    assert code_with(account, service, account.access_key, "wrong") == mismatch


@pytest.mark.parametrize("checksum", [None, "CRC32", "SHA1", "SHA256"])
def test_boto3_puts_and_gets_an_odd_key(account: Account, client: Client, checksum: str | None) -> None:
    s3 = client("s3")
    more = {"ChecksumAlgorithm": checksum} if checksum else {}
    s3.put_object(Bucket=account.bucket, Key=KEY, Body=b"body", Metadata={"note": "a  b"}, **more)
    found = s3.get_object(Bucket=account.bucket, Key=KEY, ChecksumMode="ENABLED")
    assert (found["Body"].read(), found["Metadata"]["note"]) == (b"body", "a  b")
    assert KEY in [each["Key"] for each in s3.list_objects_v2(Bucket=account.bucket)["Contents"]]


class Unseekable(io.RawIOBase):
    """A body whose length its sender does not know."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._content.readinto(buffer)


@pytest.mark.parametrize("checksum", [None, "SHA256"])
def test_boto3_uploads_in_parts(account: Account, client: Client, tmp_path: Path, checksum: str | None) -> None:
    s3 = client("s3")
    content = os.urandom(11 << 20)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    more = {"ChecksumAlgorithm": checksum} if checksum else {}
    (tmp_path / "big").write_bytes(content)
    s3.upload_file(str(tmp_path / "big"), account.bucket, "big-file", Config=config, ExtraArgs=more)
    s3.upload_fileobj(Unseekable(content), account.bucket, "big-stream", Config=config, ExtraArgs=more)
    for key in ("big-file", "big-stream"):
        into = io.BytesIO()
        s3.download_fileobj(account.bucket, key, into, Config=config)
        assert into.getvalue() == content


def fetch(
    method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    try:
        request = Request(url, body, dict(headers or {}), method=method)  # noqa: S310  # the sandbox's own
        with urlopen(request, timeout=20) as answer:  # noqa: S310  # likewise
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def test_presigned_urls_work_and_only_as_signed(account: Account, client: Client) -> None:
    s3 = client("s3")
    at = {"Bucket": account.bucket, "Key": KEY}
    put = s3.generate_presigned_url("put_object", at)
    get = s3.generate_presigned_url("get_object", at)
    assert fetch("PUT", put, b"by url")[0] == 200
    assert fetch("GET", get) == (200, b"by url")
    assert fetch("GET", put)[0] == 403
    assert fetch("PUT", get, b"x")[0] == 403
    assert fetch("GET", get.replace("a//b", "a/b"))[0] == 403
    assert fetch("GET", get, headers={"Origin": "http://example.com"})[0] == 403
    assert fetch("GET", get, headers={"Host": "example.com"})[0] == 403
    assert fetch("GET", f"{account.endpoint_url}/{account.bucket}/{KEY[:1]}")[0] == 403
    assert fetch("GET", get) == (200, b"by url")


def test_temporary_credentials_need_their_token(account: Account, client: Client) -> None:
    client("iam").create_role(RoleName="temporary", AssumeRolePolicyDocument="{}")
    role = client("sts").assume_role(RoleArn="arn:aws:iam::123456789012:role/temporary", RoleSessionName="test")
    issued = role["Credentials"]

    def listing(token: str | None) -> Any:
        return boto3.session.Session().client(
            "s3",
            region_name=account.region,
            endpoint_url=account.endpoint_url,
            aws_access_key_id=issued["AccessKeyId"],
            aws_secret_access_key=issued["SecretAccessKey"],
            aws_session_token=token,
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )

    assert listing(issued["SessionToken"]).list_buckets()["Buckets"]
    for token in (None, "another"):
        with pytest.raises(ClientError, match="InvalidToken"):
            listing(token).list_buckets()
    url = listing(issued["SessionToken"]).generate_presigned_url("list_buckets")
    assert fetch("GET", url)[0] == 200
    assert fetch("GET", url.replace("X-Amz-Security-Token=", "X-Amz-Security-Token=a"))[0] == 403


def test_temporary_credentials_end(account: Account) -> None:
    role = "arn:aws:iam::123456789012:role/brief"
    sts = boto3.session.Session(account.access_key, account.secret_key).client(
        "sts", account.region, endpoint_url=account.endpoint_url, config=Config(parameter_validation=False)
    )
    issued = sts.assume_role(RoleArn=role, RoleSessionName="test", DurationSeconds=1)["Credentials"]
    time.sleep(1.1)
    session = boto3.session.Session(issued["AccessKeyId"], issued["SecretAccessKey"], issued["SessionToken"])
    for service, call, code in (
        ("s3", "list_buckets", "ExpiredToken"),
        ("ssm", "list_commands", "ExpiredTokenException"),
    ):
        with pytest.raises(ClientError, match=code):
            getattr(session.client(service, account.region, endpoint_url=account.endpoint_url), call)()


def test_a_form_is_an_object_like_any_other(account: Account, client: Client) -> None:
    """As `curl --data-binary` sends it."""
    s3 = client("s3")
    put = s3.generate_presigned_url("put_object", {"Bucket": account.bucket, "Key": "form/1"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert fetch("PUT", put, b"key=elsewhere&prefix=", form)[0] == 200
    assert s3.get_object(Bucket=account.bucket, Key="form/1")["Body"].read() == b"key=elsewhere&prefix="


def test_a_presigned_put_cannot_call_another_service(account: Account, client: Client) -> None:
    put = client("s3").generate_presigned_url("put_object", {"Bucket": account.bucket, "Key": "form"})
    body = (
        b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
        b"&RoleArn=arn:aws:iam::1:role/r&RoleSessionName=s&WebIdentityToken=t"
    )
    status, answer = fetch("PUT", put, body, {"Content-Type": "application/x-www-form-urlencoded"})
    assert (status, b"AccessKeyId" in answer) == (200, False)
    assert fetch("PUT", put, b"{}", {"X-Amz-Target": "AmazonSSM.SendCommand"})[0] == 403


def test_a_presigned_url_of_sts_reaches_sts(client: Client) -> None:
    status, body = fetch("GET", client("sts").generate_presigned_url("get_caller_identity", HttpMethod="GET"))
    assert (status, b"<Arn>" in body) == (200, True)


def test_a_presigned_post_uploads_where_its_policy_says(account: Account, client: Client) -> None:
    s3 = client("s3")
    made = s3.generate_presigned_post(
        account.bucket, "results/${filename}", Conditions=[["content-length-range", 1, 100]]
    )

    def post(fields: Mapping[str, str], content: bytes, url: str) -> int:
        body, content_type = encode_multipart_formdata([*fields.items(), ("file", ("i-1.txt", content))])
        return fetch("POST", url, body, {"Content-Type": content_type})[0]

    assert post(made["fields"], b"output", made["url"]) == 204
    assert s3.get_object(Bucket=account.bucket, Key="results/i-1.txt")["Body"].read() == b"output"
    assert post(made["fields"], b"x" * 101, made["url"]) == 400
    assert post({**made["fields"], "key": "elsewhere"}, b"output", made["url"]) == 403
    assert post(made["fields"], b"output", f"{made['url']}?delete") == 403


def test_trailing_checksums_of_other_sdks_are_understood(account: Account, client: Client) -> None:
    """As Java's and JavaScript's send them: unsigned, in frames, with the checksum after the body."""
    s3 = client("s3")

    def framed(request: Any, **_: Any) -> None:
        checksum = base64.b64encode(zlib.crc32(b"framed").to_bytes(4, "big")).decode()
        request.data = f"6\r\nframed\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n".encode()
        request.headers["Content-Encoding"] = "aws-chunked"
        request.headers["X-Amz-Trailer"] = "x-amz-checksum-crc32"
        request.headers["X-Amz-Decoded-Content-Length"] = "6"
        del request.headers["x-amz-checksum-crc32"]
        request.context["checksum"] = {"request_algorithm": {"in": "trailer", "algorithm": "crc32"}}

    s3.meta.events.register("before-sign.s3.PutObject", framed)
    s3.put_object(Bucket=account.bucket, Key="framed", Body=b"framed", ChecksumAlgorithm="CRC32")
    found = s3.get_object(Bucket=account.bucket, Key="framed", ChecksumMode="ENABLED")
    assert (found["Body"].read(), found.get("ContentEncoding")) == (b"framed", None)
    assert base64.b64decode(found["ChecksumCRC32"]) == zlib.crc32(b"framed").to_bytes(4, "big")


def test_the_aws_cli_works(account: Account, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\ns3 =\n  signature_version = s3v4\n")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_PAGER": "",
        **exports(account),
    }
    program = str(Path(sys.executable).parent / "aws")

    def aws(*words: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([program, *words], env=environ | changed, capture_output=True, text=True, check=False)

    (tmp_path / "file").write_bytes(content := os.urandom(9 << 20))
    at = f"s3://{account.bucket}/cli/a b+ü"
    assert aws("s3", "cp", "--quiet", str(tmp_path / "file"), at).returncode == 0
    assert aws("s3", "cp", "--quiet", at, str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == content
    url = aws("s3", "presign", at).stdout.strip()
    assert fetch("GET", url) == (200, content)
    version_2 = aws("s3", "presign", at, AWS_CONFIG_FILE=os.devnull).stdout.strip()
    assert b"Please use AWS4-HMAC-SHA256" in fetch("GET", version_2)[1]
    assert json.loads(aws("ssm", "list-commands", "--output", "json").stdout)["Commands"] is not None
    refused = aws("ec2", "describe-instances", AWS_SECRET_ACCESS_KEY="wrong")
    assert refused.returncode != 0
    assert "SignatureDoesNotMatch" in refused.stderr
    assert "InvalidClientTokenId" in aws("sts", "get-caller-identity", AWS_ACCESS_KEY_ID="AKIAEXAMPLE").stderr


@pytest.mark.parametrize(
    "wire",
    [
        b"GET //example.com/x HTTP/1.1\r\n\r\n",
        b"GET http://example.com/ HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: nine\r\nContent-Type: multipart/form-data\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: null\r\n\r\n",
        b"GET /moto-api/ HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n",
        b"POST /moto-api/reset HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 0\r\n\r\n",
        b"GET /latest/meta-data/ HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n",
        b"GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        b"GET /?Action=DescribeInstances HTTP/1.1\r\nHost: ec2.us-east-1.amazonaws.com\r\n\r\n",
    ],
)
def test_what_no_client_sends_is_refused_on_the_wire(account: Account, wire: bytes) -> None:
    port = int(account.endpoint_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(wire.replace(b"PORT", str(port).encode()))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    assert answer.split()[1] in (b"400", b"403")
    assert b"access-control" not in answer.lower()
    assert b"Traceback" not in answer
