"""Clients for a running sandbox, and how a test sends a script and waits for its end."""

import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config

from ssm_deployer.sandbox.launch import Account

Client = Callable[..., Any]
Run = Callable[..., dict[str, Any]]
UNDER_WAY = ("Pending", "InProgress", "Delayed", "Cancelling")


def client_of(account: Account) -> Client:
    def client(service: str, region: str | None = None) -> Any:
        return boto3.session.Session().client(
            service,
            region_name=region or account.region,
            endpoint_url=account.endpoint_url,
            aws_access_key_id=account.access_key,
            aws_secret_access_key=account.secret_key,
            config=Config(signature_version="s3v4" if service == "s3" else None, retries={"total_max_attempts": 1}),
        )

    return client


def runner(account: Account, client: Client) -> Run:
    ssm = client("ssm")

    def run(*commands: str, instance: int | str = 0, seconds: float = 20, **request: Any) -> dict[str, Any]:
        instance_id = account.instances[instance] if isinstance(instance, int) else instance
        parameters = {"commands": list(commands)} | request.pop("parameters", {})
        command = ssm.send_command(
            DocumentName="AWS-RunShellScript", InstanceIds=[instance_id], Parameters=parameters, **request
        )["Command"]
        return final(ssm, command["CommandId"], instance_id, seconds)

    return run


def final(ssm: Any, command_id: str, instance_id: str, seconds: float = 20) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            invocation: dict[str, Any] = ssm.get_command_invocation(CommandId=command_id, InstanceId=instance_id)
        except ssm.exceptions.InvocationDoesNotExist:
            invocation = {"Status": "Pending"}
        if invocation["Status"] not in UNDER_WAY:
            return invocation
        time.sleep(0.02)
    raise AssertionError(f"still {invocation} after {seconds} s")
