"""A sandbox from nothing to the end of its first command, and what it holds."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from ssm_deployer.sandbox.launch import Account, throwaway

BATCH = 50
LOOK_SECONDS = 0.01
ENDS = {"Success", "Failed", "Cancelled", "TimedOut"}


def of(size: int) -> dict[str, float]:
    """Seconds to each step, then memory and processes before and after all instances have run something."""
    begin = time.perf_counter()
    with throwaway(size) as account:
        ready = time.perf_counter() - begin
        ssm = _client(account)
        made = time.perf_counter()
        _run(ssm, account.instances[:1])
        first = time.perf_counter() - made
        idle = _held(account)
        whole = _timed(lambda: _run(ssm, account.instances))
        return {"ready": ready, "first": first, "all": whole, **_named(idle, "idle"), **_named(_held(account), "after")}


def _client(account: Account) -> Any:
    return boto3.session.Session().client(
        "ssm",
        region_name=account.region,
        endpoint_url=account.endpoint_url,
        aws_access_key_id=account.access_key,
        aws_secret_access_key=account.secret_key,
        config=Config(proxies={}),
    )


def _run(ssm: Any, instances: tuple[str, ...]) -> None:
    batches = [instances[first : first + BATCH] for first in range(0, len(instances), BATCH)]
    for command in [_send(ssm, batch) for batch in batches]:
        while not ENDS.issuperset(_statuses(ssm, command)):
            time.sleep(LOOK_SECONDS)


def _send(ssm: Any, instances: tuple[str, ...]) -> str:
    sent = ssm.send_command(DocumentName="AWS-RunShellScript", InstanceIds=instances, Parameters={"commands": ["true"]})
    return str(sent["Command"]["CommandId"])


def _statuses(ssm: Any, command: str) -> set[str]:
    pages = ssm.get_paginator("list_command_invocations").paginate(CommandId=command)
    seen = [each["Status"] for page in pages for each in page["CommandInvocations"]]
    return set(seen) or {"Pending"}


def _timed(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _held(account: Account) -> dict[str, float]:
    """Processes of a sandbox, and their memory, what they share counted once."""
    pids = [account.pid, *_descendants(account.pid)]
    return {"processes": len(pids), "memory": sum(map(_memory, pids))}


def _descendants(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):  # a child is listed with the thread that made it
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
            for child in listing.read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _memory(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
        return 0
    return 1024 * next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def _named(values: dict[str, float], when: str) -> dict[str, float]:
    return {f"{name} {when}": value for name, value in values.items()}
