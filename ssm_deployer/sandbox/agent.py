"""The SSM agent of one instance: takes messages, runs at most five at once, and reports each one's end.

It holds no process and no clock of its own: `Machine` runs, the loop calls `tick`. What it makes of exit codes, signals
and cuts was measured against the real agent, or read in its source where marked; docs/sandbox.md lists it.
"""

import itertools
import signal
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from ssm_deployer.sandbox import document, output
from ssm_deployer.sandbox.document import Document, DocumentFailed, Parameters, ParameterStore

AT_ONCE = 5
REMEMBERED = 1_000
STOPPED = 137
REBOOT = 194
SUCCEED = 168
FAIL = 169
_STEP = "\nStep exited with code {}. Therefore, marking step as {}. Further document steps will be skipped."
# What the agent says of a document whose worker is gone after a restart (its outofproc executer).
_WORKER_LOST = (
    "document process failed unexpectedly: document worker timed out , "
    "check [ssm-document-worker]/[ssm-session-worker] log for crash reason"
)

AgentStatus = Literal["Success", "Failed", "TimedOut", "Cancelled"]


@dataclass(frozen=True)
class Message:
    """What the service delivers: one document for one instance."""

    command_id: str
    document: Document
    parameters: Parameters
    bucket: str = ""
    prefix: str = ""


@dataclass(frozen=True)
class Ending:
    """How an execution ended, as the machine saw it.

    Attributes:
        key: what `Machine.run` was given.
        code: exit code of the shell, 0 if a signal ended it.
        signal: number of that signal, else 0.
        killed: the execution was ended by `Machine.kill`.
        error: the agent's sentence if the script could not be started, else empty.
        stdout: head of the stream, at most 24,000 bytes.
        stderr: likewise.
        alone: no process is left on the machine.
    """

    key: str
    code: int = 0
    signal: int = 0
    killed: bool = False
    error: str = ""
    stdout: bytes = b""
    stderr: bytes = b""
    alone: bool = False


@dataclass(frozen=True)
class Result:
    """What the agent reports to the service: final, once per message. Times are seconds since the epoch."""

    status: AgentStatus
    code: int = -1
    stdout: str = ""
    stderr: str = ""
    short: str = ""
    ran: bool = False
    started: float = 0.0
    ended: float = 0.0


class Machine(Protocol):
    """One boot of an instance: everything that runs on it, until `off`."""

    def run(self, key: str, script: str, command_id: str, cwd: str) -> None:
        """Start `script`; its end arrives through the callback given at boot."""

    def kill(self, key: str) -> None:
        """SIGKILL the process group of an execution; its end arrives likewise."""

    def upload(self, message: Message, appended: tuple[bytes, bytes], done: Callable[[], None]) -> None:
        """Put the streams, with the agent's `appended` sentences, where the message says, then call `done`.

        Failures stay on the host.
        """

    def off(self, *, keep: bool = False) -> None:
        """Cut the power: every process is gone when this returns, and what is volatile too, unless `keep`."""


Boot = Callable[[Callable[[Ending], None], Callable[[], None]], Machine]
"""Starts the machine; the callbacks take an execution's end and the loss of the whole machine."""


@dataclass
class _Execution:
    message: Message
    started: float
    deadline: float
    stopped: Literal["", "TimedOut", "Cancelled"] = ""


@dataclass
class Agent:
    """The agent of one instance.

    Attributes:
        boot: starts the machine; called at the first message and again after each loss of power.
        finished: takes (command id, result), once for each delivered message.
        store: the Parameter Store of the instance's region.
        clock: seconds since the epoch.
        reboot_seconds: how long a reboot takes.
    """

    boot: Boot
    finished: Callable[[str, Result], None]
    store: ParameterStore
    clock: Callable[[], float]
    reboot_seconds: float = 0.2
    _machine: Machine | None = None
    _ready: float = 0.0
    _queue: deque[Message] = field(default_factory=deque)
    _running: dict[str, _Execution] = field(default_factory=dict)
    _lost: list[Message] = field(default_factory=list)
    _seen: dict[str, None] = field(default_factory=dict)
    _alone: bool = False
    _keys: "itertools.count[int]" = field(default_factory=itertools.count)

    def deliver(self, message: Message) -> None:
        """Take a message; one that was delivered before is dropped."""
        if message.command_id in self._seen:
            return
        self._seen[message.command_id] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._queue.append(message)

    def cancel(self, command_id: str) -> None:
        """Kill the command's script, or forget the command if it has not begun."""
        for key, execution in self._running.items():
            if execution.message.command_id == command_id and not execution.stopped:
                execution.stopped = "Cancelled"
                self._kill(key)
                return
        for message in [each for each in self._queue if each.command_id == command_id]:
            self._queue.remove(message)
            self.finished(command_id, Result("Cancelled"))

    def tick(self, *, on: bool) -> float | None:
        """Do what is due and return when the next thing is, in seconds since the epoch, None if nothing is.

        `on` is whether the instance has power: the first tick without cuts it.
        """
        if not on:
            self.power_off()
            return None
        now = self.clock()
        if now < self._ready:
            return self._ready
        self._report_lost()
        for key, execution in list(self._running.items()):
            if now >= execution.deadline and not execution.stopped:
                execution.stopped = "TimedOut"
                self._kill(key)
        while self._queue and len(self._running) < AT_ONCE:
            self._start(self._queue.popleft(), now)
        return min((each.deadline for each in self._running.values() if not each.stopped), default=None)

    def power_off(self) -> None:
        """Lose everything that runs; the agent reports it as failed once it is back."""
        if self._machine is not None:
            self._machine.off()
            self._machine = None
        self._lost += [execution.message for execution in self._running.values()]
        self._running.clear()

    @property
    def idle(self) -> bool:
        """Whether the machine is up without any process to show for it."""
        return self._machine is not None and self._alone and not self._running

    def rest(self) -> None:
        """Let an idle machine go until it is needed, as if it had stayed up."""
        if self._machine is not None and self.idle:
            self._machine.off(keep=True)
            self._machine = None

    def reboot(self) -> None:
        """Cut the power and come back."""
        self.power_off()
        self._ready = self.clock() + self.reboot_seconds

    def _kill(self, key: str) -> None:
        if self._machine is not None:
            self._machine.kill(key)

    def _report_lost(self) -> None:
        lost, self._lost = self._lost, []
        for message in lost:
            self.finished(message.command_id, Result("Failed", short=_WORKER_LOST))

    def _start(self, message: Message, now: float) -> None:
        if message.document.platform != "Linux":
            # A step whose precondition names another platform is skipped, and a document of skipped steps succeeds.
            self.finished(message.command_id, Result("Success", 0, ran=True, started=now, ended=now))
            return
        timeout = document.execution_timeout(message.parameters)
        try:
            script = document.resolve("\n".join(message.parameters["commands"]) + "\n", self.store)
        except DocumentFailed:
            timeout = None
        if timeout is None:
            self.finished(message.command_id, Result("Failed"))
            return
        try:
            machine = self._up()
        except OSError as error:
            self.finished(message.command_id, Result("Failed", short=f"The sandbox cannot start the instance: {error}"))
            return
        key = f"{message.command_id}/{next(self._keys)}"
        cwd = next(iter(message.parameters.get("workingDirectory", ())), "") or "/usr/bin"
        self._running[key] = _Execution(message, now, now + timeout)
        machine.run(key, script, message.command_id, cwd)

    def _up(self) -> Machine:
        if self._machine is None:
            self._machine = self.boot(self._ended, self.power_off)
        return self._machine

    def _ended(self, ending: Ending) -> None:
        self._alone = ending.alone
        execution = self._running.pop(ending.key, None)
        if execution is None:
            return
        message = execution.message
        if ending.code == REBOOT and not execution.stopped:
            self.reboot()
            self._queue.appendleft(message)
            return
        result, appended = judge(ending, execution.stopped)
        result = replace(result, started=execution.started, ended=self.clock())

        def finished() -> None:
            self.finished(message.command_id, result)

        if message.bucket and self._machine is not None:
            self._machine.upload(message, appended, finished)
        else:
            finished()


def judge(ending: Ending, stopped: Literal["", "TimedOut", "Cancelled"] = "") -> tuple[Result, tuple[bytes, bytes]]:
    """Return what the agent reports of an ending, and what it wrote itself behind each of the two streams."""
    status, code, sentence = _verdict(ending, stopped)
    stdout, stderr = ending.stdout, ending.stderr + sentence.encode()
    if code == SUCCEED:
        stderr = b""
    short = output.short(stdout, stderr)
    if code in (SUCCEED, FAIL):
        step = _STEP.format(code, "succeeded" if code == SUCCEED else "Failed").encode()
        stdout += step
        stderr += step if code == FAIL else b""
    return Result(status, code, output.cut(stdout), output.cut(stderr), short, ran=True), (b"", sentence.encode())


def _verdict(ending: Ending, stopped: Literal["", "TimedOut", "Cancelled"]) -> tuple[AgentStatus, int, str]:
    if ending.error:
        return "Failed", 1, ending.error
    if ending.killed or ending.code == STOPPED:
        # An exit 137 of the script's own reads like the agent's kill.
        return stopped or "TimedOut", STOPPED, ""
    if ending.signal:
        name = (signal.strsignal(ending.signal) or f"signal {ending.signal}").lower()
        return "Failed", -1, f"failed to run commands: signal: {name}"
    if ending.code == SUCCEED:
        return "Success", SUCCEED, "failed to run commands: exit status 168"
    if ending.code:
        return "Failed", ending.code, f"failed to run commands: exit status {ending.code}"
    return "Success", 0, ""


def environment(instance_id: str, command_id: str, region: str, cwd: str, system: tuple[str, str]) -> Mapping[str, str]:
    """Return all that a script finds in its environment: no HOME, no USER, no TERM, no AWS_REGION.

    `system` is name and version of the distribution.
    """
    return {
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD": cwd,
        "SSM_COMMAND_ID": command_id,
        "AWS_SSM_INSTANCE_ID": instance_id,
        "AWS_SSM_REGION_NAME": region,
        "AWS_SSM_PLATFORM_NAME": system[0],
        "AWS_SSM_PLATFORM_VERSION": system[1],
    }
