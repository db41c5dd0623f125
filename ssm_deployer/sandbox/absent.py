"""What the sandbox has not, though moto would answer as if it had: a success behind which is nothing helps nobody."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from ssm_deployer.sandbox import sigv4
from ssm_deployer.sandbox.denial import Denied, Kind, answer
from ssm_deployer.sandbox.faults import operation

# moto says Success to any key, and shows each instance the console of one and the same machine of 2006.
MISSING = {
    "SendSSHPublicKey": "The instances of the sandbox have no SSH server, which could take a key",
    "SendSerialConsoleSSHPublicKey": "The instances of the sandbox have no serial console",
    "GetConsoleOutput": "The instances of the sandbox have no console, and so no host keys on it",
}


class Absent:
    """A WSGI application that passes on to `app` everything but what the sandbox has not."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on, or say what is missing."""
        message = MISSING.get(operation(environ))
        if message is None:
            return self._app(environ, start_response)
        return answer(Denied(Kind.ABSENT, message), environ, sigv4.service_of(environ), start_response)
