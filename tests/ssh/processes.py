"""What runs in a farm, read from the /proc of its namespace."""

import contextlib
from collections.abc import Iterable
from pathlib import Path


class ProcessTable:
    """All processes below a farm's first one, by the numbers that they have there."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc

    def all(self) -> list[int]:
        return [int(path.name) for path in self.proc.iterdir() if path.name.isdigit()]

    def read(self, pid: int, name: str) -> bytes:
        """Empty once the process is gone."""
        with contextlib.suppress(OSError):
            return (self.proc / str(pid) / name).read_bytes()
        return b""

    def exists(self, pid: int) -> bool:
        return (self.proc / str(pid)).exists()

    def command(self, pid: int) -> str:
        """Its command line; nothing if it has ended, be it waited for or not."""
        return self.read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()

    def is_sshd(self, pid: int) -> bool:
        """Newer versions serve a connection by other programs: sshd-session, sshd-auth."""
        with contextlib.suppress(OSError):
            return (self.proc / str(pid) / "exe").readlink().name.startswith("sshd")
        return False

    def first_child(self, pid: int) -> int:
        """0 if there is none."""
        return int((self.read(pid, f"task/{pid}/children").split() or [b"0"])[0])

    def namespace(self, pid: int) -> int:
        with contextlib.suppress(OSError):
            return (self.proc / str(pid) / "ns" / "pid").stat().st_ino
        return 0

    def in_namespace_of(self, pid: int) -> set[int]:
        mine = self.namespace(pid)
        return {other for other in self.all() if mine and self.namespace(other) == mine}

    def below(self, ancestor: int) -> set[int]:
        """Its children, their children and so on."""
        parents = {pid: self.parent(pid) for pid in self.all()}
        found: set[int] = set()
        while new := {pid for pid, parent in parents.items() if parent in {ancestor, *found}} - found:
            found |= new
        return found

    def parent(self, pid: int) -> int:
        after_the_name = self.read(pid, "stat").rpartition(b")")[2].split()
        return int(after_the_name[1]) if after_the_name else 0

    def marked(self, mark: bytes) -> set[int]:
        """Those that have these bytes in their environment."""
        return {pid for pid in self.all() if mark in self.read(pid, "environ")}

    def commands(self, pids: Iterable[int]) -> list[str]:
        """Sorted, without sshd's own."""
        return sorted(command for pid in pids if not self.is_sshd(pid) and (command := self.command(pid)))
