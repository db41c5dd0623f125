"""Runs a command and tells what it and all that it started took: `usage.py REPORT LIMIT LOOK COMMAND…`.

Whatever loses its parent (a ControlMaster that went to the background, say) becomes a child of this process, which ends
it when the command has ended, and waits for it; so its CPU counts, too, and the servers' never does. The command's time
ends with the command. A command that takes longer than LIMIT seconds is killed. If LOOK is not 0, the tree is looked at
every LOOK seconds, which takes CPU itself and so is for memory only.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MEMORY = 10  # one look in so many is at memory, which costs the most
PATIENCE = 5.0  # seconds that what is left has after SIGTERM


@dataclass
class Look:
    """The most that was seen: memory of the tree without ssh (what is shared counted once), and processes of ssh.

    `most`, `before` and `after` are how many descriptors the command itself had open: ever, and at the last looks
    before the first process of ssh and after the last one (0 if it ended before it was looked at).
    """

    memory: int = 0
    ssh: int = 0
    most: int = 0
    before: int = 0
    after: int = 0


@dataclass
class Usage:
    """Seconds by the clock and of CPU, the exit code, and how many processes were left when the command had ended."""

    wall: float = 0.0
    cpu: float = 0.0
    code: int = 0
    expired: bool = False
    left: int = 0
    look: Look = field(default_factory=Look)


def measure(command: list[str], limit: float, pause: float) -> Usage:
    usage = Usage()
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    watching = threading.Event()
    if pause:
        threading.Thread(target=watch, args=(process.pid, pause, usage.look, watching), daemon=True).start()
    timer = threading.Timer(limit, expire, [usage])  # a wait with a limit would look each 50 ms only
    timer.start()
    usage.code = process.wait()
    usage.wall = time.perf_counter() - begin
    timer.cancel()
    watching.set()
    usage.left = end(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while reap():
        if time.monotonic() > deadline:
            end(signal.SIGKILL)
        time.sleep(0.005)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    usage.cpu = spent.ru_utime + spent.ru_stime
    return usage


def expire(usage: Usage) -> None:
    usage.expired = True
    end(signal.SIGKILL)


def reap() -> bool:
    """Wait for what has ended; tell whether anything has not."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def end(number: signal.Signals) -> int:
    """Signal all that is below this process, and tell how many there were."""
    found = [pid for pid in below(os.getpid()) if _read(pid, "cmdline")]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(found)


def below(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in listing.read_text().split():
                yield int(child)
                yield from below(int(child))


def watch(pid: int, pause: float, look: Look, over: threading.Event) -> None:
    for number in count():
        if over.wait(pause):
            return
        tree = [pid, *below(pid)]
        ssh = [each for each in tree if _read(each, "comm").strip() == "ssh"]
        look.ssh = max(look.ssh, len(ssh))
        _count(pid, look, alone=not ssh)
        if number % MEMORY == 0:
            look.memory = max(look.memory, sum(_memory(each) for each in tree if each not in ssh))


def _count(pid: int, look: Look, *, alone: bool) -> None:
    opened = _opened(pid)
    look.most = max(look.most, opened)
    if opened and not look.ssh:
        look.before = opened
    elif opened and alone:
        look.after = opened


def _read(pid: int, name: str) -> str:
    """Empty once the process has ended, be it waited for or not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text()
    return ""


def _memory(pid: int) -> int:
    rollup = _read(pid, "smaps_rollup").splitlines()
    return 1024 * next((int(line.split()[1]) for line in rollup if line.startswith("Pss:")), 0)


def _opened(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len([*Path(f"/proc/{pid}/fd").iterdir()])
    return 0


def leave(*_: object) -> None:
    """What was started does not outlive the benchmark, should that be ended."""
    end(signal.SIGKILL)
    sys.exit("interrupted")


def main() -> None:
    report, limit, pause, *command = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Path(report).write_text(json.dumps(asdict(measure(command, float(limit), float(pause)))))


if __name__ == "__main__":
    main()
