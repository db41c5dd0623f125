"""The S3 prefix of a run: what is put there, how it is lent, and that nothing of it stays."""

import json
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from botocore.stub import Stubber
from moto import mock_aws

from ssm_deployer.aws import PART_BYTES, Aws
from ssm_deployer.errors import CloudError, UsageError
from ssm_deployer.staging import LONGEST_PRESIGN, Staging, bucket_region

BUCKET = "bucket"
FOLDER = "ssm-deploy/20260101T000000Z-00000000"
BLOCK = os.urandom(1024 * 1024)


@pytest.fixture(scope="module")
def client() -> Any:
    with mock_aws():  # a client that is made outside is not mocked inside
        return Aws(region="eu-west-1", credentials=("testing", "testing")).client("s3")


@pytest.fixture
def s3(client: Any) -> Iterator[Any]:
    with mock_aws():
        make_bucket(client, BUCKET, "eu-west-1")
        yield client


@pytest.fixture
def staging(s3: Any) -> Staging:
    return Staging(s3, BUCKET, FOLDER)


def make_bucket(s3: Any, name: str, region: str) -> None:
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})


def keys(s3: Any) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def content(s3: Any, name: str) -> bytes:
    read: bytes = s3.get_object(Bucket=BUCKET, Key=f"{FOLDER}/{name}")["Body"].read()
    return read


def nothing_is_left(s3: Any) -> bool:
    versions = s3.list_object_versions(Bucket=BUCKET)
    uploads = s3.list_multipart_uploads(Bucket=BUCKET)
    return not any(key in answer for answer in (versions, uploads) for key in ("Versions", "DeleteMarkers", "Uploads"))


def drain(transfer: Generator[int, None, Any]) -> tuple[list[int], Any]:
    """Every number of bytes that a transfer tells, and what it returns."""
    told = []
    while True:
        try:
            told.append(next(transfer))
        except StopIteration as end:
            return told, end.value


@pytest.fixture
def calls(s3: Any) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """The operations that are asked for, with their parameters."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def record(params: dict[str, Any], model: Any, **_: object) -> None:
        seen.append((model.name, dict(params)))

    s3.meta.events.register("provide-client-params.s3", record)
    yield seen
    s3.meta.events.unregister("provide-client-params.s3", record)


@pytest.fixture
def refuse(s3: Any) -> Iterator[Callable[[str], None]]:
    """Make S3's answer to an operation a refusal; moto still carries it out."""
    refused = []

    def answer(request: Any, **_: object) -> AWSResponse:
        body = b"<Error><Code>AccessDenied</Code><Message>not yours</Message></Error>"
        return AWSResponse(request.url, 403, {}, type("Raw", (), {"stream": lambda _: iter([body])})())

    def refuse(operation: str) -> None:
        refused.append(f"before-send.s3.{operation}")
        s3.meta.events.register_first(refused[-1], answer)

    yield refuse
    for name in refused:
        s3.meta.events.unregister(name, answer)


# -- the bucket


def test_a_bucket_tells_its_region_to_whichever_client_asks(s3: Any, staging: Staging) -> None:
    elsewhere = Aws(region="eu-central-1", credentials=("testing", "testing")).client("s3")
    make_bucket(elsewhere, "elsewhere", "eu-central-1")
    assert bucket_region(s3, BUCKET) == staging.region == "eu-west-1"
    assert bucket_region(s3, "elsewhere") == "eu-central-1"


def test_a_bucket_that_is_not_there_is_the_users_mistake_and_the_remedy_makes_it(s3: Any) -> None:
    with pytest.raises(UsageError, match="there is no bucket missing") as caught:
        bucket_region(s3, "missing")
    assert caught.value.hint == "make it: aws s3 mb s3://missing --region eu-west-1"


def test_a_bucket_that_is_not_ours_is_a_refusal(s3: Any, refuse: Callable[[str], None]) -> None:
    refuse("HeadBucket")
    with pytest.raises(CloudError, match="cannot use the bucket bucket"):
        bucket_region(s3, BUCKET)


@pytest.mark.parametrize("name", ["a/b", "", "no spaces", "ü"])
def test_what_cannot_be_a_bucket_is_the_users_mistake(s3: Any, name: str) -> None:
    with pytest.raises(UsageError):
        bucket_region(s3, name)


# -- small objects


def test_small_objects_are_encrypted_with_what_the_bucket_is_set_to(
    s3: Any, staging: Staging, calls: list[Any]
) -> None:
    staging.put("script", b"\x00echo\n")
    assert content(s3, "script") == b"\x00echo\n"
    assert staging.location == f"s3://{BUCKET}/{FOLDER}/"
    assert staging.address("script") == f"s3://{BUCKET}/{FOLDER}/script"
    assert calls[0][0] == "PutObject"
    assert not {"ServerSideEncryption", "SSEKMSKeyId"} & calls[0][1].keys()


def test_a_bucket_that_goes_away_is_a_refusal(s3: Any) -> None:
    with pytest.raises(CloudError, match=r"cannot stage script in s3://missing/.*NoSuchBucket"):
        Staging(s3, "missing", FOLDER).put("script", b"")


# -- streams


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 12345])
def test_a_stream_of_any_length_arrives_whole_and_what_the_writer_returns_is_returned(
    s3: Any, staging: Staging, size: int
) -> None:
    blob = (BLOCK * (size // len(BLOCK) + 1))[:size]

    def write(sink: BinaryIO) -> str:
        sink.writelines(blob[first : first + 700_001] for first in range(0, size, 700_001))
        return "packed"

    told, packed = drain(staging.put_stream("bundle", write))
    assert packed == "packed"
    assert content(s3, "bundle") == blob
    assert told == sorted(told)
    assert all(0 <= number <= size for number in told)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


@pytest.mark.parametrize("size", [10, PART_BYTES + 10])
def test_a_stream_is_encrypted_with_the_users_key(s3: Any, calls: list[Any], size: int) -> None:
    staging = Staging(s3, BUCKET, FOLDER, kms_key="alias/my-key")
    drain(staging.put_stream("bundle", lambda sink: sink.write(bytes(size))))
    operation, params = calls[0]
    assert operation == ("PutObject" if size < PART_BYTES else "CreateMultipartUpload")
    assert (params["ServerSideEncryption"], params["SSEKMSKeyId"]) == ("aws:kms", "alias/my-key")


def test_progress_is_told_while_the_writer_still_writes(staging: Staging) -> None:
    heard = threading.Event()

    def write(sink: BinaryIO) -> None:
        sink.writelines([BLOCK] * (3 * PART_BYTES // len(BLOCK)))
        sink.flush()
        assert heard.wait(20)

    transfer = staging.put_stream("bundle", write)
    while next(transfer) < PART_BYTES:
        pass
    heard.set()
    drain(transfer)


@pytest.mark.parametrize("size", [0, 100, PART_BYTES + 100, 3 * PART_BYTES])
def test_a_writer_that_fails_midway_leaves_no_object_and_no_unfinished_upload(
    s3: Any, staging: Staging, size: int
) -> None:
    mistake = UsageError("a file changed while it was read")

    def write(sink: BinaryIO) -> None:
        sink.write(bytes(size))
        raise mistake

    with pytest.raises(UsageError) as caught:
        drain(staging.put_stream("bundle", write))
    assert caught.value is mistake
    assert nothing_is_left(s3)


def endless(ended: list[BaseException]) -> Callable[[BinaryIO], None]:
    """A writer that goes on until it is stopped, and tells what stopped it."""

    def write(sink: BinaryIO) -> None:
        try:
            while True:
                sink.write(BLOCK)
        except OSError as error:
            ended.append(error)
            raise

    return write


def test_closing_the_generator_ends_writer_and_upload_and_leaves_nothing(s3: Any, staging: Staging) -> None:
    ended: list[BaseException] = []
    threads = threading.active_count()
    transfer = staging.put_stream("bundle", endless(ended))
    while next(transfer) < PART_BYTES:
        pass
    transfer.close()
    assert [type(error) for error in ended] == [BrokenPipeError]
    assert threading.active_count() <= threads
    assert nothing_is_left(s3)


def test_closing_a_generator_that_has_not_begun_does_nothing(s3: Any, staging: Staging) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    staging.put_stream("bundle", lambda sink: sink.write(b"x")).close()
    assert nothing_is_left(s3)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def deny(s3: Any, action: str) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def test_a_refused_object_is_told_and_leaves_nothing(s3: Any, staging: Staging) -> None:
    deny(s3, "s3:PutObject")
    with pytest.raises(CloudError, match=r"cannot stage bundle .*403"):
        drain(staging.put_stream("bundle", lambda sink: sink.write(b"x")))
    assert nothing_is_left(s3)


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart"])
def test_a_refused_upload_is_told_before_the_writer_has_written_everything(
    s3: Any, staging: Staging, refuse: Callable[[str], None], operation: str
) -> None:
    refuse(operation)
    ended: list[BaseException] = []
    with pytest.raises(CloudError, match=r"cannot stage bundle .*AccessDenied"):
        drain(staging.put_stream("bundle", endless(ended)))
    assert [type(error) for error in ended] == [BrokenPipeError]
    assert keys(s3) == []


def test_a_writer_that_complains_of_the_broken_pipe_does_not_hide_why_it_broke(s3: Any) -> None:
    def write(sink: BinaryIO) -> None:
        try:
            endless([])(sink)
        except OSError as error:
            raise UsageError("cannot read the files") from error

    with pytest.raises(CloudError, match="NoSuchBucket"):
        drain(Staging(s3, "missing", FOLDER).put_stream("bundle", write))


# -- lending


def test_a_url_lends_one_object_for_as_long_as_asked(staging: Staging) -> None:
    for seconds in (60, LONGEST_PRESIGN):
        url = urlsplit(staging.lend("script", seconds))
        query = parse_qs(url.query)
        assert (url.netloc, url.path) == ("bucket.s3.eu-west-1.amazonaws.com", f"/{FOLDER}/script")
        assert query["X-Amz-Expires"] == [str(seconds)]
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]


def test_without_credentials_nothing_can_be_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CloudError, match="no AWS credentials"):
        Staging(Aws(region="eu-west-1").client("s3"), BUCKET, FOLDER).lend("script", 60)


ODD = ["run", "ü/b c/run", "a+b&c=d/%41/run", "<x>'\"/run", "a//b/run", "../run", "~$(x)/*?#/run"]


@pytest.mark.parametrize("folder", ODD)
def test_any_prefix_is_put_lent_and_emptied(s3: Any, folder: str) -> None:
    staging = Staging(s3, BUCKET, folder)
    staging.put("script", b"x")
    drain(staging.put_stream("bundle", lambda sink: sink.write(b"y")))
    assert keys(s3) == [f"{folder}/bundle", f"{folder}/script"]
    assert unquote(urlsplit(staging.lend("script", 60)).path) == f"/{folder}/script"
    assert staging.empty() == []
    assert nothing_is_left(s3)


# -- emptying


def test_emptying_nothing_is_fine(staging: Staging) -> None:
    assert staging.empty() == []


def test_versions_delete_markers_and_unfinished_uploads_go_too(s3: Any, staging: Staging) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for text in (b"one", b"two"):
        staging.put("script", text)
    staging.put("inputs", b"x")
    s3.delete_object(Bucket=BUCKET, Key=f"{FOLDER}/inputs")
    s3.create_multipart_upload(Bucket=BUCKET, Key=f"{FOLDER}/bundle")
    listed = s3.list_object_versions(Bucket=BUCKET)
    assert (len(listed["Versions"]), len(listed["DeleteMarkers"])) == (3, 1)
    assert staging.empty() == []
    assert nothing_is_left(s3)


def test_what_belongs_to_others_stays(s3: Any, staging: Staging) -> None:
    others = [f"{FOLDER}0/script", f"{FOLDER}.txt", FOLDER, "script", f"x/{FOLDER}/script"]
    for key in others:
        s3.put_object(Bucket=BUCKET, Key=key)
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=f"{FOLDER}0/bundle")["UploadId"]
    staging.put("script", b"x")
    assert staging.empty() == []
    assert keys(s3) == sorted(others)
    assert [each["UploadId"] for each in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == [upload]


def test_emptying_may_be_repeated(staging: Staging) -> None:
    staging.put("script", b"x")
    assert staging.empty() == []
    assert staging.empty() == []


@pytest.mark.parametrize("operation", ["ListMultipartUploads", "ListObjectVersions"])
def test_objects_go_even_where_nothing_may_be_listed_and_that_is_told(
    s3: Any, staging: Staging, refuse: Callable[[str], None], operation: str
) -> None:
    staging.put("script", b"x")  # for which bearer URLs are about
    drain(staging.put_stream("bundle", lambda sink: sink.write(b"y")))
    refuse(operation)
    [told] = staging.empty()
    assert re.search(r"s3://bucket/.*AccessDenied", told)
    assert keys(s3) == []


def test_bearer_urls_end_even_where_versions_may_neither_be_listed_nor_deleted(
    s3: Any, staging: Staging, refuse: Callable[[str], None]
) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    staging.put("script", b"x")
    refuse("ListObjectVersions")
    assert len(staging.empty()) == 1
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=BUCKET, Key=f"{FOLDER}/script")


def _version(number: int) -> dict[str, str]:
    return {"Key": f"{FOLDER}/{number}", "VersionId": f"v{number}"}


def test_more_than_a_thousand_objects_go_page_by_page_and_what_stays_is_told(client: Any) -> None:
    asked = {"Bucket": BUCKET, "Prefix": f"{FOLDER}/"}
    pages = [[_version(n) for n in range(1000)], [_version(n) for n in range(1000, 1300)]]
    markers = {"NextKeyMarker": f"{FOLDER}/999", "NextVersionIdMarker": "v999"}
    denied = {"Key": f"{FOLDER}/7", "VersionId": "v7", "Code": "AccessDenied", "Message": "not yours"}
    with Stubber(client) as stubber:

        def expect(page: list[dict[str, str]], listed: dict[str, Any], errors: list[dict[str, str]]) -> None:
            params = asked | ({} if "IsTruncated" in listed else _from(markers))
            stubber.add_response(
                "list_object_versions", {"Versions": page[:-1], "DeleteMarkers": page[-1:], **listed}, params
            )
            delete = {"Bucket": BUCKET, "Delete": {"Objects": page, "Quiet": True}}
            stubber.add_response("delete_objects", {"Errors": errors} if errors else {}, delete)

        expect(pages[0], {"IsTruncated": True, **markers}, [denied])
        expect(pages[1], {}, [])
        stubber.add_response("list_multipart_uploads", {}, asked)
        assert Staging(client, BUCKET, FOLDER).empty() == [f"s3://{BUCKET}/{FOLDER}/7: AccessDenied: not yours"]
        stubber.assert_no_pending_responses()


def _from(markers: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("Next"): value for name, value in markers.items()}
