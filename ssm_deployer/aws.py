"""The one door to boto3: sessions, clients with a timeout on every call, and AWS's errors in the user's words."""

import os
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Protocol

import boto3.session
import botocore.config
import botocore.exceptions as boto
import botocore.session
from botocore.parsers import ResponseParserError

from ssm_deployer.errors import Ambiguous, BadTarget, CloudError, Declined, DeployError, UsageError

CONNECT_SECONDS = 5
READ_SECONDS = 20
PART_BYTES = 8 * 1024 * 1024  # of the 10,000 that S3 takes: 80 GB
PARTS_IN_MEMORY = 3
M_MMAP_THRESHOLD, KEPT_BYTES = -3, 128 * 1024  # of glibc's malloc.h, and what it starts with
LONGEST_LINE = 1_000

# Which codes mean which thing. EC2, SSM, S3 and STS each have words of their own for the same refusal.
_THROTTLED = {
    "BandwidthLimitExceeded", "EC2ThrottledException", "RateExceeded", "RequestLimitExceeded", "RequestThrottled",
    "RequestThrottledException", "SlowDown", "Throttling", "ThrottledException", "ThrottlingException",
    "TooManyRequestsException", "429",
}  # fmt: skip
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_INVALID = {
    "AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException", "InvalidToken",
    "MissingAuthenticationToken", "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_DENIED = {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedOperation", "403"}
_RENEW = "renew them (for instance `aws sso login`) and run again"
_SETTINGS = "choose a profile with --profile, or set AWS_PROFILE, or run `aws configure`; --sandbox needs no account"
_ELSEWHERE = "AWS_ENDPOINT_URL is set: is what it names up, or do you want to unset it?"

# What else comes instead of an answer: the kind of our error, its words and the remedy. The first that fits counts.
_RAISED: tuple[tuple[tuple[type[Exception], ...], tuple[type[DeployError], str, str]], ...] = (
    (
        (boto.NoCredentialsError, boto.PartialCredentialsError),
        (CloudError, "cannot {doing}: no AWS credentials ({said})", _SETTINGS),
    ),
    (
        (boto.CredentialRetrievalError, boto.SSOError, boto.TokenRetrievalError, boto.LoginError),
        (CloudError, "cannot {doing}: no valid AWS credentials ({said})", _RENEW),
    ),
    ((boto.ProfileNotFound,), (UsageError, "{said}", "`aws configure list-profiles` shows those there are")),
    ((boto.NoRegionError,), (UsageError, "no AWS region is set", "give --region, or set AWS_REGION")),
    (
        (boto.ParamValidationError, boto.ValidationError, boto.ConfigParseError, boto.InvalidConfigError),
        (UsageError, "cannot {doing}: {said}", "see --region, --profile and your AWS settings"),
    ),
    (
        (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError),
        (Declined, "cannot {doing}: {said}", "is the region right, and the network up?"),
    ),
    (
        # TLS can also break after the request has left; an answer that cannot be parsed was cut short, or is a proxy's.
        (boto.HTTPClientError, boto.SSLError, ResponseParserError),
        (Ambiguous, "cannot {doing}: {said}", "the network or AWS is in trouble; try again"),
    ),
    (
        (FileNotFoundError, PermissionError),
        (UsageError, "cannot {doing}: {said}", "does your AWS profile name that as its credential_process?"),
    ),
    ((boto.BotoCoreError,), (CloudError, "cannot {doing}: {said}", "")),
)  # fmt: skip

_MEANINGS: tuple[tuple[set[str], tuple[type[CloudError], str, str]], ...] = (
    (_THROTTLED, (Declined, "AWS throttles the requests", "wait a little and run again")),
    # As of one that was sent a moment ago: ListCommands and the others are told of it later.
    ({"InvalidCommandId"}, (Declined, "SSM does not know the command yet", "")),
    ({"InvalidInstanceId"}, (BadTarget, "SSM does not know the instance, or it cannot receive commands now", "")),
    (_EXPIRED, (CloudError, "the AWS credentials have expired", _RENEW)),
    (_INVALID, (CloudError, "AWS does not accept the credentials", _SETTINGS)),
    ({"RequestTimeTooSkewed"}, (CloudError, "this machine's clock is wrong", "set the clock and run again")),
    (_DENIED, (CloudError, "", "the operator's policy in iam/operator-policy.json allows it")),
)


class Aws:
    """An AWS identity in one region, and the clients of it.

    Args:
        profile: name of a profile, empty for boto3's usual search.
        region: empty for what the environment or the profile says.
        credentials: `(access key, secret key)` of a sandbox, instead of the search and of the user's other settings.
        endpoint_url: a sandbox's endpoint for every service.

    Raises:
        UsageError: no such profile, or no region anywhere.
    """

    def __init__(
        self,
        profile: str = "",
        region: str = "",
        *,
        credentials: tuple[str, str] | None = None,
        endpoint_url: str | None = None,
    ) -> None:
        self.profile = profile
        self.endpoint_url = endpoint_url
        self._making = threading.Lock()
        self._clients: dict[tuple[str, int], Any] = {}
        access_key, secret_key = credentials or (None, None)
        with translated("read the AWS settings"):
            self._session = boto3.session.Session(
                botocore_session=_unset() if credentials else None,
                profile_name=profile or None,
                region_name=region or None,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
            )
            found = self._session.region_name
        if not found:
            raise UsageError("no AWS region is set", "give --region, or set AWS_REGION or aws.region in config.yaml")
        self.region: str = found

    def client(self, service: str, *, attempts: int = 3) -> Any:  # noqa: ANN401 - botocore makes its clients at run time
        """Give a client whose every call ends in time, the same one at each call: making it costs 10 to 130 ms.

        May be called from any thread: clients are safe in threads, the session that makes them is not
        (https://boto3.amazonaws.com/v1/documentation/api/latest/guide/session.html#multithreading-or-multiprocessing-with-sessions).

        Args:
            service: AWS's name of the service.
            attempts: how often botocore may try a call in all. SendCommand takes 1: it knows no client token, and
                botocore's default retries include read timeouts, so one call could run a script twice.
        """
        with self._making:
            if (service, attempts) not in self._clients:
                self._clients[service, attempts] = self._make(service, attempts)
            return self._clients[service, attempts]

    def _make(self, service: str, attempts: int) -> Any:  # noqa: ANN401 - see client
        config = botocore.config.Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=16,
            # boto3 still presigns with SigV2 in the old regions, which KMS refuses; and unless told "virtual" it names
            # the global endpoint, which answers 307 for a young bucket and so breaks the signature.
            # https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
            signature_version="s3v4" if service == "s3" else None,
            s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "virtual"},
            user_agent_extra="ssm-deploy",
            # A sandbox is on this machine, and HTTP_PROXY is for others.
            proxies={} if self.endpoint_url else None,
        )
        try:
            with translated(f"use {service}"):
                client = self._session.client(service, endpoint_url=self.endpoint_url, config=config)
        except ValueError as error:
            raise UsageError(f"cannot use {service}: {error}", "see AWS_ENDPOINT_URL and ~/.aws/config") from error
        client.meta.events.register("after-call", _require_whole)
        return client


def _unset() -> botocore.session.Session:
    """A session to which no file and nothing in the environment has a say."""
    known = botocore.session.Session.SESSION_VARIABLES
    defaults = {name: (None, None, default, convert) for name, (_, _, default, convert) in known.items()}
    nowhere = (None, None, os.devnull, None)
    return botocore.session.Session({**defaults, "config_file": nowhere, "credentials_file": nowhere})


def _require_whole(http_response: Any, model: Any, **_: object) -> None:  # noqa: ANN401 - see Aws.client
    """Take an answer that was cut short, or is a proxy's page, for none: botocore parses what is no JSON as {}.

    For the first it switches urllib3's check off; of the second it sees errors by their status, from 301 on.
    """
    if http_response.raw is None:  # an answer that never was on a wire
        return
    short = getattr(http_response.raw, "length_remaining", None)
    taken = model.service_model.protocol == "json" and http_response.status_code < HTTPStatus.MOVED_PERMANENTLY
    if short or (taken and not http_response.content.startswith(b"{")):
        raise boto.ConnectionClosedError(endpoint_url=http_response.url)


class Readable(Protocol):
    """What `upload` needs of a stream."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, fewer only at the end."""


def upload(
    s3: Any,  # noqa: ANN401 - see Aws.client
    stream: Readable,
    *,
    bucket: str,
    key: str,
    extra: Mapping[str, str],
    progress: Callable[[int], None],
) -> None:
    """Store a stream of any length, in parts while it is read; an error while reading leaves nothing stored.

    Args:
        s3: a client that `Aws.client` made.
        stream: what to store; it need not be seekable.
        bucket: where to.
        key: of the object.
        extra: further arguments of PutObject and CreateMultipartUpload.
        progress: is called from other threads with the number of bytes just stored.
    """
    from boto3.s3 import transfer  # noqa: PLC0415 - 20 ms that only this function needs

    _give_parts_back()
    config = transfer.TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=4,
        preferred_transfer_client="classic",
    )
    # boto3 does not offer this setting of s3transfer's; its default keeps ten parts of a stream in memory.
    config.max_in_memory_upload_chunks = PARTS_IN_MEMORY
    with transfer.create_transfer_manager(s3, config) as manager:
        watched = _Watched(stream)
        watched.transfer = manager.upload(
            watched, bucket, key, extra_args=dict(extra), subscribers=[transfer.ProgressCallbackInvoker(progress)]
        )
        watched.transfer.result()


def _give_parts_back() -> None:
    """Have freed parts leave the process at once.

    Left to itself, glibc raises the size from which it does so to that of the first part, and then keeps some of each
    thread's: 30 MB over 2 GiB (mallopt(3), M_MMAP_THRESHOLD).
    """
    import ctypes  # noqa: PLC0415 - likewise

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


class _Watched:
    """A stream that ends with its transfer: s3transfer would read it to the end though the first part was refused."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.transfer: Any = None

    def read(self, size: int = -1) -> bytes:
        if self.transfer is not None and self.transfer.done():
            raise BrokenPipeError("the transfer has failed")  # why it has is kept by the transfer
        return self._stream.read(size)


@contextmanager
def translated(doing: str, codes: Mapping[str, Exception] | None = None) -> Iterator[None]:
    """Turn what botocore raises into our errors.

    Args:
        doing: what the call was for, as an infinitive (`list the instances`); it becomes part of the message.
        codes: error codes that mean something special at this call, and what to raise for them.

    Raises:
        CloudError: or a kind of it; see `errors`.
        UsageError: settings of the AWS SDK are wrong.
    """
    try:
        yield
    except boto.ClientError as error:
        raise _from_code(doing, error, codes or {}) from error
    except (boto.BotoCoreError, ResponseParserError, FileNotFoundError, PermissionError) as error:
        kind, message, hint = next(meant for kinds, meant in _RAISED if isinstance(error, kinds))
        named = os.environ.get("AWS_ENDPOINT_URL")
        there = isinstance(error, boto.EndpointConnectionError) and named and named in str(error)
        raise kind(message.format(doing=doing, said=_line(error)), _ELSEWHERE if there else hint) from error


def _from_code(doing: str, error: boto.ClientError, codes: Mapping[str, Exception]) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in codes:
        return codes[code]
    said = _line(Exception(f"{code}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")))
    kind, words, hint = _meaning(code, int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)))
    return kind(f"cannot {doing}: {words or said}", hint)


def _meaning(code: str, status: int) -> tuple[type[CloudError], str, str]:
    """The kind of error that a code stands for, our words for it (empty: AWS's own), and the remedy."""
    for codes, meaning in _MEANINGS:
        if code in codes:
            return meaning
    if status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:  # noqa: PLR2004 - HTTP's own number
        return Ambiguous, "", "the service is in trouble; try again"
    return CloudError, "", ""


def _line(error: Exception) -> str:
    # Among what botocore quotes are whole HTML pages of proxies.
    return textwrap.shorten(str(error), LONGEST_LINE, placeholder=" …")
