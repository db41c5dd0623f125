"""What a user calls the machines that are meant."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Literal

import msgspec

from ssm_deployer.errors import UsageError

_INSTANCE = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_HYBRID = re.compile(r"mi-[0-9a-f]{17}")

# Strict, and nothing begins with `-`: these become words of a command line, where ssh would take that for an option.
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+@-]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
_PORT = re.compile(r"[0-9]{1,5}")
_HOST = re.compile(r"(?:(?P<user>.*)@)?(?:\[(?P<v6>[^\]@]*)\]|(?P<name>[^:@\[\]]*))(?::(?P<port>[^:]*))?", re.DOTALL)
LAST_PORT = 65535


class Selector(msgspec.Struct, frozen=True):
    """What a user calls a target.

    `kind` id (`values` holds it), tag (`key` has one of `values`), all, ssh (`values` holds a `Host.selector`) or file
    (`values` holds the path of an inventory).
    """

    kind: Literal["id", "tag", "all", "ssh", "file"]
    values: tuple[str, ...] = ()
    key: str = ""


ALL = Selector("all")


class Host(msgspec.Struct, frozen=True):
    """A machine by its address, and whom to log in as where; an empty user and port 0 are left to others to say."""

    address: str
    user: str = ""
    port: int = 0

    @property
    def login(self) -> str:
        """`[USER@]HOST[:PORT]`, the same for whatever means the same."""
        user = f"{self.user}@" if self.user else ""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{user}{address}" + (f":{self.port}" if self.port else "")

    @property
    def selector(self) -> str:
        """What a user may write to mean it."""
        return f"ssh:{self.login}"


def parse_selector(text: str) -> Selector:
    """Read `i-…`, `mi-…`, `tag:KEY=VALUE[,VALUE]`, `all`, `ssh:[USER@]HOST[:PORT]` or `file:PATH`.

    Raises:
        UsageError: it is none of these.
    """
    if text == "all":
        return ALL
    if _INSTANCE.fullmatch(text) or _HYBRID.fullmatch(text):
        return Selector("id", (text,))
    kind, _, rest = text.partition(":")
    if kind == "ssh":
        return Selector("ssh", (parse_host(rest).selector,))
    if kind == "file" and rest and "\0" not in rest:
        return Selector("file", (rest,))
    return _parse_tag(text)


def _parse_tag(text: str) -> Selector:
    tag = re.fullmatch(r"tag:([^=]+)=(.+)", text, re.DOTALL)
    values = tuple(value for value in tag[2].split(",") if value) if tag else ()
    if tag and values:
        return Selector("tag", values, tag[1])
    raise UsageError(
        f"`{text}` names no target",
        "a target is i-… or mi-… (8 or 17 hex digits), tag:KEY=VALUE[,VALUE], all, ssh:[USER@]HOST[:PORT] or file:PATH",
    )


def parse_host(text: str) -> Host:
    """Read `[USER@]HOST[:PORT]`, where HOST is a name, an IPv4 address or an IPv6 address in brackets.

    Raises:
        UsageError: it is none.
    """
    match = _HOST.fullmatch(text)
    address = _address(match["v6"], match["name"]) if match else ""
    user, port = (match["user"], match["port"]) if match else ("", "")
    if address and (user is None or is_user(user)) and (port is None or _is_port(port)):
        return Host(address, user or "", int(port or 0))
    raise UsageError(
        f"{text!r} names no host",
        f"a host is [USER@]HOST[:PORT]: a name, an IPv4 address or an [IPv6] address, and a port up to {LAST_PORT}",
    )


def is_user(text: str) -> bool:
    """Whether a text may be the name of a user."""
    return _USER.fullmatch(text) is not None


def _address(v6: str | None, name: str | None) -> str:
    """One spelling of an address, empty if it is none."""
    try:
        if v6 is not None:
            return "" if "%" in v6 else str(IPv6Address(v6))
        if re.fullmatch(r"[0-9.]+", name or ""):  # else 10.0.5 would be a name, which resolvers read as 10.0.0.5
            return str(IPv4Address(name or ""))
    except AddressValueError:
        return ""
    return name if name and _NAME.fullmatch(name) else ""


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and 1 <= int(text) <= LAST_PORT
