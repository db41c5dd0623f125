"""The process that stands in for the SSM agent's worker inside one instance: it starts scripts and reports their ends.

It is run as a file by a bare interpreter (`python -I -S supervisor.py FD`), so it imports the standard library only,
and of that no more than it must: its start is the boot of an instance.
It speaks JSON lines over the socket FD. Requests: `{"run": key, "script", "folder", "shell", "cwd", "env"}` and
`{"kill": key}`. Replies: `{"ended": key, "code", "signal", "killed", "alone", "stdout", "stderr"}`, the last two in
base64 and at most `HEAD` bytes (more of the streams stands in `folder`, which is made here), or `{"ended": key,
"error"}` if it never started. `alone` says that no process is left. End of file on the socket ends everything.
"""

import binascii
import contextlib
import errno
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD = 24_000
"""Bytes of each stream that the agent reports."""
CHUNK = 65_536
FREE = 8 << 20
"""Bytes of each stream that come as fast as they are read; a short script's output needs no patience."""
RATE = 256 << 10
"""Bytes a second of what comes after them: the agent reads 0.2 to 0.3 MB/s."""
KEPT = 32 << 20
"""Bytes of each stream that are written to its file: what is uploaded passes through the server's memory."""
OPEN_FILES = 1_024
"""The soft limit of a systemd service, which the agent is."""
PR_SET_CHILD_SUBREAPER = 36


class Stream:
    """One of a script's two output pipes: its head in memory, and of the rest the first `kept` bytes in a file."""

    def __init__(self, path: str, kept: int = KEPT) -> None:
        # The agent appends (its FileFlagsCreateOrAppend), so after the reboot of a 194 both runs' output stands here.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        self._file = os.open(path, flags, 0o600)
        self.head = bytearray(os.pread(self._file, HEAD, 0))
        self.total = os.fstat(self._file).st_size
        self._kept = kept
        self.source, self.sink = os.pipe()
        os.set_blocking(self.source, False)

    def read(self) -> bool:
        """Take what is there; False at the end of the stream."""
        try:
            chunk = os.read(self.source, CHUNK)
        except BlockingIOError:
            return True
        self.head += chunk[: HEAD - len(self.head)]
        # A full disk costs the file, never the script's pipe: the agent goes on reading.
        with contextlib.suppress(OSError):
            os.write(self._file, chunk[: max(0, self._kept - self.total)])
        self.total += len(chunk)
        return bool(chunk)

    def close(self) -> None:
        """Stop reading: whoever still writes gets SIGPIPE, as with the agent."""
        os.close(self.source)
        os.close(self._file)


class Execution:
    """One running script: its process group, its two streams and, once known, how its shell ended."""

    def __init__(self, key: str, pid: int, streams: list[Stream]) -> None:
        self.key = key
        self.pid = pid
        self.streams = streams
        self.open = set(streams)
        self.status: int | None = None

    def ended(self) -> bool:
        """The agent waits for the shell *and* for the end of both pipes (Go's exec.Cmd.Wait)."""
        return self.status is not None and not self.open


class Refused(Exception):
    """The script could not be started; the text is the agent's."""


def spawn(request: "dict[str, Any]") -> Execution:
    """Write the script and start it as the agent does: own process group, umask 022, stdin /dev/null, pipes for output.

    Raises Refused where the disk, the working directory or the shell does not allow it.
    """
    script = f"{request['folder']}/_script.sh"
    try:
        os.makedirs(request["folder"], mode=0o700, exist_ok=True)  # noqa: PTH103  # pathlib would slow every boot
        _write(script, request["script"].encode("utf-8", "surrogatepass"))
        streams = _open_streams(request["folder"])
    except OSError as error:
        raise Refused(f"failed to create script file. {(error.strerror or '').lower()}") from error
    try:
        pid = _fork(request, script, streams[0].sink, streams[1].sink)
    except OSError as error:
        for stream in streams:
            stream.close()
        reason = f"fork/exec {request['shell']}: {(error.strerror or '').lower()}"
        raise Refused(f"failed to run commands: {reason}") from error
    finally:
        for stream in streams:
            os.close(stream.sink)
    return Execution(request["run"], pid, streams)


def _write(path: str, content: bytes) -> None:
    # A FIFO that a script left here for its run after a reboot must not keep the instance waiting.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags, 0o700), "wb") as file:
        file.write(content)


def _open_streams(folder: str) -> list[Stream]:
    stdout = Stream(f"{folder}/stdout")
    try:
        return [stdout, Stream(f"{folder}/stderr")]
    except OSError:
        os.close(stdout.sink)
        stdout.close()
        raise


def _fork(request: "dict[str, Any]", script: str, stdout: int, stderr: int) -> int:
    failed, failed_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(request, script, stdout, stderr, failed_child)
    os.close(failed_child)
    # The pipe closes by itself at a successful exec: an answer is an errno.
    with os.fdopen(failed, "rb") as answer:
        number = answer.read()
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)))
    return pid


def _become(request: "dict[str, Any]", script: str, stdout: int, stderr: int, failed: int) -> None:
    """In the child: become `sh -c SCRIPT`. Never returns."""
    try:
        os.setpgid(0, 0)
        os.umask(0o022)
        for number in signal.valid_signals():
            # KILL and STOP refuse; Python itself ignores PIPE and XFSZ, which a script must not inherit.
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.chdir(request["cwd"])
        os.execve(request["shell"], ["sh", "-c", script], request["env"])  # noqa: S606  # the agent runs sh itself
    except OSError as error:
        os.write(failed, str(error.errno or errno.EIO).encode())
    finally:
        os._exit(127)


class Supervisor:
    """The loop over the socket, the pipes and the children."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._executions: dict[str, Execution] = {}
        self._selector = selectors.DefaultSelector()
        self._inbox = bytearray()
        self._resting: list[tuple[float, Execution, Stream]] = []
        self._wakeup, wakeup_child = os.pipe()
        for fd in (self._wakeup, wakeup_child):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup_child, warn_on_full_buffer=False)
        self._selector.register(self._server, selectors.EVENT_READ, None)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Work until the server's end of the socket is closed."""
        while True:
            for key, _ in self._selector.select(self._rested()):
                if key.fileobj is self._server:
                    if not self._receive():
                        return
                elif key.fileobj == self._wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wakeup, CHUNK)
                elif key.fileobj in self._selector.get_map():
                    self._read(*key.data)
            self._reap()

    def _receive(self) -> bool:
        chunk = self._server.recv(CHUNK)
        self._inbox += chunk
        *lines, rest = self._inbox.split(b"\n")
        self._inbox = bytearray(rest)
        for line in lines:
            self._obey(json.loads(line))
        return bool(chunk)

    def _obey(self, request: "dict[str, Any]") -> None:
        if "kill" in request:
            self._kill(request["kill"])
            return
        try:
            execution = spawn(request)
        except Refused as refusal:
            self._reply({"ended": request["run"], "error": str(refusal)})
            return
        self._executions[execution.key] = execution
        for stream in execution.streams:
            self._listen(execution, stream)

    def _kill(self, key: str) -> None:
        execution = self._executions.get(key)
        if execution is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(execution.pid, signal.SIGKILL)
        # What was printed until now counts; nothing after it does, even if a child that left the group prints on.
        for stream in execution.open:
            stream.read()
        self._finish(execution, killed=True)

    def _listen(self, execution: Execution, stream: Stream) -> None:
        self._selector.register(stream.source, selectors.EVENT_READ, (execution, stream))

    def _read(self, execution: Execution, stream: Stream) -> None:
        before = stream.total
        more = stream.read()
        if more and stream.total <= FREE:
            return
        self._selector.unregister(stream.source)
        if more:
            rest = (stream.total - before) / RATE
            self._resting.append((time.monotonic() + rest, execution, stream))
        else:
            execution.open.discard(stream)

    def _rested(self) -> float | None:
        """Read on from the streams that have rested; return how long the next one has to, None if there is none."""
        now = time.monotonic()
        for each in [each for each in self._resting if each[0] <= now]:
            self._resting.remove(each)
            self._listen(*each[1:])
        return min((each[0] - now for each in self._resting), default=None)

    def _reap(self) -> None:
        # As the init of the instance (or its subreaper) it also buries what scripts left behind.
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                for execution in self._executions.values():
                    if execution.pid == ended[0]:
                        execution.status = ended[1]
        for execution in [each for each in self._executions.values() if each.ended()]:
            self._finish(execution, killed=False)

    def _finish(self, execution: Execution, *, killed: bool) -> None:
        del self._executions[execution.key]
        self._resting = [each for each in self._resting if each[1] is not execution]
        for stream in execution.open:
            if stream.source in self._selector.get_map():
                self._selector.unregister(stream.source)
        code = os.waitstatus_to_exitcode(execution.status) if execution.status is not None else 0
        stdout, stderr = (
            binascii.b2a_base64(stream.head, newline=False).decode("ascii") for stream in execution.streams
        )
        for stream in execution.streams:
            stream.close()
        self._reply(
            {
                "ended": execution.key,
                "code": max(code, 0),
                "signal": max(-code, 0),
                "killed": killed,
                "alone": not children(),
                "stdout": stdout,
                "stderr": stderr,
            }
        )

    def _reply(self, message: "dict[str, Any]") -> None:
        self._server.sendall(json.dumps(message).encode() + b"\n")


def become_subreaper() -> None:
    """Have orphans of this process's descendants come to it: no PID namespace ends them."""
    import ctypes  # noqa: PLC0415  # 10 ms that only plain directories pay

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> list[int]:
    """Return the pids of this process's children, orphans of theirs included."""
    pid = os.getpid()
    listing = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return [int(child) for child in os.read(listing, CHUNK).split()]
    finally:
        os.close(listing)


def end_descendants() -> None:
    """Kill children until none is left: each death hands its own children over to the subreaper."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.001)


def main() -> None:
    """Serve the socket whose number is the first argument; `plain` as the second means: no PID namespace around us."""
    plain = sys.argv[2:] == ["plain"]
    if plain:
        become_subreaper()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    server = socket.socket(fileno=int(sys.argv[1]))
    # It came through an exec, so it is inheritable; scripts must not find it, nor keep it open.
    server.set_inheritable(False)
    try:
        with contextlib.suppress(ConnectionError):
            Supervisor(server).serve()
    finally:
        if plain:
            end_descendants()


if __name__ == "__main__":
    main()
