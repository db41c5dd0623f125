"""The S3 prefix of one run: put what the targets fetch, lend it to them, and take it away again."""

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, BinaryIO, Self, TypeVar

from ssm_deployer.aws import translated, upload
from ssm_deployer.errors import DeployError, Interrupted, UsageError

PROGRESS_SECONDS = 0.1
LONGEST_PRESIGN = 7 * 86400  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:aws[a-z-]*:s3[a-z-]*:[A-Za-z0-9:/_-]+")
PIPE_BUFFER = 1024 * 1024

T = TypeVar("T")


def bucket_region(s3: Any, bucket: str) -> str:  # noqa: ANN401 - see Aws.client
    """Say where a bucket is.

    Raises:
        UsageError: there is no such bucket.
        CloudError: AWS refused or did not answer.
    """
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"`{bucket}` cannot be a bucket's name", "give the name alone; staging.prefix names a folder in it"
        )
    region: str = s3.meta.region_name
    missing = UsageError(f"there is no bucket {bucket}", f"make it: aws s3 mb s3://{bucket} --region {region}")
    with translated(f"use the bucket {bucket}", {"404": missing, "NoSuchBucket": missing}):
        answer = s3.head_bucket(Bucket=bucket)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return str(answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or region)


class Staging:
    """The objects of one run below `s3://BUCKET/PREFIX/RUN-ID/`.

    Args:
        s3: a client of the bucket's region, with SigV4.
        bucket: must exist, in the client's region.
        folder: `PREFIX/RUN-ID`, without slashes at its ends.
        kms_key: id, ARN or alias of a KMS key; empty for what the bucket encrypts with.
    """

    def __init__(self, s3: Any, bucket: str, folder: str, kms_key: str = "") -> None:  # noqa: ANN401 - see Aws.client
        self._s3 = s3
        self.bucket = bucket
        self.folder = folder
        self._names: set[str] = set()
        # Without a header S3 encrypts with what the bucket is set to, its own keys if with nothing else:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-encryption-faq.html
        self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}

    @property
    def location(self) -> str:
        """Where the objects are, as an `s3://` address that ends in a slash."""
        return f"s3://{self.bucket}/{self.folder}/"

    @property
    def region(self) -> str:
        """Where the bucket is."""
        region: str = self._s3.meta.region_name
        return region

    def put(self, name: str, content: bytes) -> None:
        """Store a small object.

        Raises:
            CloudError: AWS refused or did not answer.
        """
        self._names.add(name)
        with translated(f"stage {name} in {self.location}"):
            self._s3.put_object(Bucket=self.bucket, Key=self._key(name), Body=content, **self._encryption)

    def put_stream(self, name: str, write: Callable[[BinaryIO], T]) -> Generator[int, None, T]:
        """Store what `write` writes while it writes it; yields how many bytes are stored by now.

        Memory stays flat whatever the size. Closing the generator ends the transfer.

        Returns:
            what `write` returned.

        Raises:
            CloudError: AWS refused or did not answer.
            DeployError: whatever `write` raised.
        """
        self._names.add(name)
        reading, writing = os.pipe()
        stored = 0

        def count(sent: int) -> None:
            nonlocal stored
            stored += sent

        with ThreadPoolExecutor(2) as pool:
            written = pool.submit(_write, write, writing)
            source = _Source(reading, written)
            sent = pool.submit(self._upload, name, source, count)
            try:
                while not wait([sent], timeout=PROGRESS_SECONDS).done:
                    yield stored
            finally:
                source.end()  # a writer that is left over sees a broken pipe
        # First: this is also where an error of the writer arrives, while its own may be that the upload broke off.
        sent.result()
        return written.result()

    def _upload(self, name: str, source: "_Source", count: Callable[[int], None]) -> None:
        with source, translated(f"stage {name} in {self.location}"):
            upload(
                self._s3,
                source,
                bucket=self.bucket,
                key=self._key(name),
                extra=self._encryption,
                progress=count,
            )

    def lend(self, name: str, seconds: int) -> str:
        """Presign a GET of an object, for at most `LONGEST_PRESIGN`; the URL is a bearer token until it expires.

        It also dies with the session that signs it, whatever `seconds` says.

        Raises:
            CloudError: there are no credentials to sign with.
        """
        with translated(f"presign {name}"):
            url: str = self._s3.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.bucket, "Key": self._key(name)},
                ExpiresIn=seconds,
            )
        return url

    def address(self, name: str) -> str:
        """Name an object for targets that read it with a role of their own."""
        return f"s3://{self.bucket}/{self._key(name)}"

    def empty(self) -> list[str]:
        """Remove every object, every version and every unfinished upload of the run; say what is left, a line each."""
        # The known names first and without a look: that ends their bearer URLs, and needs no right to list.
        known = [[{"Key": self._key(name)} for name in sorted(self._names)]] if self._names else []
        return [
            *self._tried("remove what is in", lambda: self._delete(known)),
            *self._tried("remove the versions in", lambda: self._delete(self._versions())),
            *self._tried("end the uploads to", self._abort_uploads),
        ]

    def _tried(self, doing: str, step: Callable[[], list[str]]) -> list[str]:
        try:
            with translated(f"{doing} {self.location}"):
                return step()
        except DeployError as error:
            return [error.message]

    def _delete(self, batches: Iterable[list[dict[str, str]]]) -> list[str]:
        return [
            f"s3://{self.bucket}/{each['Key']}: {each.get('Code')}: {each.get('Message')}"
            for objects in batches
            for each in self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True}).get(
                "Errors", []
            )
        ]

    def _versions(self) -> Iterator[list[dict[str, str]]]:
        for listed in self._pages("list_object_versions", "Versions", "DeleteMarkers"):
            yield [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed]

    def _abort_uploads(self) -> list[str]:
        for uploads in self._pages("list_multipart_uploads", "Uploads"):
            for each in uploads:
                self._s3.abort_multipart_upload(Bucket=self.bucket, Key=each["Key"], UploadId=each["UploadId"])
        return []

    def _pages(self, operation: str, *fields: str) -> Iterator[list[dict[str, str]]]:
        """What is listed below the run's folder, in pages of at most 1,000 entries, as many as DeleteObjects takes."""
        for page in self._s3.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=f"{self.folder}/"):
            entries = [entry for field in fields for entry in page.get(field, [])]
            if entries:
                yield entries

    def _key(self, name: str) -> str:
        return f"{self.folder}/{name}"


class _Source:
    """The reading end of the pipe between packing and upload, which fails where the writer failed.

    A plain end of file would let a bundle that was cut short pass for a whole one.
    """

    def __init__(self, descriptor: int, written: "Future[Any]") -> None:
        self._stream = os.fdopen(descriptor, "rb", buffering=PIPE_BUFFER)
        self._written = written
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        if self._ended:
            raise Interrupted("the transfer was ended")
        content = self._stream.read(size)
        if len(content) < size or size < 0:
            self._written.result()
        return content

    def end(self) -> None:
        """Make the next read fail."""
        self._ended = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _write(write: Callable[[BinaryIO], T], descriptor: int) -> T:
    with os.fdopen(descriptor, "wb", buffering=PIPE_BUFFER) as sink:
        return write(sink)
