"""Who may do what: the operator everything, the instances' role only what a script needs. No policy is evaluated."""

from collections.abc import Container, Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from ssm_deployer.sandbox import sigv4
from ssm_deployer.sandbox.denial import Denied, Kind, answer
from ssm_deployer.sandbox.faults import CONTROL_PATH, operation
from ssm_deployer.sandbox.gate import ACCESS_KEY

OWN_API = "/moto-api"
"""moto's: it could take the account away from under the instances, and make its keys predictable."""


class Rights:
    """A WSGI application behind the gate that lets through to `app` what the signer may do.

    Args:
        app: what is guarded.
        limited: access keys that may use S3 and ask for their own identity, and nothing else.
    """

    def __init__(self, app: WSGIApplication, limited: Container[str]) -> None:
        self._app = app
        self._limited = limited

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on, or refuse it."""
        path = str(environ.get("PATH_INFO", ""))
        service = sigv4.service_of(environ)
        if path.startswith(OWN_API) or (environ[ACCESS_KEY] in self._limited and not _granted(environ, path, service)):
            denied = Denied(Kind.FORBIDDEN, "You are not authorized to perform this operation")
            return answer(denied, environ, service, start_response)
        return self._app(environ, start_response)


def _granted(environ: WSGIEnvironment, path: str, service: str) -> bool:
    name = operation(environ)
    if service == "s3":
        # The layers behind go by X-Amz-Target, whatever the scope says.
        return name.startswith("s3:") and path != CONTROL_PATH
    return service == "sts" and name == "GetCallerIdentity"
