"""What a user calls the machines that are meant."""

import re
from typing import Literal

import msgspec

from ssm_deployer.errors import UsageError

_INSTANCE = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_HYBRID = re.compile(r"mi-[0-9a-f]{17}")


class Selector(msgspec.Struct, frozen=True):
    """What a user calls a target: `kind` id (`values` holds it), tag (`key` has one of `values`) or all."""

    kind: Literal["id", "tag", "all"]
    values: tuple[str, ...] = ()
    key: str = ""


ALL = Selector("all")


def parse_selector(text: str) -> Selector:
    """Read `i-…`, `mi-…`, `tag:KEY=VALUE[,VALUE]` or `all`.

    Raises:
        UsageError: it is none of these.
    """
    if text == "all":
        return ALL
    if _INSTANCE.fullmatch(text) or _HYBRID.fullmatch(text):
        return Selector("id", (text,))
    tag = re.fullmatch(r"tag:([^=]+)=(.+)", text, re.DOTALL)
    values = tuple(value for value in tag[2].split(",") if value) if tag else ()
    if tag and values:
        return Selector("tag", values, tag[1])
    raise UsageError(
        f"`{text}` names no target", "a target is i-… or mi-… (8 or 17 hex digits), tag:KEY=VALUE[,VALUE] or all"
    )
