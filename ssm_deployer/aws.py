"""The one door to boto3: sessions, clients with a timeout on every call, and AWS's errors in the user's words."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import boto3.session
import botocore.config
import botocore.exceptions as boto

from ssm_deployer.errors import Ambiguous, BadTarget, CloudError, Declined, UsageError

CONNECT_SECONDS = 5
READ_SECONDS = 20
PART_BYTES = 8 * 1024 * 1024  # of the 10,000 that S3 takes: 80 GB
PARTS_IN_MEMORY = 3

# Which codes mean which thing. EC2, SSM, S3 and STS each have words of their own for the same refusal.
_THROTTLED = {
    "BandwidthLimitExceeded", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "SlowDown",
    "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "RateExceeded",
}  # fmt: skip
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_INVALID = {
    "AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException", "InvalidToken",
    "MissingAuthenticationToken", "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_DENIED = {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedOperation", "403"}
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.SSOError,
    boto.TokenRetrievalError,
    boto.LoginError,
)
_NOT_CONNECTED = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError, boto.SSLError)
_NO_ANSWER = (boto.ReadTimeoutError, boto.ConnectionClosedError, boto.HTTPClientError, boto.ResponseStreamingError)

_RENEW = "renew them (for instance `aws sso login`) and run again"
_SETTINGS = "choose a profile with --profile, or set AWS_PROFILE, or run `aws configure`; --sandbox needs no account"

_MEANINGS: tuple[tuple[set[str], tuple[type[CloudError], str, str]], ...] = (
    (_THROTTLED, (Declined, "AWS throttles the requests", "wait a little and run again")),
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
        credentials: `(access key, secret key)` of a sandbox, instead of the search.
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
        self.endpoint_url = endpoint_url
        access_key, secret_key = credentials or (None, None)
        with translated("read the AWS settings"):
            self._session = boto3.session.Session(
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
        """Make a client whose every call ends in time.

        Args:
            service: AWS's name of the service.
            attempts: how often botocore may try a call in all. SendCommand takes 1: it knows no client token, and
                botocore's default retries include read timeouts, so one call could run a script twice.
        """
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
        )
        with translated(f"use {service}"):
            return self._session.client(service, endpoint_url=self.endpoint_url, config=config)


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
    from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 - 20 ms that only this function needs

    config = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)
    # boto3 does not offer this setting of s3transfer's; its default keeps ten parts of a stream in memory.
    config.max_in_memory_upload_chunks = PARTS_IN_MEMORY
    s3.upload_fileobj(stream, bucket, key, ExtraArgs=dict(extra), Callback=progress, Config=config)


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
    except _NO_CREDENTIALS as error:
        raise CloudError(f"cannot {doing}: no AWS credentials ({_line(error)})", _SETTINGS) from error
    except boto.ProfileNotFound as error:
        raise UsageError(_line(error), "`aws configure list-profiles` shows those there are") from error
    except boto.NoRegionError as error:
        raise UsageError("no AWS region is set", "give --region, or set AWS_REGION") from error
    except boto.ParamValidationError as error:
        raise UsageError(f"cannot {doing}: {_line(error)}") from error
    except _NOT_CONNECTED as error:
        raise Declined(f"cannot {doing}: {_line(error)}", "is the region right, and the network up?") from error
    except _NO_ANSWER as error:
        raise Ambiguous(f"cannot {doing}: {_line(error)}", "the network or AWS is in trouble; try again") from error
    except boto.BotoCoreError as error:
        raise CloudError(f"cannot {doing}: {_line(error)}") from error


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
    if status >= 500:  # noqa: PLR2004 - HTTP's own number
        return Ambiguous, "", "the service is in trouble; try again"
    return CloudError, "", ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
