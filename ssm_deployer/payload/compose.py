"""A recipe → the payload's text: its values, and the sh parts of this package that it needs."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ssm_deployer.errors import UsageError
from ssm_deployer.payload.compact import compact, short_names
from ssm_deployer.payload.recipe import Recipe, Source
from ssm_deployer.payload.refusals import REFUSALS

MARGIN = 30  # seconds for report and cleanup, before the agent's SIGKILL
SHORTEST, LONGEST = 5, 172_800  # what the agent takes; anything else it silently turns into 3,600 (docs/sandbox.md)
WHOLE_OUTPUT = 256 << 20  # bytes of a stream beyond which it is neither hashed nor kept whole on the disk
STDOUT_EXTRACT, STDERR_EXTRACT = 20_000, 7_000  # with the record below the agent's 24,000 and 8,000 (docs/sandbox.md)
LARGEST = 48_000  # SSM takes 64 KB, with the document and the other parameters

RUN_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+")
_S3 = re.compile(r"s3://[a-z0-9.-]+/[A-Za-z0-9._~/-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_REGION = re.compile(r"[a-z0-9-]*")
_ENDPOINT = re.compile(r"(https?://[A-Za-z0-9._:/-]+)?")

_TAR_BLOCK, _LARGEST_BLOCK = 512, 65_536  # bytes

# What runs: the last line, so that a text that was cut does nothing. 3 is whom the guard listens to.
_START = '{self}=$0; case ${{1:-}} in guard) shift; guard "$@" ;; *) {begin}; main ;; esac'


def build(recipe: Recipe, *, readable: bool = False) -> str:
    """Build the text that each target of the run executes; `readable` keeps the comments and the indentation.

    Raises:
        UsageError: something in `recipe` that cannot be put into it.
    """
    body, names = _body(_delivery(recipe), readable=readable)
    start = _START.format(self=names.get("self", "self"), begin="attend" if recipe.streamed else "exec 3</dev/null")
    text = "\n".join([*_header(recipe, names, body), body, start]) + "\n"
    if len(text) > LARGEST:
        raise UsageError(f"the command would have {len(text)} bytes, more than SSM takes", "use --delivery role")
    return text


@cache
def _body(delivery: tuple[str, ...], *, readable: bool) -> tuple[str, Mapping[str, str]]:
    """All that is the same for every run, and what its variables are called."""
    parts = ("base", "place", "lock", *delivery, "unpack", "guard", "run", "main")
    text = "\n".join(_part(name) for name in parts)
    if readable:
        return text, {}
    names = short_names(text)
    return compact(text, names), names


def _by_role(recipe: Recipe) -> bool:
    return recipe.script.location.startswith("s3://")


def _delivery(recipe: Recipe) -> tuple[str, ...]:
    if recipe.streamed:
        return ("stdin",)
    return ("reboot", "download", "role" if _by_role(recipe) else "url")


def execution_timeout(recipe: Recipe) -> int:
    """Say how many seconds the agent must allow, so that the payload's own deadlines always come first.

    Raises:
        UsageError: more than SSM allows, or a timeout that is not positive.
    """
    if min(recipe.timeout, recipe.fetch_timeout) < 1 or recipe.grace < 0:
        raise UsageError("a timeout must be at least one second")
    seconds = recipe.fetch_timeout + recipe.timeout + recipe.grace + MARGIN
    if seconds > LONGEST:
        raise UsageError(
            f"SSM lets a command run for {LONGEST} s at most; with fetching and cleaning up it would be {seconds} s",
            f"use a --timeout of at most {LONGEST - seconds + recipe.timeout} s",
        )
    return max(seconds, SHORTEST)


def _header(recipe: Recipe, names: Mapping[str, str], body: str) -> list[str]:
    total = sum(source.size for source in _sources(recipe).values() if source) + recipe.unpacked_size
    values = {
        "run": valid(RUN_ID, recipe.run_id, "run id"),
        "timeout": recipe.timeout,
        "fetch_timeout": recipe.fetch_timeout,
        "grace": recipe.grace,
        "shelf": "ssm-deploy",
        "lock_seconds": execution_timeout(recipe) + recipe.lock_seconds,
        "patience": MARGIN // 2,
        "need_kib": total // 1024 + 1024,
        "whole_output": WHOLE_OUTPUT,
        "stdout_extract": STDOUT_EXTRACT,
        "stderr_extract": STDERR_EXTRACT,
        "codes": " ".join(f"{word}:{refusal.code}" for word, refusal in REFUSALS.items() if word in body),
        "run_as": valid(_USER, recipe.run_as, "user") if recipe.run_as else "",
        "bundle_digest": _content_digest(recipe),
        **(_stream(recipe) if recipe.streamed else _sources_of(recipe)),
        **(_service(recipe) if _by_role(recipe) else {}),
    }
    locations = {} if recipe.streamed else _locations(recipe)
    lines = {**locations, **{name: f"'{value}'" for name, value in values.items()}}
    return [
        "#!/bin/sh",
        f"# ssm-deploy payload, run {recipe.run_id}",
        "set -u",
        *(f"{names.get(name, name)}={value}" for name, value in lines.items()),
    ]


def _content_digest(recipe: Recipe) -> str:
    digest = recipe.bundle_digest or (recipe.bundle.sha256 if recipe.bundle else "")
    return valid(_SHA256, digest, "digest of the bundle") if digest else ""


def _service(recipe: Recipe) -> dict[str, str]:
    return {
        "region": valid(_REGION, recipe.region, "region"),
        "endpoint": valid(_ENDPOINT, recipe.endpoint_url, "endpoint URL").rstrip("/"),
    }


def _sources(recipe: Recipe) -> dict[str, Source | None]:
    return {"script": recipe.script, "inputs": recipe.inputs, "bundle": recipe.bundle}


def _locations(recipe: Recipe) -> dict[str, str]:
    """Write the locations, and what they have in common once: the signer's token alone has a kilobyte or more."""
    pattern = _S3 if _by_role(recipe) else _URL
    places = {
        name: valid(pattern, source.location, f"location of the {name}").partition("?")
        for name, source in _sources(recipe).items()
        if source
    }
    base = _common([path for path, _, _ in places.values()])
    query = _common([query for _, _, query in places.values()])
    values = {"A": f"'{base}'", "B": f"'{query}'"}
    for name in _sources(recipe):
        path, mark, rest = places.get(name, ("", "", ""))
        values[f"{name}_at"] = f"$A'{path[len(base) :]}{mark}'$B'{rest[len(query) :]}'" if path else "''"
    return values


def _common(texts: Sequence[str]) -> str:
    """Give the longest text that all of them begin with."""
    return texts[0][: next((n for n, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1), None)]


def _sources_of(recipe: Recipe) -> dict[str, str | int]:
    values: dict[str, str | int] = {}
    for name, source in _sources(recipe).items():
        values |= _source(name, source)
    return values


def _stream(recipe: Recipe) -> dict[str, int]:
    """Say in how many blocks of which size the tar comes: the larger, the fewer."""
    sizes = range(_LARGEST_BLOCK, 0, -_TAR_BLOCK)
    block = next((size for size in sizes if recipe.streamed % size == 0), None)
    if block is None:
        raise UsageError(f"no tar has {recipe.streamed} bytes")
    sizes_of = {f"{name}_size": source.size if source else 0 for name, source in _sources(recipe).items()}
    del sizes_of["script_size"]
    return {"block": block, "blocks": recipe.streamed // block, **sizes_of}


def _source(name: str, source: Source | None) -> dict[str, str | int]:
    if source is None:
        return {f"{name}_sum": "", f"{name}_size": 0}
    return {f"{name}_sum": valid(_SHA256, source.sha256, f"digest of the {name}"), f"{name}_size": source.size}


def valid(pattern: re.Pattern[str], value: str, what: str) -> str:
    """Let only such values pass as mean the same inside single quotes and to SSM, which replaces double braces."""
    if not pattern.fullmatch(value):
        shown = value.partition("?")[0]
        raise UsageError(f"{what} {shown!r} has characters that cannot be sent")
    return value


def _part(name: str) -> str:
    return Path(__file__).with_name(f"{name}.sh").read_text("utf-8")
