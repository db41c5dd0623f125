"""The wire of Systems Manager: a WSGI layer that answers Run Command's operations and passes everything else on."""

import base64
import binascii
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import RLock
from typing import Any, TypeVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import botocore.session

from ssm_deployer.sandbox import shapes
from ssm_deployer.sandbox.command import Command
from ssm_deployer.sandbox.run_command import ManagedInstance, Refusal, RunCommand
from ssm_deployer.sandbox.validation import check

TARGET_PREFIX = "AmazonSSM."
MAX_BODY = 1 << 20
DOCUMENT_BYTES = 64 * 1024
DOCUMENT_ITSELF = 1_100
"""Bytes of AWS-RunShellScript's own text, about; the limit is on the document with its parameters."""
PAGE = 50
_REGION = re.compile(r"Credential=[^/]+/[0-9]+/(?P<region>[a-z0-9-]+)/")

Members = dict[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Region:
    """What the API needs of one region: its commands, and its instances as they are now."""

    run_command: RunCommand
    managed: Callable[[], Mapping[str, ManagedInstance]]


class SsmApi:
    """Answers the operations of `OPERATIONS` for every region; `app` gets all other requests.

    Args:
        app: the WSGI application behind.
        region: gives the region of that name; raises Refusal for one that does not exist.
        lock: held around every operation.
        changed: called after an operation that gives the loop something to do.
    """

    def __init__(
        self,
        app: WSGIApplication,
        region: Callable[[str], Region],
        lock: RLock,
        changed: Callable[[], None],
    ) -> None:
        self._app = app
        self._region = region
        self._lock = lock
        self._changed = changed
        self._model = botocore.session.get_session().get_service_model("ssm")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        operation = str(environ.get("HTTP_X_AMZ_TARGET", "")).removeprefix(TARGET_PREFIX)
        if operation not in OPERATIONS or not str(environ.get("HTTP_X_AMZ_TARGET", "")).startswith(TARGET_PREFIX):
            return self._app(environ, start_response)
        try:
            answer = self._answer(operation, _body(environ), _region(environ))
        except Refusal as refusal:
            return _respond(start_response, "400 Bad Request", {"__type": refusal.code, "message": refusal.message})
        return _respond(start_response, "200 OK", answer)

    def _answer(self, operation: str, body: bytes, region: str) -> Members:
        try:
            request = json.loads(body or b"{}")
        except (ValueError, RecursionError) as error:
            raise Refusal("SerializationException", "The body is no JSON") from error
        check(request, self._model.operation_model(operation).input_shape)
        if operation == "SendCommand" and _size(request.get("Parameters") or {}) > DOCUMENT_BYTES:
            raise Refusal("MaxDocumentSizeExceeded", "The size limit of a document is 64 KB.")
        with self._lock:
            answer = OPERATIONS[operation](self._region(region), {k: v for k, v in request.items() if v is not None})
        if operation in CHANGING:
            self._changed()
        return answer


def _size(parameters: Mapping[str, Sequence[str]]) -> int:
    texts = [text for name, values in parameters.items() for text in (name, *values)]
    return DOCUMENT_ITSELF + sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def send_command(region: Region, request: Members) -> Members:
    """Accept a command."""
    version = request.get("DocumentVersion", "$DEFAULT")
    if version not in ("$DEFAULT", "$LATEST", "1"):
        raise Refusal("InvalidDocumentVersion", f"Document version {version} does not exist.")
    return {"Command": shapes.command(region.run_command.send(request))}


def cancel_command(region: Region, request: Members) -> Members:
    """Ask for a command's end."""
    region.run_command.cancel(request["CommandId"], request.get("InstanceIds", []))
    return {}


def list_commands(region: Region, request: Members) -> Members:
    """List commands, newest first."""
    found = [each for each in region.run_command.commands() if _command_wanted(each, request)]
    page, token = paginate("ListCommands", found, request, PAGE)
    return {"Commands": [shapes.command(each) for each in page]} | token


def list_command_invocations(region: Region, request: Members) -> Members:
    """List invocations, those of the newest command first."""
    found = [
        (command, invocation)
        for command in region.run_command.commands()
        if request.get("CommandId", command.id) == command.id
        for invocation in command.invocations.values()
        if request.get("InstanceId", invocation.instance_id) == invocation.instance_id
        and all(_passes(each, command, shapes.states(invocation)) for each in request.get("Filters", []))
    ]
    page, token = paginate("ListCommandInvocations", found, request, PAGE)
    details = request.get("Details", False)
    return {"CommandInvocations": [shapes.listed(*each, details=details) for each in page]} | token


def get_command_invocation(region: Region, request: Members) -> Members:
    """Tell all about one invocation."""
    command = region.run_command.command(request["CommandId"])
    invocation = command.invocations.get(request["InstanceId"]) if command else None
    if command is None or invocation is None:
        raise Refusal("InvocationDoesNotExist")
    if request.get("PluginName", command.document.step) not in (command.document.step, command.document.step[4:]):
        raise Refusal("InvalidPluginName")
    return shapes.invocation(command, invocation)


def describe_instance_information(region: Region, request: Members) -> Members:
    """List the running instances that have an agent."""
    filters = [(each["key"], each["valueSet"]) for each in request.get("InstanceInformationFilterList", [])]
    filters += [(each["Key"], each["Values"]) for each in request.get("Filters", [])]
    if request.get("InstanceInformationFilterList") and request.get("Filters"):
        raise Refusal("ValidationException", "Specify either InstanceInformationFilterList or Filters.")
    managed = [
        instance
        for instance in region.managed().values()
        if instance.state == "running" and instance.agent != "missing"
    ]
    found = [instance for instance in managed if all(shapes.passes(instance, key, values) for key, values in filters)]
    page, token = paginate("DescribeInstanceInformation", found, request, PAGE)
    return {"InstanceInformationList": [shapes.managed(each) for each in page]} | token


OPERATIONS: Mapping[str, Callable[[Region, Members], Members]] = {
    "SendCommand": send_command,
    "CancelCommand": cancel_command,
    "ListCommands": list_commands,
    "ListCommandInvocations": list_command_invocations,
    "GetCommandInvocation": get_command_invocation,
    "DescribeInstanceInformation": describe_instance_information,
}
CHANGING = ("SendCommand", "CancelCommand")


def paginate(operation: str, items: Sequence[Item], request: Members, most: int) -> tuple[Sequence[Item], Members]:
    """Return the page that the request asks for and the member with the token for the next one, if there is one.

    Raises Refusal for a token that was not given for the same question.
    """
    question = json.dumps({k: v for k, v in request.items() if k != "NextToken"}, sort_keys=True)
    mark = hashlib.sha256(f"{operation} {question}".encode()).hexdigest()[:16]
    start = _offset(request["NextToken"], mark) if request.get("NextToken") else 0
    end = start + request.get("MaxResults", most)
    token = base64.urlsafe_b64encode(f"{mark}:{end}".encode()).decode()
    return items[start:end], {"NextToken": token} if end < len(items) else {}


def _offset(token: str, mark: str) -> int:
    try:
        given, _, offset = base64.urlsafe_b64decode(token.encode("ascii")).decode("ascii").partition(":")
        if given == mark:
            return max(0, int(offset))
    except (ValueError, binascii.Error):
        pass
    raise Refusal("InvalidNextToken")


def _command_wanted(command: Command, request: Members) -> bool:
    return (
        request.get("CommandId", command.id) == command.id
        and ("InstanceId" not in request or request["InstanceId"] in command.invocations)
        and all(_passes(each, command, shapes.states(command)) for each in request.get("Filters", []))
    )


def _passes(criterion: Members, command: Command, states: Sequence[str]) -> bool:
    value = criterion["value"]
    match criterion["key"]:
        case "Status":
            return value in states
        case "DocumentName":
            return bool(value == command.document.name)
        case "ExecutionStage":
            return bool(value == ("Executing" if command.completed < len(command.invocations) else "Complete"))
        case "InvokedAfter":
            return command.requested > _moment(value)
        case _:
            return command.requested < _moment(value)


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal("ValidationException", f"{text} is no timestamp") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _body(environ: WSGIEnvironment) -> bytes:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MAX_BODY:
        raise Refusal("RequestEntityTooLarge", "The request is larger than 1 MB")
    body: bytes = environ["wsgi.input"].read(length)
    return body


def _region(environ: WSGIEnvironment) -> str:
    match = _REGION.search(str(environ.get("HTTP_AUTHORIZATION", "")))
    return match["region"] if match else ""


def _respond(start_response: StartResponse, status: str, answer: Members) -> Iterable[bytes]:
    body = json.dumps(answer).encode()
    start_response(
        status,
        [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("Content-Length", str(len(body))),
            ("x-amzn-RequestId", str(uuid.uuid4())),
        ],
    )
    return [body]
