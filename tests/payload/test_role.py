"""Delivery with the target's own role, against a server that verifies every signature."""

import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from payload.rig import RUN, Rig, equip, tar
from payload.test_fetch import refused

from ssm_deployer.payload import Recipe, Source, build, inputs

ACCESS_KEY, SECRET_KEY, TOKEN = "AKIAEXAMPLE", "secret/key+of=the/role", "session/token+=="
IMDS = "/latest/meta-data/iam/security-credentials/"


class Bucket:
    """S3 in path style, and an instance's metadata service, on one port."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.has_role = True
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.reply(200, b"imds-token" if self.path == "/latest/api/token" else b"")

            def do_GET(self) -> None:
                if self.path.startswith("/latest/"):
                    self.reply(*bucket.metadata(self.path, self.headers.get("X-aws-ec2-metadata-token", "")))
                elif not bucket.signed(self):
                    self.reply(403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>")
                elif self.path not in bucket.objects:
                    self.reply(404, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>")
                else:
                    self.reply(200, bucket.objects[self.path])

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def metadata(self, path: str, token: str) -> tuple[int, bytes]:
        if token != "imds-token":
            return 401, b""
        if not self.has_role:
            return 404, b""
        if path == IMDS:
            return 200, b"the-role"
        keys = {"Code": "Success", "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": TOKEN}
        return 200, json.dumps(keys, indent=2).encode()

    def signed(self, request: BaseHTTPRequestHandler) -> bool:
        """Whether the request carries the signature that botocore makes of it, and signs all that S3 wants signed."""
        given = request.headers.get("Authorization", "")
        if "SignedHeaders=" not in given:
            return False
        names = given.split("SignedHeaders=")[1].split(",")[0].split(";")
        if request.headers.get("X-Amz-Security-Token") != TOKEN:
            return False
        wanted = {name.lower() for name in request.headers if name.lower().startswith("x-amz-")}
        again = AWSRequest("GET", self.url + request.path, headers={name: request.headers[name] for name in names})
        again.context["timestamp"] = request.headers["X-Amz-Date"]
        auth = S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "eu-west-1")
        signature = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
        return given.endswith(f"Signature={signature}") and wanted <= set(names) and "host" in names

    def put(self, name: str, content: bytes) -> Source:
        self.objects[f"/bucket-name/pre/{name}"] = content
        return Source(f"s3://bucket-name/pre/{name}", hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    yield bucket
    bucket.server.shutdown()
    bucket.server.server_close()


def recipe(bucket: Bucket) -> Recipe:
    return Recipe(
        run_id=RUN,
        script=bucket.put("script", b'#!/bin/sh\ncat a\necho "$1 $E"\n'),
        bundle=bucket.put("bundle.tar.gz", tar({"a": b"content\n"})),
        inputs=bucket.put("inputs", inputs(["one two"], {"E": "x"})),
        timeout=20,
        fetch_timeout=20,
        grace=1,
        region="eu-west-1",
        endpoint_url=bucket.url,
    )


def use_curl(rig: Rig, bucket: Bucket) -> None:
    equip(rig, ["curl"])
    rig.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = bucket.url


def test_curl_signs_with_the_roles_credentials(rig: Rig, bucket: Bucket) -> None:
    use_curl(rig, bucket)
    assert rig.execute(build(recipe(bucket))).extract == "content\none two x\n"


def test_a_missing_object_is_told(rig: Rig, bucket: Bucket) -> None:
    use_curl(rig, bucket)
    text = build(recipe(bucket))
    del bucket.objects["/bucket-name/pre/inputs"]
    assert refused(rig.execute(text), "download").startswith("inputs: HTTP 404 from bucket-name")


def test_an_instance_without_a_role_is_told_so(rig: Rig, bucket: Bucket) -> None:
    use_curl(rig, bucket)
    bucket.has_role = False
    assert "names no role" in refused(rig.execute(build(recipe(bucket))), "no-credentials")


def test_nothing_that_can_sign_is_told(rig: Rig, bucket: Bucket) -> None:
    equip(rig, ["wget"])
    (Path(rig.path) / "curl").write_text("#!/bin/sh\necho 'curl 7.81.0 (x86_64-pc-linux-gnu) libcurl/7.81.0'\n")
    (Path(rig.path) / "curl").chmod(0o755)
    assert "curl 7.88" in refused(rig.execute(build(recipe(bucket))), "no-fetch-tool")


@pytest.fixture
def cli(rig: Rig) -> None:
    """The AWS CLI of the development environment, with credentials as an instance would have them."""
    found = shutil.which("aws", path=str(Path(sys.executable).parent)) or shutil.which("aws")
    assert found, "the AWS CLI is part of the dev extra"
    equip(rig, ["curl"])
    (Path(rig.path) / "aws").write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore {found} "$@"\n')
    (Path(rig.path) / "aws").chmod(0o755)
    rig.env |= {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }


@pytest.mark.slow
@pytest.mark.usefixtures("cli")
def test_the_aws_cli_is_used_where_it_is(rig: Rig, bucket: Bucket) -> None:
    assert rig.execute(build(recipe(bucket))).extract == "content\none two x\n"


@pytest.mark.slow
@pytest.mark.usefixtures("cli")
def test_the_clis_refusal_is_passed_on(rig: Rig, bucket: Bucket) -> None:
    text = build(recipe(bucket))
    del bucket.objects["/bucket-name/pre/script"]
    assert "NoSuchKey" in refused(rig.execute(text), "download")


@pytest.mark.slow
@pytest.mark.usefixtures("cli")
def test_a_cli_without_credentials_is_told(rig: Rig, bucket: Bucket) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        del rig.env[name]
    refused(rig.execute(build(recipe(bucket))), "no-credentials")


def test_no_secret_is_an_argument(rig: Rig, bucket: Bucket) -> None:
    """Anyone on the machine may read argument lists."""
    use_curl(rig, bucket)
    seen = rig.root / "arguments"
    rig.wrap("curl", f'echo "$@" >>{seen}')
    assert rig.execute(build(recipe(bucket))).code == 0
    shown = seen.read_text()
    assert not [secret for secret in (SECRET_KEY, TOKEN, ACCESS_KEY, "imds-token") if secret in shown]


@pytest.mark.slow
@pytest.mark.usefixtures("cli")
def test_the_cli_does_not_run_what_the_user_of_the_script_names(rig: Rig, bucket: Bucket) -> None:
    """`credential_process` of a user's ~/.aws/config would run as root."""
    rig.open_to_others()
    for name in [name for name in rig.env if name.startswith("AWS_")]:
        del rig.env[name]
    home = rig.root / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "config").write_text(f"[default]\ncredential_process = {home}/thief\n")
    (home / "thief").write_text(f"#!/bin/sh\nid -un >{rig.root}/ran\n")
    (home / "thief").chmod(0o755)
    getent = f'case $2 in nobody) echo "nobody:x:65534:65534::{home}:/bin/sh" ;; *) exec /usr/bin/getent "$@" ;; esac'
    (Path(rig.path) / "getent").write_text(f"#!/bin/sh\n{getent}\n")
    (Path(rig.path) / "getent").chmod(0o755)
    for name in ("setpriv", "chown"):
        found = shutil.which(name)
        assert found
        (Path(rig.path) / name).symlink_to(found)
    rig.env["AWS_EC2_METADATA_DISABLED"] = "true"
    outcome = rig.execute(build(msgspec.structs.replace(recipe(bucket), run_as="nobody")))
    assert outcome.record.error in {"no-credentials", "download"}  # the second where root has some
    assert not (rig.root / "ran").exists()
