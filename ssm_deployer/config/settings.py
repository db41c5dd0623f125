"""Everything that can be set, as validated values."""

import re
from typing import Any, ClassVar, Literal, Self

import msgspec

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
