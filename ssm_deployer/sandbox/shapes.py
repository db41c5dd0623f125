"""How commands, invocations and instances look on the wire. Timestamps are seconds since the epoch, as JSON numbers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ssm_deployer.sandbox.command import Command, Invocation, status
from ssm_deployer.sandbox.output import STDERR_CHARACTERS, STREAM_BYTES
from ssm_deployer.sandbox.run_command import (
    DEFAULT_CONCURRENCY,
    DEFAULT_ERRORS,
    DELIVERY_TIMEOUT,
    ManagedInstance,
    Refusal,
)

AGENT_VERSION = "3.3.987.0"
_ECHOED = (
    "Targets",
    "OutputS3Region",
    "OutputS3BucketName",
    "OutputS3KeyPrefix",
    "NotificationConfig",
    "CloudWatchOutputConfig",
    "AlarmConfiguration",
)
Wire = dict[str, Any]


def states(thing: Command | Invocation) -> Sequence[str]:
    """Return the words that a Status filter may name this by."""
    return thing.details, status(thing.details)


def command(each: Command) -> Wire:
    """Return a `Command`."""
    request = each.request
    return {
        "CommandId": each.id,
        "DocumentName": each.document.name,
        "DocumentVersion": request.get("DocumentVersion", "$DEFAULT"),
        "Comment": request.get("Comment", ""),
        "ExpiresAfter": each.expires,
        "Parameters": request.get("Parameters", {}),
        "InstanceIds": request.get("InstanceIds", []),
        "Targets": [],
        "RequestedDateTime": each.requested,
        "Status": status(each.details),
        "StatusDetails": each.details,
        "MaxConcurrency": request.get("MaxConcurrency", DEFAULT_CONCURRENCY),
        "MaxErrors": request.get("MaxErrors", DEFAULT_ERRORS),
        "TargetCount": len(each.invocations),
        "CompletedCount": each.completed,
        "ErrorCount": each.errors,
        "DeliveryTimedOutCount": each.count("DeliveryTimedOut"),
        "ServiceRole": request.get("ServiceRoleArn", ""),
        "TimeoutSeconds": request.get("TimeoutSeconds", DELIVERY_TIMEOUT),
    } | {name: request[name] for name in _ECHOED if name in request}


def listed(parent: Command, each: Invocation, *, details: bool) -> Wire:
    """Return a `CommandInvocation`, with the plugins' short output only if `details`."""
    return {
        "CommandId": parent.id,
        "InstanceId": each.instance_id,
        "InstanceName": each.name,
        "Comment": parent.request.get("Comment", ""),
        "DocumentName": parent.document.name,
        "DocumentVersion": parent.request.get("DocumentVersion", "$DEFAULT"),
        "RequestedDateTime": parent.requested,
        "Status": status(each.details),
        "StatusDetails": each.details,
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "CommandPlugins": [_plugin(parent, each)] if details and (each.ran or each.short) else [],
        "ServiceRole": parent.request.get("ServiceRoleArn", ""),
    }


def _plugin(parent: Command, each: Invocation) -> Wire:
    plugin: Wire = {
        "Name": parent.document.step,
        "Status": status(each.details),
        "StatusDetails": each.details,
        "ResponseCode": each.code,
        "Output": each.short,
        **_urls(parent, each),
        "OutputS3BucketName": parent.request.get("OutputS3BucketName", ""),
        "OutputS3KeyPrefix": parent.request.get("OutputS3KeyPrefix", ""),
    }
    if each.started is not None:
        plugin["ResponseStartDateTime"] = each.started
    if each.ended is not None:
        plugin["ResponseFinishDateTime"] = each.ended
    return plugin


def invocation(parent: Command, each: Invocation) -> Wire:
    """Return the answer of GetCommandInvocation: output is empty until the end, and cut once more."""
    began, over = each.started, each.ended
    return {
        "CommandId": parent.id,
        "InstanceId": each.instance_id,
        "Comment": parent.request.get("Comment", ""),
        "DocumentName": parent.document.name,
        "DocumentVersion": parent.request.get("DocumentVersion", "$DEFAULT"),
        "PluginName": parent.document.step,
        "ResponseCode": each.code,
        "ExecutionStartDateTime": _iso(began),
        "ExecutionElapsedTime": f"PT{over - began:.3f}S" if began is not None and over is not None else "",
        "ExecutionEndDateTime": _iso(over) if began is not None else "",
        "Status": status(each.details),
        "StatusDetails": each.details,
        "StandardOutputContent": each.stdout[:STREAM_BYTES],
        "StandardErrorContent": each.stderr[:STDERR_CHARACTERS],
        **_urls(parent, each),
    }


def _urls(parent: Command, each: Invocation) -> Wire:
    bucket = parent.request.get("OutputS3BucketName")
    if not bucket:
        return {"StandardOutputUrl": "", "StandardErrorUrl": ""}
    prefix = parent.request.get("OutputS3KeyPrefix", "").strip("/")
    base = f"{prefix}/" if prefix else ""
    key = f"{base}{parent.id}/{each.instance_id}/awsrunShellScript/0.awsrunShellScript"
    url = f"https://s3.{parent.request.get('OutputS3Region', 'us-east-1')}.amazonaws.com/{bucket}/{key}"
    return {"StandardOutputUrl": f"{url}/stdout", "StandardErrorUrl": f"{url}/stderr"}


def _iso(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def managed(each: ManagedInstance) -> Wire:
    """Return an `InstanceInformation`."""
    return {
        "InstanceId": each.id,
        "PingStatus": ping_status(each),
        "LastPingDateTime": each.pinged,
        "AgentVersion": AGENT_VERSION,
        "IsLatestVersion": True,
        "PlatformType": each.platform,
        "PlatformName": each.system[0],
        "PlatformVersion": each.system[1],
        "ResourceType": "EC2Instance",
        "IPAddress": each.address,
        "ComputerName": each.hostname,
        "SourceId": each.id,
        "SourceType": "AWS::EC2::Instance",
    }


def ping_status(each: ManagedInstance) -> str:
    """Return `Online`, or `ConnectionLost` for an agent that stopped answering."""
    return "Online" if each.agent == "online" else "ConnectionLost"


def passes(each: ManagedInstance, key: str, values: Sequence[str]) -> bool:
    """Whether an instance passes a filter of DescribeInstanceInformation. Raises Refusal for one that is none."""
    facts = {
        "InstanceIds": each.id,
        "PingStatus": ping_status(each),
        "PlatformTypes": each.platform,
        "AgentVersion": AGENT_VERSION,
        "ResourceType": "EC2Instance",
        "ActivationIds": None,
        "IamRole": None,
        "AssociationStatus": None,
    }
    if key in facts:
        return facts[key] in values
    if key == "tag-key":
        return any(name in values for name in each.tags)
    if not key.startswith("tag:"):
        raise Refusal("InvalidFilterKey", f"{key} is no filter")
    return each.tags.get(key.removeprefix("tag:")) in values
