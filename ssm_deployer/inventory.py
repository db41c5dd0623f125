"""Inventories: files that list hosts, one a line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ssm_deployer.errors import UsageError
from ssm_deployer.selector import Host, parse_host


def read_inventory(path: str) -> Sequence[Host]:
    """Read the hosts of a file, each once, in its order.

    A line is `[USER@]HOST[:PORT]`, with or without `ssh:` in front; `#` begins a comment.

    Raises:
        UsageError: the file cannot be read, a line is no host, or there is none; the message names the line.
    """
    hosts = dict.fromkeys(_hosts(path, _text(path)))
    if not hosts:
        raise UsageError(f"{path} names no host", "write [USER@]HOST[:PORT] into it, one a line")
    return tuple(hosts)


def _text(path: str) -> str:
    try:
        return Path(path).expanduser().read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {path}: it is no text in UTF-8", "save it as UTF-8") from error
    except (OSError, RuntimeError) as error:  # the latter for a `~` that nobody is at home in
        reason = (error.strerror if isinstance(error, OSError) else "") or error
        raise UsageError(f"cannot read {path}: {reason}", "name a file of hosts as file:PATH") from error


def _hosts(path: str, text: str) -> Iterator[Host]:
    for number, line in enumerate(text.split("\n"), 1):
        host = line.partition("#")[0].strip(" \t\r")
        if not host:
            continue
        try:
            yield parse_host(host.removeprefix("ssh:"))
        except UsageError as error:
            raise UsageError(f"{path} line {number}: {error.message}", error.hint) from error
