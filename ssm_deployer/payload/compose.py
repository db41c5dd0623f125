"""A recipe → the payload's text: its values, and the sh parts of this package that it needs."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from string import ascii_lowercase

from ssm_deployer.errors import UsageError
from ssm_deployer.payload.recipe import Recipe, Source
from ssm_deployer.payload.refusals import REFUSALS

MARGIN = 30  # seconds for report and cleanup, before the agent's SIGKILL
SHORTEST, LONGEST = 5, 172_800  # what the agent takes; anything else it silently turns into 3,600 (docs/sandbox.md)
WHOLE_OUTPUT = 256 << 20  # bytes of a stream beyond which it is neither hashed nor kept whole on the disk
STDOUT_EXTRACT, STDERR_EXTRACT = 20_000, 7_000  # with the record below the agent's 24,000 and 8,000 (docs/sandbox.md)
LARGEST = 48_000  # SSM takes 64 KB, with the document and the other parameters

_RUN_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+")
_S3 = re.compile(r"s3://[a-z0-9.-]+/[A-Za-z0-9._~/-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_REGION = re.compile(r"[a-z0-9-]*")
_ENDPOINT = re.compile(r"(https?://[A-Za-z0-9._:/-]+)?")

_PARTS = ("base", "place", "lock", "fetch", "{delivery}", "guard", "run", "main")


def build(recipe: Recipe, *, readable: bool = False) -> str:
    """Build the text that each target of the run executes; `readable` keeps the comments and the indentation.

    Raises:
        UsageError: something in `recipe` that cannot be put into it.
    """
    delivery = "role" if _by_role(recipe) else "url"
    body = "\n".join(_part(name.format(delivery=delivery)) for name in _PARTS)
    names: Mapping[str, str] = {}
    if not readable:
        names = short_names(body)
        body = compact(body, names)
    # The last line is all that runs: a text that was cut does nothing.
    text = "\n".join([*_header(recipe, names), body, _START.format(self=names.get("self", "self"))]) + "\n"
    if len(text) > LARGEST:
        raise UsageError(f"the command would have {len(text)} bytes, more than SSM takes", "use --delivery role")
    return text


def _by_role(recipe: Recipe) -> bool:
    return recipe.script.location.startswith("s3://")


_START = '{self}=$0; case ${{1:-}} in guard) shift; guard "$@" ;; *) main ;; esac'


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


def _header(recipe: Recipe, names: Mapping[str, str]) -> list[str]:
    total = sum(source.size for source in _sources(recipe).values() if source) + recipe.unpacked_size
    values = {
        "run": _valid(_RUN_ID, recipe.run_id, "run id"),
        "timeout": recipe.timeout,
        "fetch_timeout": recipe.fetch_timeout,
        "grace": recipe.grace,
        "lock_seconds": execution_timeout(recipe) + recipe.lock_seconds,
        "patience": MARGIN // 2,
        "need_kib": total // 1024 + 1024,
        "whole_output": WHOLE_OUTPUT,
        "stdout_extract": STDOUT_EXTRACT,
        "stderr_extract": STDERR_EXTRACT,
        "codes": " ".join(f"{word}:{refusal.code}" for word, refusal in REFUSALS.items()),
        "run_as": _valid(_USER, recipe.run_as, "user") if recipe.run_as else "",
        **_source("script", recipe.script),
        **_source("inputs", recipe.inputs),
        **_source("bundle", recipe.bundle),
        "bundle_digest": _content_digest(recipe),
        **(_service(recipe) if _by_role(recipe) else {}),
    }
    lines = {**_locations(recipe), **{name: f"'{value}'" for name, value in values.items()}}
    return [
        "#!/bin/sh",
        f"# ssm-deploy payload, run {recipe.run_id}",
        "set -u",
        *(f"{names.get(name, name)}={value}" for name, value in lines.items()),
    ]


def _content_digest(recipe: Recipe) -> str:
    digest = recipe.bundle_digest or (recipe.bundle.sha256 if recipe.bundle else "")
    return _valid(_SHA256, digest, "digest of the bundle") if digest else ""


def _service(recipe: Recipe) -> dict[str, str]:
    return {
        "region": _valid(_REGION, recipe.region, "region"),
        "endpoint": _valid(_ENDPOINT, recipe.endpoint_url, "endpoint URL").rstrip("/"),
    }


def _sources(recipe: Recipe) -> dict[str, Source | None]:
    return {"script": recipe.script, "inputs": recipe.inputs, "bundle": recipe.bundle}


def _locations(recipe: Recipe) -> dict[str, str]:
    """Write the locations, and what they have in common once: the signer's token alone has a kilobyte or more."""
    pattern = _S3 if _by_role(recipe) else _URL
    places = {
        name: _valid(pattern, source.location, f"location of the {name}").partition("?")
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


def _source(name: str, source: Source | None) -> dict[str, str | int]:
    if source is None:
        return {f"{name}_sum": "", f"{name}_size": 0}
    return {f"{name}_sum": _valid(_SHA256, source.sha256, f"digest of the {name}"), f"{name}_size": source.size}


def _valid(pattern: re.Pattern[str], value: str, what: str) -> str:
    """Let only such values pass as mean the same inside single quotes and to SSM, which replaces double braces."""
    if not pattern.fullmatch(value):
        shown = value.partition("?")[0]
        raise UsageError(f"{what} {shown!r} has characters that cannot be sent")
    return value


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.sh").read_text("utf-8")


def compact(text: str, names: Mapping[str, str]) -> str:
    """Drop comments, indentation and blanks, and shorten variables: they are for readers, and here size counts."""
    lines = (line.strip() for line in text.splitlines())
    code = "\n".join(line for line in lines if line and not line.startswith("#"))

    def shorten(found: re.Match[str]) -> str:
        return re.sub(r"[a-z_0-9]+", lambda word: names.get(word[0], word[0]), found[0])

    return re.sub(r" (&&|\|\||\|) ", r"\1", _VARIABLES.sub(shorten, code))


def short_names(text: str) -> Mapping[str, str]:
    """Give each variable of `text` a name of a letter or two."""
    used = Counter(re.findall(r"\$\{?([a-z_][a-z0-9_]*)", text))
    short = (first + second for first in ("", *ascii_lowercase) for second in ascii_lowercase)
    return dict(
        zip(
            (name for name, _ in used.most_common()),
            (name for name in short if name not in {"do", "fi", "if", "in"}),
            strict=False,
        )
    )


# Where a word is a variable: expanded, reckoned with, assigned, read, or looped over. Capitals are left alone.
_VARIABLES = re.compile(
    r"\$(\{#?)?[a-z_][a-z0-9_]*"
    r"|\$\(\([^)]*\)\)"
    r"|(?<![\w$./?&-])[a-z_][a-z0-9_]*(?==)"
    r"|(?<=\bread -r )[a-z_ ]+"
    r"|(?<=\bfor )[a-z_]+(?= in )"
)
