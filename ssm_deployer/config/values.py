"""The kinds of values that can be set: each reads what a user wrote, or says what is wrong with it."""

import re
from pathlib import Path
from typing import ClassVar, Self

from ssm_deployer.errors import UsageError
from ssm_deployer.selector import LAST_PORT, is_user, parse_host, parse_selector

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


class ConnectSeconds(Seconds):
    """How long SSH may take to reach a target."""

    most = 3600


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


class Number(int):
    """A whole number between `least` and `most`."""

    least: ClassVar[int] = 0
    most: ClassVar[int] = 1_000_000
    wanted: ClassVar[str] = "a whole number"

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """Read what a user wrote.

        Raises:
            ValueError: it is no number, or out of bounds.
        """
        if isinstance(text, bool) or not re.fullmatch(r"-?[0-9]{1,9}", str(text).strip()):
            raise ValueError(f"{text!r} is no whole number")
        number = cls(text)
        if not cls.least <= number <= cls.most:
            raise ValueError(f"{text!r} is not between {cls.least} and {cls.most}")
        return number


class Port(Number):
    """Where a machine listens."""

    least = 1
    most = LAST_PORT


class Connections(Number):
    """How many machines are connected to at the same time."""

    least = 1
    most = 1000


class KeyPath(str):
    """The path of a key, with `~` taken for the home of the user."""

    __slots__ = ()
    wanted: ClassVar[str] = "text such as ~/.ssh/id_ed25519"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote.

        Raises:
            ValueError: nobody is at home there.
        """
        try:
            return cls(Path(text).expanduser() if text else "")
        except RuntimeError as error:
            raise ValueError(f"{text!r}: {error}") from error


class Jump(str):
    """The hosts that lead to the targets, as OpenSSH's ProxyJump takes them."""

    __slots__ = ()
    wanted: ClassVar[str] = "text such as deploy@bastion.example.org:22"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote.

        Raises:
            ValueError: some of it is no host.
        """
        try:
            return cls(",".join(parse_host(host).login for host in text.split(",")) if text else "")
        except UsageError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error


class UserName(str):
    """Whom to log in as."""

    __slots__ = ()
    wanted: ClassVar[str] = "text such as ubuntu"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote.

        Raises:
            ValueError: it is no name, or could be taken for an option.
        """
        if text and not is_user(text):
            raise ValueError(f"{text!r} is no name of a user")
        return cls(text)
