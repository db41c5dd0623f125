"""The command lines of the system's OpenSSH client. Pure functions; `connection.py` runs what they return."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ssm_deployer.model import Target

USUAL_PORT = 22
KEEP_ALIVE_SECONDS, KEEP_ALIVE_COUNT = 5, 3  # a peer that is gone is noticed in 15 s
# What a master outlives its last session by: a client that is killed leaves none behind for longer.
PERSIST_SECONDS = 30

_VERBOSE = re.compile(r"debug\d: |OpenSSH_\d|Authenticated to |Transferred: |Bytes per second: ")

# Post-quantum exchanges stay in the list, but behind: docs/ssh.md has what that saves and what it costs.
FAST_EXCHANGE = "KexAlgorithms=^curve25519-sha256,curve25519-sha256@libssh.org"


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """How the user wants to log in, where `~/.ssh/config` does not say it already.

    Attributes:
        user: for targets that name none.
        key: path of a private key; only it is offered then.
        port: for targets that name none, 0 for ssh's own default.
        options: `NAME=VALUE`, as after ssh's `-o`.
        jump: `[user@]host[:port]` to go through.
        connections: how many there may be at once.
        connect_timeout: seconds for a connection to stand, before any login.
        login_seconds: for keys, accounts and profile files after that.
        transfer: whether the files come in the connection that runs the script (`stream`), or by scp before (`scp`).
        host_keys: whether an unknown host is refused (`strict`) or remembered (`accept-new`); a changed one is refused.
        key_exchange: OpenSSH's own order, or the cheapest one first (`fast`).
        sudo: whether to become root by `sudo -n`.
    """

    user: str = ""
    key: str = ""
    port: int = 0
    options: tuple[str, ...] = ()
    jump: str = ""
    connections: int = 64
    connect_timeout: int = 15
    login_seconds: int = 30
    transfer: Literal["stream", "scp"] = "stream"
    host_keys: Literal["strict", "accept-new"] = "strict"
    key_exchange: Literal["default", "fast"] = "default"
    sudo: bool = False

    @property
    def patience(self) -> int:
        """Seconds until a shell must be there."""
        return self.connect_timeout + self.login_seconds


def environment() -> dict[str, str]:
    """What ssh finds: nothing may ask on a screen. BatchMode says so for the target, but not for a jump host."""
    return {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}  # since OpenSSH 8.4


def ssh(login: Login, target: Target, access: Sequence[str], log: Path, control: Path | None = None) -> list[str]:
    """Make the command for one target, up to and without what is to be run there.

    Args:
        login: what the user wants.
        target: whom to connect to.
        access: arguments that reach this target in particular; they beat what the user wants.
        log: where ssh writes what happens to the connection, so that it is not mixed with what the target says.
        control: the socket of a connection that is there already, to go through it.
    """
    return ["ssh", "-T", "-a", "-x", "-E", str(log), *_options(login, target, access, control), "--", target.address]


def query(login: Login, target: Target, access: Sequence[str]) -> list[str]:
    """Make the command that tells what the client would do for a target, with its own configuration read."""
    return ["ssh", "-G", *_options(login, target, access, None), "--", target.address]


def master(login: Login, target: Target, access: Sequence[str], log: Path, said: Path, control: Path) -> list[str]:
    """Make the command that connects, stays in the background and lets others through; it ends once that stands.

    With ControlPersist, ssh lets what leads to the target (jump host, proxy, tunnel) say nothing on standard error,
    unless it is verbose itself. What is said goes to a file: a closed pipe would kill who says something later.
    """
    own = _each(
        {"ControlMaster": "yes", "ControlPath": literal(control), "ControlPersist": str(PERSIST_SECONDS)},
    )
    plain = _options(login, target, access, None)
    ssh = ["ssh", "-v", "-f", "-N", "-T", "-a", "-x", "-E", str(log), *own, *plain, "--", target.address]
    return ["/bin/sh", "-c", 'exec "$@" 2>"$0"', str(said), *ssh]


def quiet(text: str) -> str:
    """Leave out what ssh says only as it is verbose."""
    return "".join(line for line in text.splitlines(keepends=True) if not _VERBOSE.match(line))


def scp(login: Login, target: Target, control: Path, source: Path, name: str) -> list[str]:
    """Make the command that copies a file into the login user's home, through a connection that is there already."""
    options = _options(login, target, (), control)
    host = f"[{target.address}]" if ":" in target.address else target.address
    return ["scp", "-q", *options, "--", str(source), f"{host}:{name}"]


def close(target: Target, control: Path) -> list[str]:
    """Make the command that ends a master."""
    return ["ssh", "-q", "-O", "exit", *option("ControlPath", literal(control)), "--", target.address]


def _options(login: Login, target: Target, access: Sequence[str], control: Path | None) -> list[str]:
    # ssh takes the first value that it is given, so what must hold comes first and what is a mere default last.
    named = {
        "BatchMode": "yes",  # nobody is there to be asked
        "StrictHostKeyChecking": "yes" if login.host_keys == "strict" else "accept-new",
        "ControlMaster": "no",
        "ControlPath": literal(control) if control else "none",
        "RemoteCommand": "none",
        "RequestTTY": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "UpdateHostKeys": "no",  # it costs a signature of the server for each of its keys
        "LogLevel": "DEBUG1",  # tells which keys are offered; see ssh_verdict.py
        "ConnectTimeout": str(login.connect_timeout),
        "ConnectionAttempts": "1",
        "ServerAliveInterval": str(KEEP_ALIVE_SECONDS),
        "ServerAliveCountMax": str(KEEP_ALIVE_COUNT),
    }
    chosen = [*_each(named), *access, *_pairs(login.options), *_identity(login, target, access)]
    if login.jump:
        chosen += ["-o", f"ProxyJump={login.jump}"]
    if login.key_exchange == "fast":
        chosen += ["-o", FAST_EXCHANGE]
    return chosen


def _identity(login: Login, target: Target, access: Sequence[str]) -> list[str]:
    # Of all options ssh adds up this one, so that the key of `access` would not be the only one.
    key = "" if any(argument.startswith("IdentityFile=") for argument in access) else literal(login.key)
    wanted = {
        "User": target.user or login.user,
        "Port": str(target.port or login.port or ""),
        "IdentityFile": key,
    }
    known = {name: value for name, value in wanted.items() if value}
    return _each({**known, **({"IdentitiesOnly": "yes"} if key else {})})


def _each(options: Mapping[str, str]) -> list[str]:
    return [argument for name, value in options.items() for argument in option(name, value)]


def _pairs(options: Sequence[str]) -> list[str]:
    return [argument for option in options for argument in ("-o", option)]


def option(name: str, *values: str) -> Sequence[str]:
    """Set an option of ssh to values that may have blanks in them."""
    return ("-o", f"{name}={' '.join(map(_quoted, values))}")


def known_as(address: str, port: int) -> str:
    """Write a machine as known_hosts does, port 0 for the usual one: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""
    return address if port in {0, USUAL_PORT} else f"[{address}]:{port}"


def literal(text: Path | str) -> str:
    """For an option in which ssh would read `%` as the beginning of a token: ssh_config(5), TOKENS."""
    return str(text).replace("%", "%%")


def _quoted(value: str) -> str:
    """As ssh_config(5) reads it: a value with blanks or quotes stands in double quotes."""
    if not re.search(r"[\s\"'\\]", value):
        return value
    return '"' + re.sub(r"([\"\\])", r"\\\1", value) + '"'
