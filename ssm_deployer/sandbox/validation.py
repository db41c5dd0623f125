"""Checks a JSON request against botocore's own description of the operation, in the words of the service."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from botocore.model import Shape

from ssm_deployer.sandbox.run_command import Refusal

# The classes of Unicode that the model names and Python's re does not: letters, separators, numbers.
_CLASSES = {r"\p{L}": r"\w", r"\p{Z}": r"\s", r"\p{N}": r"\d"}
_TYPES: dict[str, type[Any]] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
}


def check(value: Any, shape: Shape) -> None:  # noqa: ANN401  # whatever JSON holds
    """Raise Refusal: SerializationException for a wrong type, ValidationException with all other complaints at once."""
    complaints = list(_complaints(value, shape, ""))
    if complaints:
        plural = "s" if len(complaints) > 1 else ""
        raise Refusal(
            "ValidationException",
            f"{len(complaints)} validation error{plural} detected: {'; '.join(complaints)}",
        )


def _complaints(value: Any, shape: Shape, path: str) -> Iterator[str]:  # noqa: ANN401  # whatever JSON holds
    expected = _TYPES[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is int):
        raise Refusal("SerializationException", f"Expected a {shape.type_name} at '{path or '/'}'")
    for constraint in _constraints(value, shape):
        yield f"Value '{_shown(value, shape)}' at '{path}' failed to satisfy constraint: Member must {constraint}"
    if shape.type_name == "structure":
        yield from _members(value, shape, path)
    elif shape.type_name == "list":
        for number, item in enumerate(value, 1):
            yield from _complaints(item, shape.member, f"{path}.{number}.member")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _complaints(key, shape.key, f"{path}.key")
            yield from _complaints(item, shape.value, f"{path}.{key}.member")


def _members(value: dict[str, Any], shape: Shape, path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for name, member in shape.members.items():
        where = f"{prefix}{name[0].lower()}{name[1:]}"
        if value.get(name) is not None:
            yield from _complaints(value[name], member, where)
        elif name in shape.required_members:
            yield f"Value null at '{where}' failed to satisfy constraint: Member must not be null"


def _constraints(value: Any, shape: Shape) -> Iterator[str]:  # noqa: ANN401  # whatever JSON holds
    if shape.type_name in ("string", "list", "map"):
        size, words = len(value), "have length"
    elif shape.type_name in ("integer", "long"):
        size, words = value, "have value"
    else:
        return
    if size < shape.metadata.get("min", size):
        yield f"{words} greater than or equal to {shape.metadata['min']}"
    if size > shape.metadata.get("max", size):
        yield f"{words} less than or equal to {shape.metadata['max']}"
    if (pattern := shape.metadata.get("pattern")) and not _compiled(pattern).fullmatch(value):
        yield f"satisfy regular expression pattern: {pattern}"
    if (known := getattr(shape, "enum", [])) and value not in known:
        yield f"satisfy enum value set: [{', '.join(known)}]"


def _shown(value: Any, shape: Shape) -> str:  # noqa: ANN401  # whatever JSON holds
    return "***Sensitive***" if shape.metadata.get("sensitive") else str(value)[:200]


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for foreign, own in _CLASSES.items():
        pattern = pattern.replace(foreign, own)
    return re.compile(pattern)
