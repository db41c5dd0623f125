"""A fleet without machines or sockets: the requests are botocore's own, the answers those of EC2, SSM and S3."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from botocore.awsrequest import AWSResponse
from fakes import make_record

from ssm_deployer import result
from ssm_deployer.aws import Aws

AGENTS_A_PAGE = 50
WORDS = ("Pending", "InProgress", "Success")  # of the first look at a command, the second and all others
INSTANCE = (
    "<item><instancesSet><item><instanceId>{0}</instanceId><instanceState><name>running</name></instanceState>"
    "<tagSet><item><key>Name</key><value>web-{0}</value></item></tagSet></item></instancesSet></item>"
)
VERSION = "<Version><Key>{0}</Key><VersionId>null</VersionId></Version>"


class Fleet:
    """Online targets on which every script succeeds.

    Args:
        size: how many.
        output: the `Output` on the list page of the n-th, once it has come to its end.
    """

    def __init__(self, size: int, output: Callable[[int], str]) -> None:
        self.ids = [f"i-{number:017x}" for number in range(size)]
        self._numbers = {key: number for number, key in enumerate(self.ids)}
        self.calls: Counter[str] = Counter()
        self._output = output
        self._commands: list[list[str]] = []
        self._looks: Counter[str] = Counter()
        self._keys: set[str] = set()

    def answer(self, request: Any, event_name: str, **_: object) -> AWSResponse:
        """Handle botocore's event `before-send`: what is returned here is never sent."""
        service, operation = event_name.split(".")[1:]
        self.calls[f"{service}:{operation}"] += 1
        content = {"ec2": self._ec2, "ssm": self._ssm, "s3": self._s3}[service](operation, request)
        return AWSResponse(request.url, 200, {}, _Raw(content.encode()))

    def _ec2(self, _operation: str, request: Any) -> str:
        asked = {value for name, value in parse_qsl(request.body) if ".Value." in name}
        found = [each for each in self.ids if each in asked] if "running" not in asked else self.ids
        return f"<Answer><reservationSet>{''.join(map(INSTANCE.format, found))}</reservationSet></Answer>"

    def _s3(self, operation: str, request: Any) -> str:
        if operation == "PutObject":
            self._keys.add(urlsplit(request.url).path.lstrip("/"))
        if operation == "DeleteObjects":
            self._keys.clear()
        listed = self._keys if operation == "ListObjectVersions" else ()
        return f"<Answer>{''.join(map(VERSION.format, listed))}</Answer>"

    def _ssm(self, operation: str, request: Any) -> str:
        answers = {
            "DescribeInstanceInformation": self._agents,
            "SendCommand": self._send,
            "ListCommandInvocations": self._look,
            "GetCommandInvocation": self._whole,
        }
        return json.dumps(answers[operation](json.loads(request.body)))

    def _agents(self, asked: dict[str, Any]) -> object:
        ids = [value for each in asked.get("Filters", []) for value in each["Values"]] or self.ids
        first = int(asked.get("NextToken", "0"))
        page = ids[first : first + AGENTS_A_PAGE]
        more = {"NextToken": str(first + AGENTS_A_PAGE)} if first + AGENTS_A_PAGE < len(ids) else {}
        return {"InstanceInformationList": [{"InstanceId": key, "PingStatus": "Online"} for key in page], **more}

    def _send(self, asked: dict[str, Any]) -> object:
        self._commands.append(asked["InstanceIds"])
        return {"Command": {"CommandId": f"{len(self._commands) - 1:036}"}}

    def _look(self, asked: dict[str, Any]) -> object:
        command = asked["CommandId"]
        word = WORDS[min(self._looks[command], len(WORDS) - 1)]
        self._looks[command] += 1
        return {"CommandInvocations": [self._seen(key, word) for key in self._commands[int(command)]]}

    def _seen(self, key: str, word: str) -> object:
        output = self._output(self._numbers[key]) if word == "Success" else ""
        return {"InstanceId": key, "StatusDetails": word, "CommandPlugins": [{"Output": output}]}

    def _whole(self, asked: dict[str, Any]) -> object:
        return {"StandardOutputContent": self._output(self._numbers[asked["InstanceId"]]), "StandardErrorContent": ""}


class CannedAws(Aws):
    """An identity whose every client talks to a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(region="eu-west-1", credentials=("testing", "testing"))
        self._fleet = fleet

    def client(self, service: str, *, attempts: int = 3) -> Any:
        client = super().client(service, attempts=attempts)
        client.meta.events.register("before-send", self._fleet.answer, unique_id=id(self._fleet))
        return client


def recorded(output: str, digest: str) -> str:
    """What a target prints whose script succeeded with this output, of which the record gives this digest."""
    record = msgspec.structs.replace(make_record(stdout=digest, stderr=digest), stdout_bytes=len(output))
    return f"{result.MARK}{msgspec.json.encode(record).decode()}\n{output}"


class _Raw:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._content
