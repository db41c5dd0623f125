"""A request that the gate does not let in, in the words and the shape that each service's clients understand."""

from collections.abc import Iterable
from enum import Enum
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIEnvironment
from xml.sax.saxutils import escape

import msgspec


class Kind(Enum):
    """Why: the HTTP status, then the code that S3, a JSON service, a Query service and EC2 have for it.

    The JSON column is what the services send, which is not what their pages of common errors list.
    """

    MISSING = (
        403,
        "AccessDenied",
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
        "MissingAuthenticationToken",
    )
    MALFORMED = (
        400,
        "AuthorizationHeaderMalformed",
        "IncompleteSignatureException",
        "IncompleteSignature",
        "AuthFailure",
    )
    BAD_QUERY = (
        400,
        "AuthorizationQueryParametersError",
        "IncompleteSignatureException",
        "IncompleteSignature",
        "AuthFailure",
    )
    UNKNOWN_KEY = (403, "InvalidAccessKeyId", "UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure")
    BAD_TOKEN = (403, "InvalidToken", "UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure")
    TOKEN_EXPIRED = (400, "ExpiredToken", "ExpiredTokenException", "ExpiredToken", "RequestExpired")
    MISMATCH = (
        403,
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "SignatureDoesNotMatch",
    )
    SKEWED = (403, "RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired")
    EXPIRED = (403, "AccessDenied", "InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired")
    UNSIGNED = (403, "AccessDenied", "InvalidSignatureException", "SignatureDoesNotMatch", "SignatureDoesNotMatch")
    BODY_DIFFERS = (
        400,
        "XAmzContentSHA256Mismatch",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "SignatureDoesNotMatch",
    )
    FORBIDDEN = (403, "AccessDenied", "AccessDeniedException", "AccessDenied", "UnauthorizedOperation")
    BAD_REQUEST = (400, "InvalidRequest", "SerializationException", "MalformedInput", "InvalidRequest")
    INCOMPLETE = (400, "IncompleteBody", "SerializationException", "MalformedInput", "InvalidRequest")
    TOO_LARGE = (400, "EntityTooLarge", "RequestEntityTooLargeException", "RequestEntityTooLarge", "InvalidRequest")
    TOO_SMALL = (400, "EntityTooSmall", "ValidationException", "ValidationError", "InvalidRequest")
    ABSENT = (400, "NotImplemented", "NotImplemented", "NotImplemented", "NotImplemented")
    NO_ROOM = (503, "ServiceUnavailable", "ServiceUnavailable", "ServiceUnavailable", "Unavailable")


class Denied(Exception):
    """A request is not let in."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def answer(denied: Denied, environ: WSGIEnvironment, service: str, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a denied request; `service` is that of its credential scope, empty if it has none that can be read."""
    status, s3, json, query, ec2 = denied.kind.value
    error = f"<Error><Code>{{}}</Code><Message>{escape(denied.message)}</Message></Error>"
    content_type = "application/xml"
    if environ.get("HTTP_X_AMZ_TARGET") or environ.get("CONTENT_TYPE", "").startswith("application/x-amz-json"):
        content_type = "application/x-amz-json-1.1"
        text = msgspec.json.encode({"__type": json, "message": denied.message}).decode()
    elif service == "ec2":
        text = f"<Response><Errors>{error.format(ec2)}</Errors></Response>"
    elif service not in ("", "s3") or environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        text = f"<ErrorResponse>{error.format(query)}</ErrorResponse>"
    else:
        text = error.format(s3)
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else text.encode()
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]
