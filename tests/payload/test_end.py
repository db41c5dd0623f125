"""Deadlines, cancels and crashes: whatever ends a run early leaves nothing behind."""

import time

import pytest
from payload.rig import Rig, started_and

from ssm_deployer.payload import build

STUBBORN = "trap '' TERM; "


def test_a_script_that_overstays_is_told_and_reported(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\necho early\necho error >&2\nsleep 60\n", timeout=1)
    record = outcome.record
    assert (outcome.code, record.outcome, record.signal, record.code) == (124, "timed-out", 15, 143)
    assert (outcome.extract, outcome.errors) == ("early\n", "error\n")
    assert 1 <= record.script_seconds <= 3
    assert outcome.seconds < 8


@pytest.mark.slow
def test_it_may_tidy_up_within_the_grace(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\ntrap 'echo tidy; exit 7' TERM\nsleep 60 & wait\n", timeout=1, grace=5)
    assert (outcome.record.outcome, outcome.record.code, outcome.extract) == ("timed-out", 7, "tidy\n")
    assert outcome.seconds < 5


@pytest.mark.slow
def test_what_ignores_term_is_killed_after_the_grace(rig: Rig) -> None:
    outcome = rig.run(f"#!/bin/sh\n{STUBBORN} while :; do sleep 1; done\n", timeout=1)
    assert (outcome.record.outcome, outcome.record.signal, outcome.code) == ("timed-out", 9, 124)


@pytest.mark.slow
@pytest.mark.parametrize(
    "child",
    [
        "sleep 60",
        "setsid sleep 60",
        "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done'",
        "env -i /bin/sleep 60",
        "(setsid sh -c '(sleep 60 &)' &)",
    ],
)
def test_the_deadline_reaches_every_descendant(rig: Rig, child: str) -> None:
    outcome = rig.run(f"#!/bin/sh\n{child} &\nsleep 60\n", timeout=1)
    assert outcome.record.outcome == "timed-out"
    assert rig.settle() == []


@pytest.mark.slow
def test_the_deadline_stops_what_forks_for_ever(rig: Rig) -> None:
    outcome = rig.run(f"#!/bin/sh\n{STUBBORN}\nf() {{ sleep 0.2; f & f2=$!; wait $f2; }}\nf & f & wait\n", timeout=1)
    assert outcome.record.outcome == "timed-out"
    assert rig.settle() == []


@pytest.mark.slow
def test_the_time_for_fetching_does_not_limit_the_script(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\nsleep 4\necho done\n", fetch_timeout=1)
    assert (outcome.record.outcome, outcome.extract) == ("exited", "done\n")


def test_an_end_before_the_deadline_leaves_no_guard(rig: Rig) -> None:
    assert rig.run("#!/bin/sh\nexit 0\n", timeout=1).record.outcome == "exited"
    assert rig.settle() == []


def test_a_cancelled_run_leaves_nothing(rig: Rig) -> None:
    started = started_and(rig, "#!/bin/sh\nsetsid sleep 60 &\ntouch $READY\nsleep 60\n")
    started.cancel()
    outcome = rig.finish(started)
    assert outcome.stdout == b""
    assert outcome.seconds < 10
    assert rig.settle() == []


def test_a_cancel_while_fetching_leaves_nothing(rig: Rig) -> None:
    started = rig.start(build(rig.job("#!/bin/sh\n", faults=["hang", "always"])))
    deadline = time.monotonic() + 10
    while not rig.store.requests and time.monotonic() < deadline:
        time.sleep(0.02)
    started.cancel()
    rig.finish(started)
    assert rig.settle() == []


@pytest.mark.slow
def test_a_cancel_holds_up_neither_stream(rig: Rig) -> None:
    """The guard works on after the cancel, but the agent must see the end of both pipes at once."""
    started = started_and(
        rig, f'#!/bin/sh\nsetsid sh -c "{STUBBORN} while :; do sleep 1; done" &\ntouch $READY\nsleep 60\n'
    )
    before = time.monotonic()
    started.cancel()
    rig.finish(started)
    assert time.monotonic() - before < 0.8
    assert rig.settle() == []


@pytest.mark.slow
def test_what_a_killed_payload_and_guard_left_is_swept_by_the_next_run(rig: Rig) -> None:
    started = started_and(rig, "#!/bin/sh\ntouch $READY\nsleep 60\n")
    rig.kill_guard()
    started.cancel()
    rig.finish(started)
    assert len(list(rig.tmp.glob("deploy_files_*"))) == 1
    rig.end_services()
    rig.env["AWS_SSM_INSTANCE_ID"] = "i-next"
    assert rig.run("#!/bin/sh\necho ran\n").extract == "ran\n"
    assert rig.settle() == []


def test_a_run_beside_it_is_not_swept(rig: Rig) -> None:
    script = "#!/bin/sh\ntouch $READY\nwhile [ ! -e $READY.go ]; do sleep 0.1; done\nls -A\n"
    started = started_and(rig, script, files={"still-here": b""})
    rig.env["AWS_SSM_INSTANCE_ID"] = "i-next"
    assert rig.run("#!/bin/sh\necho ran\n", run_id="another").code == 0
    (rig.root / "ready.go").touch()
    assert rig.finish(started).extract == "still-here\n"


def test_without_its_guard_a_run_still_ends_well(rig: Rig) -> None:
    started = started_and(rig, "#!/bin/sh\ntouch $READY\nwhile [ ! -e $READY.go ]; do sleep 0.1; done\nexit 6\n")
    rig.kill_guard()
    (rig.root / "ready.go").touch()
    assert rig.finish(started).record.code == 6
