"""The sandbox's process: builds the account, serves it on 127.0.0.1, and takes everything down with itself.

`python -m ssm_deployer.sandbox.server` reads one JSON line (`Order`) from stdin and writes one (`Ready`) to stdout, so
that no secret stands in an argument or in the environment. An order that is not to be kept lives until the end of
stdin, which comes with the death of whoever holds the other end, even by SIGKILL.
"""

import contextlib
import fcntl
import os
import resource
import signal
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import msgspec

PR_SET_PDEATHSIG = 1
LOCK = "lock"
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the server is to build: an empty `folder` of its own, how many instances, where, and for how long.

    `lock` names a second file that it holds as long as it lives, outside its folder.
    """

    folder: str
    size: int
    region: str
    keep: bool = False
    plain: bool = False
    lock: str = ""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What the server tells once it answers requests."""

    port: int
    access_key: str
    secret_key: str
    bucket: str
    instances: tuple[str, ...]
    isolation: str
    pid: int


def main() -> None:
    """Read the order, then split: the child serves, the parent waits and removes the folder however the child ended."""
    order = msgspec.json.decode(_line(), type=Order)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _die_with_parent()
        serve(order, parent)
    watch(child, Path(order.folder))


def watch(child: int, folder: Path) -> NoReturn:
    """Wait for the server, passing on requests to end, then remove its folder. Never returns."""
    from ssm_deployer.sandbox.container import remove  # noqa: PLC0415  # after the fork: the child needs none of it yet

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in SIGNALS:
        signal.signal(number, pass_on)
    for fd in (0, 1):
        os.close(fd)
    _, status = os.waitpid(child, 0)
    remove(folder)
    os._exit(0 if os.waitstatus_to_exitcode(status) == 0 else 1)


def serve(order: Order, watcher: int) -> NoReturn:
    """Build and serve until the end of stdin, or, for an order to keep, until SIGTERM. Never returns."""
    from ssm_deployer.sandbox import container  # noqa: PLC0415  # likewise
    from ssm_deployer.sandbox.cloud import Cloud  # noqa: PLC0415  # moto's second is spent in the child only

    folder = Path(order.folder)
    for path in (folder / LOCK, order.lock):
        if path:
            fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
    for number in SIGNALS:
        signal.signal(number, _leave)
    # Two thousand running scripts are two thousand sockets; scripts get the usual limit back (supervisor.py).
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cloud = Cloud(folder, order.size, order.region, plain=order.plain)
    try:
        cloud.start()
        _say(cloud)
        _wait(keep=order.keep)
    except KeyboardInterrupt:
        pass
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    cloud.stop()
    if os.getppid() != watcher:
        # It was killed: nobody else is left to do this.
        container.remove(folder)
    os._exit(0)


def _say(cloud: Any) -> None:  # noqa: ANN401  # Cloud, whose import is moto's
    ready = Ready(
        port=cloud.port,
        access_key=cloud.access_key,
        secret_key=cloud.secret_key,
        bucket=cloud.bucket,
        instances=cloud.instances,
        isolation=cloud.isolation,
        pid=os.getpid(),
    )
    os.write(1, msgspec.json.encode(ready) + b"\n")
    os.close(1)
    # Whatever opens next must not become "stdout".
    os.open(os.devnull, os.O_WRONLY)


def _wait(*, keep: bool) -> None:
    if keep:
        while True:
            signal.pause()
    while os.read(0, 4096):
        pass


def _line() -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1)
        if not chunk:
            raise SystemExit(2)
        line += chunk
    return bytes(line)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _die_with_parent() -> None:
    import ctypes  # noqa: PLC0415  # 10 ms that only this process pays

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


if __name__ == "__main__":
    main()
