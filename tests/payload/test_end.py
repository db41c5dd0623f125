"""Deadlines, cancels and crashes: whatever ends a run early leaves nothing behind."""

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from payload.rig import Rig, equip, started_and, wait_for

from ssm_deployer.payload import build

WAYS = ("fetched", "streamed")
STUBBORN = "trap '' TERM; "


def test_a_script_that_overstays_is_told_and_reported(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\necho early\necho error >&2\nsleep 60\n", timeout=2)
    record = outcome.record
    assert (outcome.code, record.outcome, record.signal, record.code) == (124, "timed-out", 15, 143)
    assert (outcome.extract, outcome.errors) == ("early\n", "error\n")
    assert 2 <= record.script_seconds <= 6
    assert outcome.seconds < 20


@pytest.mark.slow
def test_it_may_tidy_up_within_the_grace(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\ntrap 'echo tidy; exit 7' TERM\nsleep 60 & wait\n", timeout=2, grace=30)
    assert (outcome.record.outcome, outcome.record.code, outcome.extract) == ("timed-out", 7, "tidy\n")
    assert outcome.seconds < 20


@pytest.mark.slow
def test_a_long_time_for_fetching_has_its_end_as_well(rig: Rig) -> None:
    """The one that waits for it does so in two steps."""
    text = build(rig.recipe("#!/bin/sh\n", faults=["hang", "always"], fetch_timeout=7))
    rig.content = rig.content[:700]
    outcome = rig.finish(rig.start(text))
    assert (outcome.record.outcome, outcome.record.error) == ("refused", "fetch-timeout")
    assert 7 <= outcome.seconds < 30


@pytest.mark.slow
def test_the_time_for_fetching_ends_what_unpacks_for_too_long(rig: Rig) -> None:
    equip(rig, ["curl"])
    rig.wrap("tar", "case $* in *-xzpof*) sleep 60 ;; esac")
    outcome = rig.run("#!/bin/sh\n", files={"a": b"x"}, fetch_timeout=7)
    assert (outcome.record.outcome, outcome.record.error) == ("refused", "fetch-timeout")
    assert 7 <= outcome.seconds < 40


def test_no_script_runs_without_its_guard(rig: Rig) -> None:
    equip(rig, ["curl"])
    rig.wrap("setsid", "exit 1")
    outcome = rig.run("#!/bin/sh\ntouch ran\necho ran\n")
    assert (outcome.record.outcome, outcome.record.error) == ("refused", "setup")
    assert rig.settle() == []


def test_what_somebody_puts_in_the_place_of_its_folder_is_left_alone(rig: Rig) -> None:
    replace = "cd /; rm -rf $work; mkdir $work; touch $work/precious; chown 12345 $work"
    outcome = rig.run(f"#!/bin/sh\nwork=${{DEPLOY_FILES_DIR%/files}}\n{replace}\n")
    assert outcome.record.outcome == "exited"
    [precious] = rig.tmp.glob("deploy_files_*/precious")
    assert list(precious.parent.iterdir()) == [precious]
    shutil.rmtree(precious.parent)


@pytest.mark.slow
@pytest.mark.parametrize("fetching", [0, 6])
def test_endless_output_does_not_fill_the_disk(rig: Rig, fetching: int) -> None:
    """However long it took until the script could start."""
    equip(rig, ["curl", "fallocate"])
    rig.wrap("tar", f"sleep {fetching}")
    script = """#!/bin/sh
head -c 5000000 /dev/zero
tries=0 blocks=3906
while [ $blocks -ge 3906 ] && [ $((tries += 1)) -le 40 ]; do
  sleep 0.5
  blocks=$(stat -L -c %b /proc/$$/fd/1)
done
echo $blocks >&2
"""
    text = build(rig.recipe(script, files={"a": b""}, fetch_timeout=30), readable=True)
    text = re.sub(r"whole_output='\d+'", "whole_output='2000000'", text)
    outcome = rig.execute(text)
    assert outcome.record.stdout_bytes == 5_000_000
    assert int(outcome.errors) * 512 < 2_000_000


@pytest.mark.slow
def test_what_ignores_term_is_killed_after_the_grace(rig: Rig) -> None:
    outcome = rig.run(f"#!/bin/sh\n{STUBBORN} while :; do sleep 1; done\n", timeout=2)
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
    outcome = rig.run(f"#!/bin/sh\n{child} &\nsleep 60\n", timeout=2)
    assert outcome.record.outcome == "timed-out"
    assert rig.settle() == []


@pytest.mark.slow
def test_the_deadline_stops_what_forks_for_ever(rig: Rig) -> None:
    outcome = rig.run(f"#!/bin/sh\n{STUBBORN}\nf() {{ sleep 0.2; f & f2=$!; wait $f2; }}\nf & f & wait\n", timeout=1)
    assert outcome.record.outcome == "timed-out"
    assert rig.settle() == []


@pytest.mark.slow
def test_the_time_for_fetching_does_not_limit_the_script(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\nsleep 7\necho done\n", fetch_timeout=5)
    assert (outcome.record.outcome, outcome.extract) == ("exited", "done\n")


def test_an_end_before_the_deadline_leaves_no_guard(rig: Rig) -> None:
    assert rig.run("#!/bin/sh\nexit 0\n", timeout=600).record.outcome == "exited"
    assert rig.settle() == []


def test_a_cancelled_run_leaves_nothing(rig: Rig) -> None:
    started = started_and(rig, "#!/bin/sh\nsetsid sleep 60 &\ntouch $READY\nsleep 60\n")
    started.cancel()
    outcome = rig.finish(started)
    assert outcome.stdout == b""
    assert outcome.seconds < 30
    assert rig.settle() == []


@pytest.mark.fetched
def test_a_cancel_while_fetching_leaves_nothing(rig: Rig) -> None:
    started = rig.start(build(rig.recipe("#!/bin/sh\n", faults=["hang", "always"])))
    deadline = time.monotonic() + 10
    while not rig.store.requests and time.monotonic() < deadline:
        time.sleep(0.02)
    started.cancel()
    rig.finish(started)
    assert rig.settle() == []


@pytest.mark.slow
def test_a_cancel_holds_up_neither_stream(rig: Rig) -> None:
    """The guard works on after the cancel, but the agent must see the end of both pipes at once."""
    stubborn = f'setsid sh -c "{STUBBORN} while :; do sleep 1; done" &\n'
    started = started_and(rig, f"#!/bin/sh\n{stubborn}touch $READY\nsleep 60\n", grace=20)
    before = time.monotonic()
    started.cancel()
    rig.finish(started)
    assert time.monotonic() - before < 10
    [it] = [pid for pid, line in rig.processes().items() if "while :" in line]
    os.kill(it, signal.SIGKILL)
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


@pytest.mark.parametrize("ending", ["kill 0", "trap 'kill 0' EXIT; exit 3", "kill -HUP -$(ps -o pgid= $$ | tr -d ' ')"])
def test_a_script_that_signals_its_whole_group_is_reported(rig: Rig, ending: str) -> None:
    outcome = rig.run(f"#!/bin/sh\necho out\n{ending}\n")
    assert (outcome.record.outcome, outcome.extract) == ("signalled", "out\n")


TREE = "import os\nfor i in range(40):\n  os.mkdir(str(i))\n  for j in range(250): open(f'{i}/{j}', 'w').close()\n"


@pytest.mark.slow
@pytest.mark.fetched
def test_a_kill_while_the_files_are_being_removed_leaves_nothing(rig: Rig) -> None:
    started = rig.start(build(rig.recipe(f"#!/usr/bin/python3\n{TREE}")))
    assert started.process.stdout
    started.process.stdout.readline()
    started.cancel()
    rig.finish(started)
    assert rig.settle() == []


@pytest.mark.slow
def test_a_kill_while_the_output_is_being_hashed_leaves_nothing(rig: Rig) -> None:
    equip(rig, ["curl"])
    rig.wrap("sha256sum", f"case $* in */fd/6*) : >{rig.root}/ready; sleep 60 ;; esac")
    started = rig.start(build(rig.recipe("#!/bin/sh\necho x\n")))
    wait_for(rig.root / "ready")
    started.cancel()
    assert rig.finish(started).stdout == b""
    assert rig.settle() == []


def test_what_cannot_be_removed_is_told(rig: Rig) -> None:
    """As what a child that goes on writes to, or what was made immutable."""
    equip(rig, ["curl"])
    rig.wrap("rm", "case $* in *deploy_files*/files*) exit 1 ;; esac")
    outcome = rig.run("#!/bin/sh\necho done\n", files={"a": b""})
    (left,) = rig.tmp.glob("deploy_files_*")
    assert (outcome.record.outcome, outcome.extract) == ("exited", "done\n")
    assert outcome.errors == f"ssm-deploy: {left} is left\n"
    shutil.rmtree(left)


def test_a_removal_that_was_killed_with_its_guard_is_finished_by_the_next_run(rig: Rig) -> None:
    equip(rig, ["curl"])
    rig.wrap("rm", f"case $* in *deploy_files*/script*) : >{rig.root}/ready; sleep 60 ;; esac")
    started = rig.start(build(rig.recipe("#!/bin/sh\n", files={"a": b""})))
    wait_for(rig.root / "ready")
    rig.kill_guard()
    started.cancel()
    rig.finish(started)
    rig.end_services()
    (left,) = rig.tmp.glob("deploy_files_*")
    assert "owner" in {path.name for path in left.iterdir()}
    (Path(rig.path) / "rm").write_text('#!/bin/sh\nexec /bin/rm "$@"\n')
    rig.env["AWS_SSM_INSTANCE_ID"] = "i-next"
    assert rig.run("#!/bin/sh\n").code == 0
    assert rig.settle() == []


@pytest.mark.slow
def test_what_a_slow_sweep_takes_does_not_delay_the_deadline(rig: Rig) -> None:
    equip(rig, ["curl"])
    rig.wrap("rm", "case $* in *deploy_files_1_1/data*) sleep 10 ;; esac")
    old = rig.tmp / "deploy_files_1_1"
    old.mkdir(parents=True)
    (old / "owner").write_text(f"4194999 7 {Path('/proc/self/ns/pid').readlink()}\n")
    (old / "data").touch()
    outcome = rig.run("#!/bin/sh\necho ran\nsleep 60\n", timeout=2, fetch_timeout=8)
    assert (outcome.record.outcome, outcome.extract) == ("timed-out", "ran\n")
    assert outcome.record.ended - outcome.record.started < 9
    assert rig.settle() == []


BOMB = "trap '' TERM\nbomb() { bomb & bomb & wait; }\nbomb\nsleep 60\n"


@pytest.mark.slow
def test_a_fork_bomb_is_stopped_and_reported(rig: Rig) -> None:
    """Unpaced, and bounded by nothing but a limit on its user's processes."""
    rig.open_to_others()
    outcome = rig.run(f"#!/bin/bash\nulimit -u 400\n{BOMB}", run_as="nobody", timeout=2)
    assert outcome.record.outcome == "timed-out"
    assert outcome.seconds < 2 + 1 + 15 + 20
    assert rig.settle() == []


@pytest.mark.slow
def test_a_script_that_takes_all_processes_from_the_guard_too_is_stopped(rig: Rig, pids: Path) -> None:
    """As in the agent's own control group, which has a limit."""
    script = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True:\n  try:\n    os.fork()\n"
    )
    script += "  except OSError:\n    time.sleep(0.1)\n"
    rig.before = f"echo $$ >{pids}/cgroup.procs; "
    (pids / "pids.max").write_text("100")
    outcome = rig.run(f"#!/usr/bin/python3\n{script}", timeout=2)
    assert outcome.record.outcome == "timed-out"
    assert rig.settle() == []


@pytest.fixture
def pids() -> Iterator[Path]:
    """A control group that limits the number of processes."""
    tops = [Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")]
    group = next(top for top in tops if top.exists()) / f"ssm-deploy-test-{os.getpid()}"
    group.mkdir()
    assert (group / "pids.max").exists(), "this machine's control groups do not count processes"
    yield group
    while members := (group / "cgroup.procs").read_text().split():
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    group.rmdir()


@pytest.mark.slow
def test_without_proc_nothing_runs(rig: Rig) -> None:
    """The clock, the processes and the open files are there; without it no deadline could be kept."""
    rig.before = 'exec unshare -m sh -c \'mount -t tmpfs none /proc; exec "$0" "$@"\' "$0" "$@"; '
    outcome = rig.run("#!/bin/sh\necho ran\n")
    assert (outcome.record.error, outcome.record.detail) == ("setup", "/proc is not mounted")
    assert outcome.extract == ""


def test_without_a_way_out_of_the_agents_group_nothing_runs(rig: Rig) -> None:
    """A guard in that group would be killed with it."""
    equip(rig, ["curl"])
    (Path(rig.path) / "setsid").unlink()
    outcome = rig.run("#!/bin/sh\necho ran\n")
    assert (outcome.record.error, outcome.record.detail, outcome.extract) == ("setup", "setsid is missing", "")


@pytest.mark.slow
def test_a_guard_that_was_killed_leaves_no_timer(rig: Rig) -> None:
    started = started_and(rig, "#!/bin/sh\ntouch $READY\nwhile [ ! -e $READY.go ]; do sleep 0.1; done\n", timeout=600)
    (guard,) = [pid for pid, line in rig.processes().items() if " guard " in line and os.getpgid(pid) == pid]
    os.kill(guard, signal.SIGKILL)
    (rig.root / "ready.go").touch()
    assert rig.finish(started).record.succeeded
    assert rig.settle() == []
