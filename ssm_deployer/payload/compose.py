"""A job → the payload's text: its values, and the sh parts of this package that it needs."""

import re
from importlib import resources

from ssm_deployer.errors import UsageError
from ssm_deployer.payload.job import Job, Source
from ssm_deployer.payload.refusals import REFUSALS

MARGIN = 30  # seconds for report and cleanup, before the agent's SIGKILL
SHORTEST, LONGEST = 5, 172_800  # what the agent takes; anything else it silently turns into 3,600 (FACTS 1)
WHOLE_OUTPUT = 256 << 20  # bytes of a stream beyond which it is neither hashed nor kept whole on the disk
STDOUT_EXTRACT, STDERR_EXTRACT = 20_000, 7_000  # with the record below the agent's 24,000 and 8,000 (FACTS 3)
LARGEST = 48_000  # SSM takes 64 KB, with the document and the other parameters

_RUN_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+")
_S3 = re.compile(r"s3://[a-z0-9.-]+/[A-Za-z0-9._~/-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_REGION = re.compile(r"[a-z0-9-]*")
_ENDPOINT = re.compile(r"(https?://[A-Za-z0-9._:/-]+)?")

_PARTS = ("base", "place", "lock", "fetch", "{delivery}", "guard", "run", "main")


def build(job: Job, *, readable: bool = False) -> str:
    """Build the text that each target of the run executes; `readable` keeps the comments and the indentation.

    Raises:
        UsageError: something in `job` that cannot be put into it.
    """
    delivery = "role" if _by_role(job) else "url"
    parts = [_part(name.format(delivery=delivery)) for name in _PARTS]
    # The last line is all that runs: a text that was cut does nothing.
    text = "\n".join([_header(job), *(parts if readable else map(_compact, parts)), _START]) + "\n"
    if len(text) > LARGEST:
        raise UsageError(f"the command would have {len(text)} bytes, more than SSM takes", "use --delivery role")
    return text


def _by_role(job: Job) -> bool:
    return job.script.location.startswith("s3://")


_START = 'self=$0; case ${1:-} in guard) guard "$2" "$3" ;; *) main ;; esac'


def execution_timeout(job: Job) -> int:
    """Say how many seconds the agent must allow, so that the payload's own deadlines always come first.

    Raises:
        UsageError: more than SSM allows, or a timeout that is not positive.
    """
    if min(job.timeout, job.fetch_timeout) < 1 or job.grace < 0:
        raise UsageError("a timeout must be at least one second")
    seconds = job.fetch_timeout + job.timeout + job.grace + MARGIN
    if seconds > LONGEST:
        raise UsageError(
            f"SSM lets a command run for {LONGEST} s at most; with fetching and cleaning up it would be {seconds} s",
            f"use a --timeout of at most {LONGEST - seconds + job.timeout} s",
        )
    return max(seconds, SHORTEST)


def _header(job: Job) -> str:
    by_role = _by_role(job)
    total = job.script.size + sum(source.size for source in (job.bundle, job.inputs) if source) + job.unpacked_size
    values = {
        "run": _valid(_RUN_ID, job.run_id, "run id"),
        "timeout": job.timeout,
        "fetch_timeout": job.fetch_timeout,
        "grace": job.grace,
        "lock_seconds": execution_timeout(job) + job.lock_seconds,
        "need_kib": total // 1024 + 1024,
        "whole_output": WHOLE_OUTPUT,
        "stdout_extract": STDOUT_EXTRACT,
        "stderr_extract": STDERR_EXTRACT,
        "codes": " ".join(f"{word}:{refusal.code}" for word, refusal in REFUSALS.items()),
        "run_as": _valid(_USER, job.run_as, "user") if job.run_as else "",
        **_source("script", job.script, by_role),
        **_source("inputs", job.inputs, by_role),
        **_source("bundle", job.bundle, by_role),
        **(_service(job) if by_role else {}),
    }
    lines = [f"{name}='{value}'" for name, value in values.items()]
    return _share_token("\n".join(["#!/bin/sh", f"# ssm-deploy payload, run {job.run_id}", "set -u", *lines]))


def _service(job: Job) -> dict[str, str]:
    return {
        "region": _valid(_REGION, job.region, "region"),
        "endpoint": _valid(_ENDPOINT, job.endpoint_url, "endpoint URL").rstrip("/"),
    }


def _share_token(text: str) -> str:
    """Write the signer's session token once: it is a kilobyte or more, the same in every URL."""
    tokens = re.findall(r"X-Amz-Security-Token=([^&']+)", text)
    if len(tokens) < 2 or len(set(tokens)) > 1:  # noqa: PLR2004 - one URL has nothing to share with
        return text
    start, rest = text.split("set -u\n", 1)
    return f"{start}set -u\ntoken='{tokens[0]}'\n" + rest.replace(tokens[0], "'\"$token\"'")


def _source(name: str, source: Source | None, by_role: bool) -> dict[str, str | int]:  # noqa: FBT001 - private
    if source is None:
        return {f"{name}_at": "", f"{name}_sum": "", f"{name}_size": 0}
    return {
        f"{name}_at": _valid(_S3 if by_role else _URL, source.location, f"location of the {name}"),
        f"{name}_sum": _valid(_SHA256, source.sha256, f"digest of the {name}"),
        f"{name}_size": source.size,
    }


def _valid(pattern: re.Pattern[str], value: str, what: str) -> str:
    """Let only such values pass as mean the same inside single quotes and to SSM, which replaces double braces."""
    if not pattern.fullmatch(value):
        shown = value.partition("?")[0]
        raise UsageError(f"{what} {shown!r} has characters that cannot be sent")
    return value


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.sh").read_text("utf-8")


def _compact(text: str) -> str:
    """Drop comments and indentation: they are for readers of the package, and size counts here."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))
