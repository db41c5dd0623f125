"""EC2 and EC2 Instance Connect on the loopback, for the machines of a farm: as much of them as an SSH client needs.

Answers are those of the services' own protocols, so that botocore reads them: JSON 1.1 and EC2's query API.
"""

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from ssh.server import Server

from ssm_deployer.aws import Aws
from ssm_deployer.model import Target

REGION = "eu-west-1"
KEY_SECONDS = 60
NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
CONSOLE = (
    f'<GetConsoleOutputResponse xmlns="{NAMESPACE}"><requestId>1</requestId><instanceId>{{0}}</instanceId>'
    "<timestamp>2026-01-01T00:00:00.000Z</timestamp><output>{1}</output></GetConsoleOutputResponse>"
)
REFUSAL = (
    "<Response><Errors><Error><Code>{0}</Code><Message>{1}</Message></Error></Errors>"
    "<RequestID>1</RequestID></Response>"
)


@dataclass
class Instance:
    """A machine, what its console shows, and the keys that were pushed to it, each with its end."""

    server: Server
    console: str
    nitro: bool
    keys: list[tuple[float, str, str]]


class Refused(Exception):
    """What the service says no with."""


class StandIn:
    """A service with a clock of its own: keys are good for a minute of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.installed = True  # whether the machines ask for the keys that were pushed to them
        self.instances: dict[str, Instance] = {}
        self.denied: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.answer))
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def aws(self) -> Aws:
        return Aws(region=REGION, credentials=("testing", "testing"), endpoint_url=self.endpoint_url)

    def register(self, server: Server, console: str = "", *, nitro: bool = True) -> Target:
        """Make a machine an instance."""
        key = f"i-{len(self.instances):017x}"
        self.instances[key] = Instance(server, console, nitro, [])
        return Target(id=key, region=REGION, via="ssh", address=server.host, port=server.port, user="root")

    def wait(self, seconds: float) -> None:
        """Let time pass, with what that does to keys."""
        with self._lock:
            self.now += seconds
            for instance in self.instances.values():
                self._authorize(instance)

    def answer(self, target: str, body: bytes) -> tuple[int, str]:
        if target:
            return self._json(target.rpartition(".")[2], json.loads(body))
        asked = {name: value[0] for name, value in parse_qs(body.decode()).items()}
        try:
            return 200, self._query(asked)
        except Refused as refused:
            return 400, REFUSAL.format(*map(escape, map(str, refused.args)))

    def _json(self, operation: str, asked: dict[str, Any]) -> tuple[int, str]:
        try:
            self._count(operation)
            return 200, json.dumps({"RequestId": "1", "Success": self._push(**asked)})
        except Refused as refused:
            return 400, json.dumps({"__type": refused.args[0], "Message": refused.args[1]})

    def _query(self, asked: dict[str, str]) -> str:
        self._count(asked["Action"])
        instance = self._instance(asked["InstanceId"], "InvalidInstanceID.NotFound")
        if asked.get("Latest") == "true" and not instance.nitro:
            raise Refused("UnsupportedOperation", "This instance type does not support it")
        shown = base64.b64encode(instance.console.encode()).decode()
        return CONSOLE.format(asked["InstanceId"], shown)

    def _count(self, operation: str) -> None:
        with self._lock:
            self.calls[operation] += 1
            if operation in self.denied:
                raise Refused("UnauthorizedOperation", "You are not authorized to perform this operation.")
            if self.throttled[operation] > 0:
                self.throttled[operation] -= 1
                raise Refused("ThrottlingException", "Rate exceeded")

    def _push(self, InstanceId: str, InstanceOSUser: str, SSHPublicKey: str) -> bool:  # noqa: N803 - as on the wire
        instance = self._instance(InstanceId, "EC2InstanceNotFoundException")
        with self._lock:
            instance.keys.append((self.now + KEY_SECONDS, InstanceOSUser, SSHPublicKey))
            self._authorize(instance)
        return True

    def _instance(self, key: str, code: str) -> Instance:
        if key not in self.instances:
            raise Refused(code, "The instance ID does not exist")
        return self.instances[key]

    def _authorize(self, instance: Instance) -> None:
        good = [f"{key}\n" for end, user, key in instance.keys if user == "root" and self.now < end and self.installed]
        (instance.server.folder / "ssh" / "authorized_keys").write_text("".join(good))


def _handler(answer: Callable[[str, bytes], tuple[int, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, text = answer(self.headers.get("X-Amz-Target", ""), body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
