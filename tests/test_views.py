"""What a run looks like: on a live screen, as lines of words or JSON, and in the report at its end."""

import io
import re
from collections.abc import Sequence
from typing import Any

import pytest
from fakes import failed, make_plan, make_record, succeeded
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console, RenderableType

from ssm_deployer.events import (
    CancelRequested,
    Cleaned,
    Event,
    ExtractRead,
    InvocationChanged,
    Noted,
    Run,
    RunAborted,
    RunFinished,
    RunStarted,
    SendIntended,
    Sent,
    StagingFinished,
    StagingProgressed,
    from_json,
    replay,
)
from ssm_deployer.model import Handle, Invocation, Plan, Status, Target
from ssm_deployer.views import words
from ssm_deployer.views.lines import JsonView, PlainView
from ssm_deployer.views.live import LiveView, render
from ssm_deployer.views.report import report
from ssm_deployer.views.table import TargetsTable, plan_view

HOSTILE = "web\x1b[31m[bold]x[/][/nothing]\x9b2J\n:smile:\x07"


def shown(renderable: RenderableType, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, height=50, highlight=False, emoji=True)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def events_of(*invocations: Invocation, plan: Plan | None = None) -> list[Event]:
    plan = plan or make_plan(*(each.target for each in invocations))
    ids = tuple(target.id for target in plan.targets)
    return [
        RunStarted(time=0.0, plan=plan, version="1"),
        StagingProgressed(time=1.0, sent=10),
        StagingFinished(time=1.0, location="s3://bucket/folder/", size=4100),
        SendIntended(time=2.0, targets=ids),
        Sent(time=2.0, handle=Handle(command="c-1", targets=ids)),
        *(InvocationChanged(time=5.0, invocation=each) for each in invocations),
    ]


def run_of(*invocations: Invocation, more: Sequence[Event] = (), plan: Plan | None = None) -> Run:
    return replay([*events_of(*invocations, plan=plan), *more])


def lines_of(run: Run) -> list[str]:
    return [line.plain for line in report(run)]


# -- words


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain ünïcode\n\ttab", "plain ünïcode\n\ttab"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hclear", "clear"),
        ("\x1b[?25l\x1b[38:2:1:2:3mx", "x"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;aGVsbG8=\x07", ""),
        ("\x1bPq#0\x1b\\x", "q#0x"),
        ("\x1bcreset", "reset"),
        ("\x1b\x1b[31m", "[31m"),
        ("\x1b[\x1b[0m31m", "31m"),
        ("end\x1b", "end�"),
        ("\x9b31mx\x9d0;t\x9c", "�31mx�0;t�"),
        ("a\x00b\x08c\x7f", "a�b�c�"),
        ("10%\r20%\r\ndone", "10%\n20%\ndone"),
        ("name-\udcff", "name-�"),
    ],
)
def test_nothing_that_steers_a_terminal_is_printable(text: str, safe: str) -> None:
    assert words.printable(text) == safe


def test_a_title_that_does_not_end_hides_no_lines() -> None:
    text = "\x1b]0;title\nthe error\nmore\x07"
    assert "the error\nmore" in words.printable(text)


@given(st.text(st.sampled_from("\x1b[]\x07\\;0m?P\x9b\x9c\r\n\tab\x00\ud800")))
def test_whatever_is_written_only_line_ends_and_tabs_are_left_of_the_controls(text: str) -> None:
    safe = words.printable(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", safe)
    assert words.printable(safe) == safe
    assert "\n" not in words.one_line(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (4100, "4.1 kB"), (2e6, "2.0 MB"), (5e15, "5000.0 TB")],
)
def test_sizes_are_short(number: float, text: str) -> None:
    assert words.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0, "0.0 s"), (1.23, "1.2 s"), (60, "1 min 0 s"), (185, "3 min 5 s"), (7380, "2 h 3 min")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_the_last_line_is_of_the_stream_that_explains_the_end() -> None:
    good, bad = succeeded("i-1", "one\ntwo\n\n"), failed("i-1", "first\n  the cause \n")
    assert words.last_line(good) == "two"
    assert words.last_line(bad) == "the cause"
    assert words.last_line(replace(bad, stdout="said\n", stderr="\n \n")) == "said"
    assert words.last_line(replace(good, stdout="", stderr="warned\n")) == "warned"
    assert words.last_line(replace(good, stdout="")) == ""


def test_every_status_has_a_mark() -> None:
    assert set(words.MARKS) == set(Status)


@pytest.mark.parametrize(("encoding", "able"), [("utf-8", True), ("latin-1", False), ("ascii", False)])
def test_a_table_is_drawn_only_where_its_marks_can_be_written(encoding: str, able: bool) -> None:
    assert words.has_marks(encoding) == able


# -- the live screen


def height_of(run: Run, width: int, height: int) -> int:
    console = Console(file=io.StringIO(), width=width, height=height)
    return len(console.render_lines(render(run, 10.0, height), console.options, pad=False))


def fleet(size: int) -> list[Invocation]:
    statuses = list(Status)
    return [
        Invocation(target=f"i-{n:017x}", status=statuses[n % len(statuses)], stdout="word " * 60, detail="why " * 50)
        for n in range(size)
    ]


@pytest.mark.parametrize("height", [3, 5, 6, 10, 24, 50])
@pytest.mark.parametrize("width", [20, 80])
def test_the_screen_is_never_higher_than_the_terminal(width: int, height: int) -> None:
    for size in (0, 1, height - 5, height, 200):
        assert height_of(run_of(*fleet(max(size, 0))), width, height) <= height


def test_a_long_reason_takes_no_room_from_the_target_and_where_it_stands() -> None:
    target = "ssh:somebody@a-rather-long-name.example.org:2222"
    refused = Invocation(target=target, status=Status.UNREACHED, detail="it refused the login " * 20)
    [row] = [line for line in shown(render(run_of(refused), 60.0, 24), width=90).splitlines() if "ssh:" in line]
    assert f"{target}  unreached" in row
    assert row.rstrip().endswith("…")


def test_where_not_all_have_room_the_failures_are_shown_and_the_rest_is_counted() -> None:
    good = [succeeded(f"i-{n}") for n in range(30)]
    screen = shown(render(run_of(*good, failed("i-bad")), 10.0, 10))
    rows = [line for line in screen.splitlines() if re.match(r"\S  i-", line)]
    assert len(rows) == 5
    assert rows[0].split()[:3] == ["✗", "i-bad", "failed"]
    assert "and 26 more: 26 succeeded" in screen


def test_a_row_tells_mark_target_status_time_and_last_line() -> None:
    [row] = [line for line in shown(render(run_of(failed("i-1")), 60.0, 24)).splitlines() if "i-1" in line]
    assert row.split() == ["✗", "i-1", "failed", "3.0", "s", "exit", "3"]


def test_time_goes_on_for_what_still_runs_and_there_is_none_for_what_was_not_sent() -> None:
    running = Invocation(target="i-1", status=Status.RUNNING)
    assert "40.0 s" in shown(render(run_of(running), 42.0, 24))
    unsent = replay([RunStarted(time=0.0, plan=make_plan("i-1"), version="1")])
    assert shown(render(unsent, 42.0, 24)).splitlines()[1].split() == ["·", "i-1", "pending"]


@pytest.mark.parametrize(
    ("more", "head"),
    [
        ([], "1 of 2 done"),
        ([CancelRequested(time=6.0, commands=("c",))], "cancelling; Ctrl-C again leaves at once"),
        ([InvocationChanged(time=6.0, invocation=failed("i-2"))], "cleaning up"),
        ([InvocationChanged(time=6.0, invocation=failed("i-2")), Cleaned(time=7.0)], "reading longer output"),
        ([RunAborted(time=6.0, message="m")], "stopped · 6.0 s"),
    ],
)
def test_the_head_tells_what_is_going_on(more: list[Event], head: str) -> None:
    run = run_of(succeeded("i-1"), more=more, plan=make_plan("i-1", "i-2"))
    assert head in shown(render(run, 10.0, 24)).splitlines()[0]


def test_the_head_tells_of_staging() -> None:
    staging = replay(events_of(plan=make_plan("i-1"))[:2])
    assert "staging the files, 10 B sent" in shown(render(staging, 10.0, 24))


def hostile() -> Run:
    plan = make_plan()
    plan = replace(plan, targets=(Target(id="i-1", name=HOSTILE, via="ssm"),), script=HOSTILE, notes=(HOSTILE,))
    invocation = replace(failed("i-1", HOSTILE), detail=HOSTILE, stdout=HOSTILE)
    return run_of(
        invocation, plan=plan, more=[Noted(time=6.0, message=HOSTILE), Cleaned(time=7.0, leftovers=(HOSTILE,))]
    )


def assert_harmless(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert "[bold]x[/][/nothing]" in text  # as it stands: neither markup nor emoji of rich
    assert ":smile:" in text


def test_names_details_and_outputs_of_a_target_steer_neither_terminal_nor_rich() -> None:
    run = hostile()
    screen = shown(render(run, 10.0, 24))
    assert_harmless(screen)
    assert len(screen.splitlines()) == 2
    assert_harmless("\n".join(lines_of(run)))
    assert_harmless(shown(plan_view(run.plan)))
    lines: list[str] = []
    view = PlainView(lines.append)
    view.show(InvocationChanged(time=5.0, invocation=run.invocations["i-1"]), run)
    view.show(Noted(time=5.0, message=HOSTILE), run)
    view.show(Cleaned(time=5.0, leftovers=(HOSTILE,)), run)
    assert len(lines) == 3
    for line in lines:
        assert "\n" not in line
        assert_harmless(line)


def test_a_terminal_can_show_that_ctrl_c_was_pressed_without_breaking_the_screen() -> None:
    """It puts `^C` behind the last line; where that is full, into a line of its own, of which rich knows nothing."""
    screen = io.StringIO()
    console = Console(file=screen, width=80, height=20, force_terminal=True, color_system=None)
    events = events_of(replace(failed("i-1"), detail="x" * 100))
    with LiveView(console, lambda: 10.0) as view:
        for event in events:
            view.show(event, replay(events))
    drawn = [line for line in re.split(r"[\r\n]|\x1b\[[^a-zA-Z]*[a-zA-Z]", screen.getvalue()) if "i-1" in line]
    assert {len(line) for line in drawn} == {78}


def test_the_live_view_draws_the_run_and_takes_the_screen_away_again() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=20, color_system=None)
    told = events_of(succeeded("i-1"), plan=replace(make_plan("i-1"), notes=("a rehearsal",)))
    run = replay(told)
    with LiveView(console, lambda: 10.0) as view:
        for event in told:
            view.show(event, run)
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    assert "note: a rehearsal" in drawn
    assert "✓  i-1" in drawn
    assert drawn.endswith("\x1b[2K")  # the last lines are erased: the report takes their place


# -- lines


def written(view: Any, lines: list[str], told: Sequence[Event]) -> list[str]:
    with view:
        for number, event in enumerate(told):
            view.show(event, replay(told[: number + 1]))
    return lines


ALL = [
    *events_of(succeeded("i-1"), failed("i-2")),
    ExtractRead(time=6.0, target="i-1", stdout="o", stderr="e"),
    CancelRequested(time=7.0, commands=("c",)),
    Noted(time=8.0, message="careful"),
    Cleaned(time=9.0),
    RunFinished(time=10.0),
]


def test_plain_lines_tell_what_matters_with_the_time() -> None:
    lines: list[str] = []
    assert written(PlainView(lines.append), lines, ALL) == [
        "00:00:00Z run 20260101T000000Z-00000000 in eu-west-1: 2 targets",
        "00:00:01Z staged 4.1 kB in s3://bucket/folder/",
        "00:00:02Z sending to 2 targets",
        "00:00:05Z i-1: succeeded (hello)",
        "00:00:05Z i-2: failed (exit 3)",
        "00:00:07Z cancelling; interrupt once more to leave at once",
        "00:00:08Z note: careful",
        "00:00:09Z staging emptied",
    ]


def test_plain_lines_tell_what_was_left() -> None:
    lines: list[str] = []
    PlainView(lines.append).show(Cleaned(time=9.0, leftovers=("a", "b")), run_of())
    assert lines == ["00:00:09Z left behind: a; b"]


def test_json_lines_read_back_as_the_events() -> None:
    lines: list[str] = []
    assert [from_json(line) for line in written(JsonView(lines.append), lines, ALL)] == ALL


# -- the report


def test_failures_come_first_with_the_end_of_their_stderr() -> None:
    noisy = failed("i-9", "".join(f"line {n}\n" for n in range(50)))
    lines = lines_of(run_of(succeeded("i-1"), noisy, more=[RunFinished(time=6.0)]))
    assert lines[0] == "✗ i-9 failed: exit 3 (3.0 s)"
    assert lines[1] == "  stderr ┊ … 30 lines above"
    assert lines[2:22] == [f"  stderr │ line {n}" for n in range(30, 50)]
    assert lines.index("✓ i-1 succeeded (3.0 s)") > 21
    assert lines[-1] == "1 succeeded, 1 failed of 2 targets · 6.0 s · 4.1 kB staged · run 20260101T000000Z-00000000"


def test_what_the_target_left_out_is_told_in_bytes_and_is_no_line() -> None:
    def first(lines: int) -> list[str]:
        rest = "".join(f"line {n}\n" for n in range(lines))
        return lines_of(run_of(failed("i-1", f"[... 155949 bytes left out]\n{rest}")))[1:3]

    assert first(22) == ["  stderr ┊ … 2 lines and 155.9 kB above", "  stderr │ line 2"]
    assert first(20) == ["  stderr ┊ … 155.9 kB above", "  stderr │ line 0"]


def test_equal_outputs_are_folded_and_different_ones_are_not() -> None:
    same = [succeeded(f"i-{n}", "same\n") for n in range(12)]
    run = run_of(*same, succeeded("i-odd", "odd\n"), more=[RunFinished(time=6.0)])
    lines = lines_of(run)
    assert lines[0] == f"✓ 12 targets alike ({', '.join(f'i-{n}' for n in range(8))} and 4 more) succeeded (3.0 s)"
    assert lines[1] == "  stdout │ same"
    assert lines[3:5] == ["✓ i-odd succeeded (3.0 s)", "  stdout │ odd"]
    assert len(lines) == 7


def test_outputs_are_equal_by_their_digests_where_the_extracts_are_not_whole() -> None:
    record = make_record(stdout="a", stderr="b")
    one = Invocation(target="i-1", status=Status.SUCCEEDED, record=record, stdout="…cut", partial=True)
    two = Invocation(target="i-2", status=Status.SUCCEEDED, record=record, stdout="whole")
    other = replace(two, target="i-3", record=make_record(stdout="a", stderr="c"))
    lines = lines_of(run_of(one, two, other))
    assert lines[0].startswith("✓ 2 targets alike (i-1, i-2) succeeded")
    assert lines[1] == "  stdout │ whole"
    assert lines[3].startswith("✓ i-3 succeeded")


def test_groups_stand_in_the_order_in_which_a_reader_looks_for_them() -> None:
    urgent = [Status.FAILED, Status.TIMED_OUT, Status.UNKNOWN, Status.CANCELLED, Status.SKIPPED, Status.SUCCEEDED]
    skipped = [Invocation(target=f"i-skipped-{n}", status=Status.SKIPPED) for n in range(3)]
    run = run_of(*skipped, *(Invocation(target=f"i-{status}", status=status) for status in reversed(urgent)))
    heads = [line for line in lines_of(run) if line[:1] in "✗?■-✓" and line[:1]]
    assert [next(status for status in urgent if f" {status}" in head) for head in heads] == urgent


def test_targets_that_ended_differently_are_not_folded() -> None:
    one, two = failed("i-1"), replace(failed("i-2"), detail="exit 4")
    assert [line[0] for line in lines_of(run_of(one, two)) if line.startswith("✗")] == ["✗", "✗"]


def test_an_extract_that_could_not_be_read_in_full_says_so() -> None:
    assert "  (the end of this output was cut on its way)" in lines_of(run_of(failed("i-1", partial=True)))


def test_the_sum_counts_every_status_once_and_is_green_only_if_all_succeeded() -> None:
    def last(*invocations: Invocation, more: Sequence[Event] = ()) -> tuple[str, str]:
        *_, line = report(run_of(*invocations, more=[*more, RunFinished(time=6.0)]))
        return line.plain.split(" · ")[0], str(line.style)

    assert last(succeeded("i-1"), succeeded("i-2")) == ("2 succeeded of 2 targets", "bold green")
    assert last(succeeded("i-1"), failed("i-2")) == ("1 succeeded, 1 failed of 2 targets", "bold red")
    assert last(succeeded("i-1"), more=[RunAborted(time=5.0, message="m")])[1] == "bold red"
    assert last() == ("no target of 0 targets", "bold red")
    counted, style = last(*(Invocation(target=f"i-{status}", status=status) for status in Status))
    assert counted == ", ".join(f"1 {status}" for status in Status) + f" of {len(Status)} targets"
    assert style == "bold red"


def test_notes_and_leftovers_stand_before_the_sum() -> None:
    more: list[Event] = [Noted(time=6.0, message="careful"), Cleaned(time=7.0, leftovers=("s3://b/k: denied",))]
    assert lines_of(run_of(succeeded("i-1"), more=more))[-3:-1] == [
        "noted on the way: careful",
        "left behind: s3://b/k: denied",
    ]


def test_a_large_fleet_is_reported_by_looking_up_only_the_names_that_are_shown() -> None:
    class Counted(Target, frozen=True):
        """Counts how often anybody asks for an id."""

        def __getattribute__(self, name: str) -> Any:
            if name == "id":
                asked.append(name)
            return super().__getattribute__(name)

    asked: list[str] = []
    ids = [f"i-{n}" for n in range(500)]
    plan = replace(make_plan(), targets=tuple(Counted(id=key, via="ssm") for key in ids))
    run = run_of(*(succeeded(key) for key in ids), plan=plan)
    asked.clear()
    assert len(lines_of(run)) == 4
    assert len(asked) < 500


# -- the plan


def test_the_table_tells_how_each_target_is_reached_or_why_not() -> None:
    reached = Target(id="i-1", name="web", state="running", platform="Debian 13", via="ssm")
    table = shown(TargetsTable([reached, Target(id="i-2", state="stopped", reason="the instance is stopped")]))
    head, first, second = (line.split() for line in table.splitlines())
    assert head == ["target", "name", "state", "platform", "reached", "by"]
    assert first == ["i-1", "web", "running", "Debian", "13", "ssm"]
    assert second == ["i-2", "stopped", "not", "reached:", "the", "instance", "is", "stopped"]


def test_regions_are_a_column_where_they_tell_targets_apart() -> None:
    def head(*regions: str) -> str:
        table = TargetsTable([Target(id=f"i-{region}", region=region, via="ssm") for region in regions])
        return shown(table).splitlines()[0]

    assert "region" in head("eu-west-1", "us-east-1")
    assert "region" not in head("eu-west-1", "")  # one that is nowhere is in no other region


def test_the_table_tells_whom_ssh_logs_in_as_where_and_why_it_is_not_ssm() -> None:
    named = Target(id="ssh:web1", via="ssh", address="web1")
    found = Target(id="i-1", via="ssh", address="::1", user="deploy", port=22, why="no SSM agent has registered")
    _, first, second = (line.split() for line in shown(TargetsTable([named, found])).splitlines())
    assert first == ["ssh:web1", "ssh", "web1"]
    assert " ".join(second) == "i-1 ssh deploy@[::1]:22; not ssm: no SSM agent has registered"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_screen_is_too_narrow_for_whole_ids_and_reasons(width: int) -> None:
    name = "production-webserver-eu-west-1a"
    target = Target(id="i-0123456789abcdef0", name=name, platform="Amazon Linux 2023", reason="the instance is stopped")
    text = shown(TargetsTable([target]), width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert target.id in text
    told = " ".join(" ".join(line[len(target.id) :] for line in lines).split())
    assert "not reached: the instance is stopped" in told


def test_the_plan_tells_everything_that_will_happen() -> None:
    plan = replace(
        make_plan("i-1", unreachable={"i-2": "stopped"}),
        files="files", file_count=1, file_bytes=4100, notes=("careful",),
        left_out=(Target(id="i-3", reason="no agent"),), staging="s3://bucket/folder/",
        argument_count=2, variable_count=1, timeout=300, run_as="deploy", wave=10, max_failures=0,
    )  # fmt: skip
    text = shown(plan_view(plan))
    for part in (
        "script: s.sh, with 2 arguments and 1 variable, as deploy, for at most 5 min 0 s",
        "waves: 10 targets at a time, and no further one after more than 0 failures",
        "files: files (1 entry, 4.1 kB)", "staging: s3://bucket/folder/ (emptied when the run ends)",
        "note: careful", "targets: 1 of 2 targets can be reached", "left out of `all`:", "not reached: no agent",
    ):  # fmt: skip
        assert part in text
    plain = shown(plan_view(make_plan("i-1"))).splitlines()
    assert plain[1:3] == ["script: s.sh", "files: none"]
    assert "waves: 1 target at a time" in shown(plan_view(replace(plan, wave=1, max_failures=None))).splitlines()
