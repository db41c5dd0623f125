"""One target's connection: the ssh processes that it takes, what is fed to them, and what they said.

Everything here is called by the one thread of `Connections`; others only read `invocation`.

Nothing is sent before the target's shell has greeted, so whatever ends before that has certainly run nothing, and may
be tried again; and no content before the payload listens. From the moment at which all of it is on its way, only the
target knows what became of it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ssm_deployer import payload
from ssm_deployer.backends import openssh
from ssm_deployer.backends.child import Child, File, Text, Watch
from ssm_deployer.backends.errand import Errand
from ssm_deployer.backends.ssh_verdict import Phase, Sight, passing, verdict
from ssm_deployer.backends.transcript import Transcript
from ssm_deployer.model import Invocation, Status, Target

CLOSE_SECONDS = 10.0  # for ssh to end the connection that others went through
CANCEL_SECONDS = 1.0  # between two words to stop: the first may come before there is anything to be stopped
RETRIES = (1.0, 2.0, 4.0, 8.0)  # seconds to wait for a server that takes no more connections

_STATUSES = {
    "queued": Status.PENDING,
    "connecting": Status.PENDING,
    "copying": Status.PENDING,
    "sending": Status.SENT,
    "running": Status.RUNNING,
}


class Connection:
    """What is done for one target.

    Args:
        target: whom to connect to.
        errand: what for.
        number: names its files.
        watch: whoever calls back when something has come.
        now: seconds on a clock that nobody sets.
        on_change: called when `invocation` has changed.
    """

    def __init__(
        self,
        target: Target,
        errand: Errand,
        number: int,
        watch: Watch,
        now: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self.target = target
        self.errand = errand
        self.invocation = Invocation(target=target.id, word="queued", command=errand.command)
        self.resting_until = 0.0  # before the next attempt
        self._watch = watch
        self._now = now
        self._on_change = on_change
        self._log = errand.folder / f"{number}.log"
        self._said = errand.folder / f"{number}.said"
        self._control = errand.folder / f"{number}.sock"
        self._retries = iter(RETRIES)
        self._spread = 0.75 + number * 0.618 % 0.5  # so that those who met do not meet again
        self._cancelled = False
        self._said_until = 0.0  # when the word to stop is said again
        self._final: Invocation | None = None  # how it ended, while it is tidied up after
        self._child: Child | None = None
        self._reset()

    def _reset(self) -> None:
        self._phase: Phase = "queued"
        self._access: Sequence[str] = ()
        self._heard = self._transcript()
        self._deadline = float("inf")
        self._allowed = 0.0
        self._overdue = 0.0
        self._steps: Iterator[Callable[[], None]] = iter(())

    def _transcript(self) -> Transcript:
        greeting = payload.greeting(self.errand.run_id).encode() + b"\n"
        listening = payload.listening(self.errand.run_id).encode() + b"\n"
        cues = [(greeting, self._send_text), (listening, self._send_content)]
        # What was copied is not asked for, and whatever a script prints is no cue.
        return Transcript(greeting, cues[:1] if self.errand.by_scp else cues)

    # -- what the driver calls

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.invocation.status.final

    @property
    def due(self) -> float:
        """When `tick` wants to be called."""
        return min(self._deadline, self._said_until) if self._stopping else self._deadline

    def begin(self, access: Sequence[str]) -> None:
        """Connect."""
        self._access = access
        self._steps = iter([self._connect, self._copy, self._run] if self.errand.by_scp else [self._run])
        self._next()

    def fail(self, word: str, detail: str) -> None:
        """Give up before any connection."""
        self._settle(Status.UNREACHED, word, detail)

    def cancel(self) -> None:
        """Stop what goes on, which takes as long as it takes; what has not begun does not begin."""
        if self.over or self._cancelled or self._final is not None:
            return
        self._cancelled = True
        if self._child is None:
            self._settle(Status.CANCELLED, "Cancelled", "stopped before it was connected to")
        elif self._phase == "running":
            self._show(Status.CANCELLING, "cancelling")
            self.tick()
        else:  # not all of the content is there, so the script cannot be run
            self._child.kill()

    def tick(self) -> None:
        """Do what time demands."""
        if self._child is None:
            return
        if self._now() >= self._deadline:
            self._overdue = self._allowed
            self._child.kill()
        elif self._stopping and self._now() >= self._said_until:
            self._said_until = self._now() + CANCEL_SECONDS
            self._child.say(b"cancel\n")

    def abandon(self) -> None:
        """End the connection, whatever that means for the target."""
        if self._child is not None and self._final is None:
            self._child.kill()

    def discard(self) -> None:
        """End it and hear no more of it."""
        if self._child is not None:
            self._child.discard()

    # -- the steps

    def _next(self) -> None:
        self._child = None
        step = next(self._steps)
        try:
            step()
        except OSError as error:
            self.fail("NoClient", f"{error.filename or 'ssh'} cannot be started: {error.strerror}")

    def _connect(self) -> None:
        self._enter("connecting", self.errand.login.patience)
        files = (self._log, self._said, self._control)
        self._spawn(openssh.master(self.errand.login, self.target, self._access, *files), self._connected)

    def _copy(self) -> None:
        self._enter("copying", self.errand.limits.fetch)
        errand = self.errand
        command = openssh.scp(errand.login, self.target, self._control, errand.content_path, errand.copied_name)
        self._spawn(command, self._stepped)

    def _run(self) -> None:
        self._enter("connecting", self.errand.login.patience)
        control = self._control if self.errand.by_scp else None
        command = openssh.ssh(self.errand.login, self.target, self._access, self._log, control)
        self._spawn([*command, self.errand.command_for(self.target)], self._ended)

    def _spawn(self, command: Sequence[str], on_end: Callable[[int], None]) -> None:
        self._child = Child(
            command,
            self._watch,
            on_stdout=self._heard.take_stdout,
            on_stderr=self._heard.take_stderr,
            on_end=on_end,
            environment=openssh.environment(),
        )

    def _connected(self, code: int) -> None:
        self._heard.take_stderr(openssh.quiet(_taken(self._said)).encode())
        self._stepped(code)

    def _stepped(self, code: int) -> None:
        if code or self._cancelled or self._overdue:
            self._ended(code)
        else:
            self._next()

    # -- what comes

    def _send_text(self) -> None:
        self._enter("sending", self.errand.limits.fetch + 5)
        assert self._child is not None  # noqa: S101 - it has just greeted
        self._child.feed(Text(self.errand.line), self._sent if self.errand.by_scp else _nothing_more)

    def _send_content(self) -> None:
        assert self._child is not None  # noqa: S101 - it has just said that it listens
        self._child.feed(File(self.errand.content, self.errand.content_size), self._sent)

    def _sent(self) -> None:
        # The payload keeps its own deadlines; this is for a payload, or a network, that is no more.
        limits = self.errand.limits
        self._enter("running", limits.fetch + limits.script + limits.grace + 60)

    def _ended(self, code: int) -> None:
        sight = Sight(
            phase=self._phase,
            stdout=self._heard.stdout,
            stderr=self._heard.stderr,
            log=_taken(self._log),
            exit_code=code,
            overdue=self._overdue,
            cancelled=self._cancelled,
        )
        self._child = None
        pause = next(self._retries, None) if passing(sight) else None
        final = verdict(self.target, self.errand.command, sight, self.errand.run_id)
        if pause is not None:
            self._rest(pause, final.detail)
            return
        self._final = final
        self._heard.stop_listening()  # whatever is said while it is tidied up
        if not self._control.exists():
            self._conclude()
        elif sight.phase == "running":
            self._close()
        else:
            self._remove()

    def _remove(self) -> None:
        """Remove what was copied: nothing will run that would do it."""
        command = openssh.ssh(self.errand.login, self.target, self._access, self._log, self._control)
        self._tidy([*command, f"rm -f {self.errand.copied_name}"], self._close)

    def _close(self) -> None:
        self._tidy(openssh.close(self.target, self._control), self._conclude)

    def _tidy(self, command: Sequence[str], then: Callable[[], None]) -> None:
        self._deadline = self._now() + CLOSE_SECONDS
        try:
            self._spawn(command, lambda _: then())
        except OSError:
            then()  # what cannot be done is done by time

    def _conclude(self) -> None:
        assert self._final is not None  # noqa: S101 - who comes here has one
        self._child = None
        self.invocation = self._final
        self._heard = self._transcript()  # nobody needs what was in it
        self._on_change()

    def _rest(self, pause: float, reason: str) -> None:
        self._reset()
        self.resting_until = self._now() + pause * self._spread
        self._show(Status.PENDING, "waiting", f"{reason}; it is tried again")

    # -- the state

    @property
    def _stopping(self) -> bool:
        """Whether the target is to be told to stop."""
        return self._cancelled and self._phase == "running" and self._final is None

    def _enter(self, phase: Phase, seconds: float) -> None:
        self._phase = phase
        self._allowed = seconds
        self._deadline = self._now() + seconds
        self._show(_STATUSES[phase], phase)

    def _show(self, status: Status, word: str, detail: str = "") -> None:
        self.invocation = Invocation(
            target=self.target.id, status=status, word=word, detail=detail, command=self.errand.command
        )
        self._on_change()

    def _settle(self, status: Status, word: str, detail: str) -> None:
        self._child = None
        self._show(status, word, detail)


def _taken(path: Path) -> str:
    """What is in a file, if there is one, and is no more."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    path.unlink()
    return text


def _nothing_more() -> None:
    """Wait for what the target has to say."""
