"""Settings: `config.yaml`, the environment and the flags, in rising order, as one validated value.

The file's own keys are the fields of `Settings` and its parts; the commented text that `ssm-deploy init` writes is
`TEMPLATE`, which a test reads back. An unknown key or a wrong type is an error that names path and line.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
import yaml

from ssm_deployer.errors import UsageError
from ssm_deployer.selector import parse_selector

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Seconds(int):
    """A time span in whole seconds, written `90`, `90s`, `5m`, `2h` or `1d`, between `least` and `most`."""

    least: ClassVar[int] = 1
    wanted: ClassVar[str] = "a time span such as 90s, 5m or 2h"
    most: ClassVar[int] = 172_800  # what SSM's agent allows a command; it turns anything longer into 3,600 silently

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """Read what a user wrote.

        Raises:
            ValueError: it is no time span, or out of bounds.
        """
        match = re.fullmatch(r"(\d{1,9})([smhd]?)", str(text).strip())
        if isinstance(text, bool) or match is None:
            raise ValueError(f"{text!r} is no time span such as 90s, 5m or 2h")
        span = cls(int(match[1]) * _UNITS[match[2]])
        if not cls.least <= span <= cls.most:
            raise ValueError(f"{text!r} is not between {cls.least} and {cls.most} seconds")
        return span


class DeliverySeconds(Seconds):
    """How long SSM may try to reach a target."""

    # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html, TimeoutSeconds
    least = 30
    most = 2_592_000


class SelectorText(str):
    """A selector as it was written, known to be one."""

    __slots__ = ()
    wanted: ClassVar[str] = "text such as tag:Role=web"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote.

        Raises:
            ValueError: it is no selector.
        """
        try:
            parse_selector(text)
        except UsageError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error
        return cls(text)


class Prefix(str):
    """The folder of a bucket that the runs have theirs in."""

    __slots__ = ()
    wanted: ClassVar[str] = "text such as ssm-deploy"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote.

        Raises:
            ValueError: clients that normalise URLs could not fetch from there.
        """
        if {".", ".."} & set(text.split("/")):
            raise ValueError(f"{text!r} has `.` or `..` between slashes")
        return cls(text.strip("/"))


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of the file share: fields that it does not know are errors."""


class AwsSettings(_Section, frozen=True):
    """Who asks, and where. The user name and the keys are for machines that only SSH reaches."""

    username: str = ""
    private_ssh_key_path: str = ""
    public_ssh_key_path: str = ""
    profile: str = ""
    region: str = ""


class StagingSettings(_Section, frozen=True):
    """Where the files wait for the targets, and how these may read them."""

    bucket: str = ""
    prefix: Prefix = Prefix("ssm-deploy")
    kms_key: str = ""
    delivery: Literal["presigned", "role"] = "presigned"


class Timeouts(_Section, frozen=True):
    """How long things may take, in seconds: the script, fetching its files, and reaching the target at all."""

    script: Seconds = Seconds(300)
    upload: Seconds = Seconds(60)
    delivery: DeliverySeconds = DeliverySeconds(600)


class Execution(_Section, frozen=True):
    """How the script runs on a target."""

    run_as: str = ""
    grace: Seconds = Seconds(10)


class Settings(_Section, frozen=True):
    """Everything that can be set in `config.yaml`."""

    aws: AwsSettings = AwsSettings()
    regions: tuple[str | dict[str, Any], ...] = ()
    staging: StagingSettings = StagingSettings()
    targets: tuple[SelectorText, ...] = ()
    timeouts: Timeouts = Timeouts()
    execution: Execution = Execution()

    @property
    def region_names(self) -> tuple[str, ...]:
        """The regions by name, whether the file lists `us-west-2` or `us-west-2: {…}`."""
        return tuple(name for entry in self.regions for name in ([entry] if isinstance(entry, str) else entry))

    @property
    def run_regions(self) -> tuple[str, ...]:
        """The regions that a run is for, empty if only the AWS SDK's own settings can tell."""
        return (self.aws.region,) if self.aws.region else tuple(dict.fromkeys(self.region_names))


# What stands in the environment for a key of the file. The AWS SDK's own names count too, below ours.
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "aws.region",
    "AWS_REGION": "aws.region",
    **{
        f"SSM_DEPLOY_{section}_{field}".upper(): f"{section}.{field}"
        for section, kind in (
            ("aws", AwsSettings),
            ("staging", StagingSettings),
            ("timeouts", Timeouts),
            ("execution", Execution),
        )
        for field in kind.__struct_fields__
    },
}


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
    tree, places = _read(path)
    origins = dict(places)
    if environment.get("AWS_PROFILE") or environment.get("AWS_ACCESS_KEY_ID"):
        _put(tree, "aws.profile", "")  # the SDK finds these by itself; a profile of the file must not stand above them
    if flags.get("--region"):
        environment = {name: value for name, value in environment.items() if ENVIRONMENT.get(name) != "aws.region"}
        _put(tree, "aws.region", "")
    for names, values in ((ENVIRONMENT, environment), (FLAGS, flags)):
        for name, key in names.items():
            if values.get(name):
                _put(tree, key, values[name])
                origins[key] = name
    try:
        return msgspec.convert(tree, Settings, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise UsageError(*_explain(str(error), origins)) from error


def _decode(kind: type[Seconds | SelectorText | Prefix], value: object) -> object:
    if isinstance(value, str):
        return kind.parse(value)
    if issubclass(kind, Seconds) and isinstance(value, int):
        return kind.parse(value)
    raise ValueError(f"Expected {kind.wanted}, got {type(value).__name__}")


def _put(tree: dict[str, Any], key: str, value: object) -> None:
    *sections, field = key.split(".")
    place: Any = tree
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            return  # the file has something else there, which is told when all of it is looked at
    place[field] = value


# -- the file

_KEY_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}


def _read(path: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The file's content, and for each key (`staging.bucket`) where it stands (`config.yaml line 7`)."""
    chosen = path or Path("config.yaml")
    if path is None and not chosen.exists():
        return {}, {}
    try:
        node = yaml.compose(chosen.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        # Before the tree: making it writes merged keys (`<<`) into the node.
        places = dict(_places(node, "", chosen)) if node is not None else {}
        tree = yaml.SafeLoader("").construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{chosen}{line}: no valid YAML: {error.problem}", "`ssm-deploy init` writes one") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UsageError(f"cannot read {chosen}: {reason}", "give another with --config") from error
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise UsageError(f"{chosen} line 1: expected keys such as `aws:`", "`ssm-deploy init` writes an example")
    # A section that is there but empty (`aws:` with all its keys commented out) is a section with its defaults.
    empty = {key for key in Settings.__struct_fields__ if key in tree and tree[key] is None}
    return {key: value for key, value in tree.items() if key not in empty}, places


def _places(node: yaml.Node, prefix: str, path: Path) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            where = f"{path} line {key.start_mark.line + 1}"
            if key.tag not in _KEY_TAGS:
                raise UsageError(f"{where}: a key must be text", "write it in quotes, as in 'yes': 1")
            if key.value in seen:
                raise UsageError(f"{where}: `{prefix}{key.value}` stands twice", "keep one of them")
            seen.add(key.value)
            yield f"{prefix}{key.value}", where
            yield from _places(value, f"{prefix}{key.value}.", path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{prefix.rstrip('.')}[{index}]", f"{path} line {item.start_mark.line + 1}"
            yield from _places(item, f"{prefix.rstrip('.')}[{index}].", path)


def _explain(message: str, origins: Mapping[str, str]) -> tuple[str, str]:
    """Msgspec's `Expected …, got … - at `$.staging.bucket`` in the user's words, with the place and a remedy."""
    problem, _, at = message.partition(" - at `$")
    key = at.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `(.*?)`", problem)
    if unknown:
        section, key = key, f"{key}.{unknown[1]}".lstrip(".")
        where = origins.get(key, "the settings")
        return f"{where}: `{key}` is no setting", f"known there: {', '.join(_fields(section))}"
    where = origins.get(key, "the settings")
    hint = "`ssm-deploy help upload-script` has examples" if where in FLAGS else "`ssm-deploy init` writes an example"
    return f"{where}: `{key}`: {problem[:1].lower()}{problem[1:]}", hint


def _fields(section: str) -> tuple[str, ...]:
    kind = type(getattr(Settings(), section)) if section else Settings
    return tuple(kind.__struct_fields__)


TEMPLATE = """\
# ssm-deploy: settings. Every key may be left out; what stands here commented is its default.
# A flag beats the environment (SSM_DEPLOY_STAGING_BUCKET, AWS_REGION, …), which beats this file.

aws:
  # profile: my-profile            # a profile of ~/.aws/config; default: the AWS SDK's own search
  # region: eu-west-1              # where the targets are; default: AWS_REGION, then `regions`
  # username: ubuntu               # \\
  # private_ssh_key_path: ~/.ssh/id_ed25519       #  > for machines that only SSH reaches
  # public_ssh_key_path: ~/.ssh/id_ed25519.pub    # /

# regions:                         # where the targets are, if in several regions (--region chooses)
#   - eu-west-1

staging:
  # bucket: my-bucket              # needed: an S3 bucket in the region, or in one of the regions, of the targets
  # prefix: ssm-deploy             # each run has a folder of its own below this, emptied when it ends
  # kms_key: alias/my-key          # default: the bucket's own encryption with S3's keys
  # delivery: presigned            # `role`: the targets read with the role of their own, and no bearer URL exists

# targets:                         # who is meant when the command names nobody
#   - tag:Role=web,worker
#   - i-0123456789abcdef0

timeouts:
  # script: 5m                     # then TERM, a grace, KILL; and still a report
  # upload: 60s                    # for a target to fetch the files
  # delivery: 10m                  # for SSM to reach a target at all

execution:
  # run_as: deploy                 # default: root
  # grace: 10s                     # between TERM and KILL
"""
