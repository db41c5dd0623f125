"""File, environment and flags, in rising order, as one value."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from ssm_deployer.config.settings import Settings
from ssm_deployer.config.template import EXAMPLE
from ssm_deployer.config.values import Number, Seconds
from ssm_deployer.errors import UsageError

_SECTIONS = ("aws", "staging", "timeouts", "execution", "ssh")

# What stands in the environment for a key of the file. The AWS SDK's own names count too, below ours.
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "aws.region",
    "AWS_REGION": "aws.region",
    **{
        f"SSM_DEPLOY_{section}_{field}".upper(): f"{section}.{field}"
        for section in _SECTIONS
        for field in getattr(Settings(), section).__struct_fields__
    },
}
_WORDS: Mapping[str, bool] = {
    "1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False
}  # fmt: skip
_KINDS = {
    **dict.fromkeys(("array", "list"), "a list"), **dict.fromkeys(("object", "dict"), "keys with values"),
    **dict.fromkeys(("null", "NoneType"), "nothing"), "str": "text", "int": "a whole number", "float": "a fraction",
    "bool": "yes or no",
}  # fmt: skip

# The flags that set a key of the file, too.
FLAGS = {
    "--region": "regions",
    "--profile": "aws.profile",
    "--bucket": "staging.bucket",
    "--delivery": "staging.delivery",
    "--timeout": "timeouts.script",
    "--upload-timeout": "timeouts.upload",
    "--delivery-timeout": "timeouts.delivery",
    "--run-as": "execution.run_as",
    "--backend": "execution.backend",
    "--wave": "execution.wave",
    "--max-failures": "execution.max_failures",
    "--ssh-user": "aws.username",
    "--ssh-key": "aws.private_ssh_key_path",
    "--ssh-port": "ssh.port",
    "--ssh-option": "ssh.options",
    "--ssh-connections": "ssh.connections",
    "--sudo": "ssh.sudo",
}


def load(path: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Put the settings together: flags beat environment beat file.

    Args:
        path: the file; None for `config.yaml` in this folder, if there is one.
        environment: usually `os.environ`.
        flags: by their names in `FLAGS`; None stands for one that was not given.

    Raises:
        UsageError: the file cannot be read, is no YAML, or something in it, in the environment or in the flags is
            wrong; the message names where.
    """
    tree, places = _file(path)
    origins = dict(places)
    if environment.get("AWS_PROFILE") or environment.get("AWS_ACCESS_KEY_ID"):
        _put(tree, "aws.profile", "")  # the SDK finds these by itself; a profile of the file must not stand above them
    if flags.get("--region"):
        environment = {name: value for name, value in environment.items() if ENVIRONMENT.get(name) != "aws.region"}
        _put(tree, "aws.region", "")
    if flags.get("--ssh-key"):
        _put(tree, "ssh.key", "")  # who names a key wants no other
    for names, values in ((ENVIRONMENT, environment), (FLAGS, flags)):
        for name, key in names.items():
            if values.get(name):
                _put(tree, key, _typed(key, values[name]))
                origins[key] = name
    try:
        return msgspec.convert(tree, Settings, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise UsageError(*_explain(str(error), origins)) from error


def absent(path: Path) -> bool:
    """Whether nothing has this name; what cannot be looked for may be there, and whoever reads it is told why not."""
    try:
        path.lstat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _file(path: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """What stands in the file, and where, as `file.read` says; nothing without a file that nobody has named."""
    chosen = path or Path("config.yaml")
    if path is None and absent(chosen):
        return {}, {}
    from ssm_deployer.config import file  # noqa: PLC0415 - YAML is 12 ms that only a file needs

    return file.read(chosen)


def _decode(kind: Any, value: object) -> object:  # noqa: ANN401 - one of those in values.py
    if isinstance(value, str):
        return kind.parse(value)
    if issubclass(kind, Number | Seconds) and isinstance(value, int):
        return kind.parse(value)
    raise ValueError(f"Expected {kind.wanted}, got `{type(value).__name__}`")


def _typed(key: str, value: object) -> object:
    """What a text of the environment is where the file would have a yes or no, or a list."""
    section, _, field = key.partition(".")
    default = getattr(getattr(Settings(), section), field, None)
    if isinstance(value, str) and isinstance(default, bool):
        return _WORDS.get(value.lower(), value)
    if isinstance(value, str) and isinstance(default, tuple):
        return value.split()
    return value


def _put(tree: dict[str, Any], key: str, value: object) -> None:
    *sections, field = key.split(".")
    place: Any = tree
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            return  # the file has something else there, which is told when all of it is looked at
    place[field] = value


def _explain(message: str, origins: Mapping[str, str]) -> tuple[str, str]:
    """Msgspec's `Expected …, got … - at `$.staging.bucket`` in the user's words, with the place and a remedy."""
    problem, _, at = message.partition(" - at `$")
    key = at.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `(.*?)`", problem)
    if unknown:
        section, key = key, f"{key}.{unknown[1]}".lstrip(".")
        where = origins.get(key, "the settings")
        return f"{where}: `{key}` is no setting", f"known there: {', '.join(_fields(section))}"
    where = origins.get(key) or origins.get(key.partition("[")[0], "the settings")
    hint = "`ssm-deploy help upload-script` describes it" if where in FLAGS else EXAMPLE
    return f"{where}: `{key}`: {_in_words(problem, key)}", hint


def _in_words(problem: str, key: str) -> str:
    other = re.fullmatch(r"Invalid enum value (.*)", problem, re.DOTALL)
    if other:
        section, _, field = key.partition(".")
        choices = get_args(get_type_hints(type(getattr(Settings(), section)))[field])
        return f"{other[1]} is none of {', '.join(filter(None, choices))}"
    if problem.startswith("Expected "):
        problem = re.sub(r"`([\w |]+)`", lambda kinds: " or ".join(map(_kind, kinds[1].split(" | "))), problem)
    return f"{problem[:1].lower()}{problem[1:]}"


def _kind(name: str) -> str:
    """A type of YAML's, JSON's or Python's in the user's words."""
    return _KINDS.get(name, f"a {name}")


def _fields(section: str) -> tuple[str, ...]:
    kind = type(getattr(Settings(), section)) if section else Settings
    return tuple(kind.__struct_fields__)
