from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from ssm_deployer.sandbox.agent import Agent, Boot, Ending, Message, Result, environment, judge
from ssm_deployer.sandbox.document import DOCUMENTS


@dataclass
class FakeMachine:
    """Keeps what it was told; the test ends executions by hand."""

    ended: Callable[[Ending], None]
    lost: Callable[[], None]
    runs: list[tuple[str, str, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    uploads: list[tuple[str, str, str, tuple[bytes, bytes]]] = field(default_factory=list)
    uploaded: list[Callable[[], None]] = field(default_factory=list)
    on: bool = True
    kept: bool = False

    def run(self, key: str, script: str, command_id: str, cwd: str) -> None:
        self.keys.append(key)
        self.runs.append((script, command_id, cwd))

    def kill(self, key: str) -> None:
        self.killed.append(key)

    def upload(self, message: Message, appended: tuple[bytes, bytes], done: Callable[[], None]) -> None:
        self.uploads.append((message.command_id, message.bucket, message.prefix, appended))
        self.uploaded.append(done)

    def off(self, *, keep: bool = False) -> None:
        self.on = False
        self.kept = keep


def unbootable(_ended: Callable[[Ending], None], _lost: Callable[[], None]) -> FakeMachine:
    raise OSError(24, "Too many open files")


class Bench:
    """An agent with its surroundings: a clock that stands, machines, and what was reported."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.machines: list[FakeMachine] = []
        self.reports: list[tuple[str, Result]] = []
        boot: Boot = self._boot
        self.agent = Agent(boot, lambda *report: self.reports.append(report), {"known": "value"}.get, lambda: self.now)

    def _boot(self, ended: Callable[[Ending], None], lost: Callable[[], None]) -> FakeMachine:
        self.machines.append(FakeMachine(ended, lost))
        return self.machines[-1]

    @property
    def machine(self) -> FakeMachine:
        return self.machines[-1]

    def deliver(self, *ids: str, **parameters: str) -> None:
        for command_id in ids:
            listed = {"commands": ["echo", "echo"]} | {name: [value] for name, value in parameters.items()}
            self.agent.deliver(Message(command_id, DOCUMENTS["AWS-RunShellScript"], listed))
        self.agent.tick(on=True)

    def end(self, number: int = 0, **how: int) -> None:
        self.machine.ended(Ending(self.machine.keys[number], **how))  # type: ignore[arg-type]  # code, signal, killed


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_no_machine_is_booted_before_the_first_message(bench: Bench) -> None:
    bench.agent.tick(on=True)
    assert bench.machines == []


def test_commands_are_joined_by_newlines_and_run_in_usr_bin(bench: Bench) -> None:
    bench.deliver("c1")
    assert bench.machine.runs == [("echo\necho\n", "c1", "/usr/bin")]


def test_a_message_delivered_twice_runs_once(bench: Bench) -> None:
    bench.deliver("c1", "c1")
    bench.end()
    bench.deliver("c1")
    assert len(bench.machine.runs) == 1
    assert len(bench.reports) == 1


def test_five_run_at_once_and_the_next_begins_when_one_ends(bench: Bench) -> None:
    bench.deliver(*(f"c{number}" for number in range(7)))
    assert len(bench.machine.runs) == 5
    bench.end(3)
    bench.agent.tick(on=True)
    assert [run[1] for run in bench.machine.runs][5:] == ["c5"]


def test_the_execution_timeout_kills_once_and_reports_137(bench: Bench) -> None:
    bench.deliver("c1", executionTimeout="30")
    assert bench.agent.tick(on=True) == 1_030.0
    bench.now = 1_030.0
    bench.agent.tick(on=True)
    bench.agent.tick(on=True)
    assert len(bench.machine.killed) == 1
    bench.end(killed=True)
    (report,) = bench.reports
    assert (report[1].status, report[1].code, report[1].stderr) == ("TimedOut", 137, "")


def test_cancel_kills_what_runs_and_forgets_what_waits(bench: Bench) -> None:
    bench.deliver(*(f"c{number}" for number in range(6)))
    bench.agent.cancel("c5")
    bench.agent.cancel("c0")
    bench.agent.cancel("c0")
    assert bench.machine.killed == [bench.machine.keys[0]]
    bench.end(killed=True)
    assert [(command, result.status) for command, result in bench.reports] == [("c5", "Cancelled"), ("c0", "Cancelled")]


def test_a_script_that_ended_by_itself_at_the_moment_of_the_cancel_keeps_its_own_end(bench: Bench) -> None:
    bench.deliver("c1")
    bench.agent.cancel("c1")
    bench.end(code=0)
    assert bench.reports[0][1].status == "Success"


def test_194_cuts_the_power_and_runs_the_whole_script_again(bench: Bench) -> None:
    bench.deliver("c1")
    first = bench.machine
    bench.end(code=194)
    assert not first.on
    bench.agent.tick(on=True)
    assert bench.machine is first
    bench.now += 1
    bench.agent.tick(on=True)
    assert bench.machine is not first
    assert bench.machine.runs == first.runs
    assert bench.reports == []
    bench.end(code=0)
    assert bench.reports[0][1].status == "Success"


def test_what_else_ran_at_a_reboot_is_reported_failed(bench: Bench) -> None:
    bench.deliver("c1", "c2")
    bench.end(0, code=194)
    bench.now += 1
    bench.agent.tick(on=True)
    ((command, result),) = bench.reports
    assert (command, result.status, result.code) == ("c2", "Failed", -1)
    assert result.short.startswith("document process failed unexpectedly")


def test_a_stopped_instance_reports_nothing_until_it_is_back(bench: Bench) -> None:
    bench.deliver("c1")
    bench.agent.tick(on=False)
    assert not bench.machine.on
    assert bench.reports == []
    bench.agent.tick(on=True)
    assert bench.reports[0][1].status == "Failed"


def test_a_late_end_of_an_execution_from_before_the_power_cut_counts_for_nothing(bench: Bench) -> None:
    bench.deliver("c1")
    bench.agent.power_off()
    bench.end(code=0)
    assert bench.reports == []


def test_an_idle_machine_may_rest_and_keeps_what_is_volatile(bench: Bench) -> None:
    bench.deliver("c1")
    bench.agent.rest()
    assert bench.machine.on
    bench.end(alone=True)
    bench.agent.rest()
    assert (bench.machine.on, bench.machine.kept) == (False, True)
    bench.deliver("c2")
    assert len(bench.machines) == 2


def test_a_machine_with_a_process_left_does_not_rest(bench: Bench) -> None:
    bench.deliver("c1", "c2")
    bench.end(0, alone=False)
    bench.agent.rest()
    bench.end(1, alone=False)
    bench.agent.rest()
    assert bench.machine.on


def test_a_machine_that_dies_by_itself_is_like_a_power_cut(bench: Bench) -> None:
    bench.deliver("c1")
    bench.machine.lost()
    bench.deliver("c2")
    assert [command for command, _ in bench.reports] == ["c1"]
    assert bench.machine.runs[0][1] == "c2"


@pytest.mark.parametrize("parameters", [{"executionTimeout": "0"}, {"commands": "{{ssm:unknown}}"}])
def test_a_document_that_fails_runs_no_step(bench: Bench, parameters: dict[str, str]) -> None:
    bench.deliver("c1", **parameters)
    assert bench.machines == []
    ((_, result),) = bench.reports
    assert result == Result("Failed", -1, ran=False)


def test_a_machine_that_cannot_boot_fails_its_command(bench: Bench) -> None:
    bench.agent.boot = unbootable
    bench.deliver("c1")
    ((_, result),) = bench.reports
    assert (result.status, result.code) == ("Failed", -1)
    assert "Too many open files" in result.short


def test_a_windows_document_is_a_success_without_output(bench: Bench) -> None:
    bench.agent.deliver(Message("c1", DOCUMENTS["AWS-RunPowerShellScript"], {"commands": ["dir"]}))
    bench.agent.tick(on=True)
    assert bench.machines == []
    assert (bench.reports[0][1].status, bench.reports[0][1].stdout) == ("Success", "")


def test_output_is_uploaded_with_the_sentence_that_the_agent_appended(bench: Bench) -> None:
    bench.agent.deliver(Message("c1", DOCUMENTS["AWS-RunShellScript"], {"commands": [""]}, "bucket", "prefix"))
    bench.agent.tick(on=True)
    bench.end(code=3)
    assert bench.machine.uploads == [("c1", "bucket", "prefix", (b"", b"failed to run commands: exit status 3"))]


def test_the_end_is_told_once_the_output_is_uploaded_and_lies_before_that(bench: Bench) -> None:
    bench.agent.deliver(Message("c1", DOCUMENTS["AWS-RunShellScript"], {"commands": [""]}, "bucket", "prefix"))
    bench.agent.tick(on=True)
    bench.end()
    assert bench.reports == []
    bench.now += 5
    bench.machine.uploaded[0]()
    assert [(result.status, result.ended) for _, result in bench.reports] == [("Success", 1_000.0)]


@pytest.mark.parametrize(
    ("ending", "status", "code", "stderr"),
    [
        (Ending("k"), "Success", 0, "err"),
        (Ending("k", code=1), "Failed", 1, "errfailed to run commands: exit status 1"),
        (Ending("k", code=255), "Failed", 255, "errfailed to run commands: exit status 255"),
        (Ending("k", code=137), "TimedOut", 137, "err"),
        (Ending("k", code=168), "Success", 168, ""),
        (Ending("k", signal=9), "Failed", -1, "errfailed to run commands: signal: killed"),
        (Ending("k", signal=11), "Failed", -1, "errfailed to run commands: signal: segmentation fault"),
        (
            Ending("k", error="failed to run commands: fork/exec x"),
            "Failed",
            1,
            "errfailed to run commands: fork/exec x",
        ),
    ],
)
def test_ends_become_what_the_agent_makes_of_them(ending: Ending, status: str, code: int, stderr: str) -> None:
    result, _ = judge(Ending(**{**vars(ending), "stderr": b"err"}))
    assert (result.status, result.code, result.stderr) == (status, code, stderr)


def test_the_appended_sentence_is_cut_away_with_a_long_stderr() -> None:
    result, _ = judge(Ending("k", code=1, stderr=b"e" * 24_000))
    assert result.stderr == "e" * 23_980 + "--output truncated--"


def test_the_environment_has_these_names_and_no_others() -> None:
    assert sorted(environment("i-1", "c1", "eu-west-1", "/usr/bin", ("Debian GNU/Linux", "12"))) == [
        "AWS_SSM_INSTANCE_ID",
        "AWS_SSM_PLATFORM_NAME",
        "AWS_SSM_PLATFORM_VERSION",
        "AWS_SSM_REGION_NAME",
        "LANG",
        "PATH",
        "PWD",
        "SSM_COMMAND_ID",
    ]
