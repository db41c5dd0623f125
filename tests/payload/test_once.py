"""A script runs once, however often its command arrives; and a second time only when it asked for a reboot itself."""

import time
from pathlib import Path

import pytest
from payload.rig import COMMAND, RUN, Rig, equip

from ssm_deployer.payload import build

OTHER_COMMAND = COMMAND.replace("1111", "9999")


def lock_of(rig: Rig) -> Path:
    (lock,) = (rig.tmp / "ssm-deploy").iterdir()
    return lock


@pytest.mark.parametrize("command", [COMMAND, OTHER_COMMAND], ids=["the same command", "another command"])
def test_a_second_start_is_refused(rig: Rig, command: str) -> None:
    text = build(rig.job(f"#!/bin/sh\necho ran >>{rig.root}/count\n"))
    assert rig.execute(text).code == 0
    second = rig.execute(text, command)
    assert (second.record.outcome, second.record.error, second.code) == ("refused", "duplicate", 77)
    assert second.record.command == command
    assert (rig.root / "count").read_text() == "ran\n"


def test_of_starts_at_the_same_instant_exactly_one_runs(rig: Rig) -> None:
    """All of them have looked and found no lock before the first makes it."""
    equip(rig, ["curl"])
    held = f"case $* in *{RUN}*) : >{rig.root}/held.$$; while [ ! -e {rig.root}/go ]; do sleep 0.02; done ;; esac"
    rig.wrap("mkdir", held)
    text = build(rig.job(f"#!/bin/sh\necho ran >>{rig.root}/count\n"))
    started = [rig.start(text, f"{COMMAND}{number}") for number in range(6)]
    deadline = time.monotonic() + 20
    while len(list(rig.root.glob("held.*"))) < len(started):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (rig.root / "go").touch()
    outcomes = [rig.finish(one).record.error for one in started]
    assert sorted(outcomes) == ["", *["duplicate"] * 5]
    assert (rig.root / "count").read_text() == "ran\n"


def test_a_refused_start_counts_too(rig: Rig) -> None:
    assert rig.execute(build(rig.job("#!/bin/sh\n", faults=["404", "always"]))).record.error == "download"
    assert rig.run("#!/bin/sh\necho ran\n").record.error == "duplicate"


def test_another_instance_and_another_run_are_not_in_the_way(rig: Rig) -> None:
    rig.run("#!/bin/sh\n")
    rig.env["AWS_SSM_INSTANCE_ID"] = "i-0fedcba9876543210"
    assert rig.run("#!/bin/sh\necho ran\n").extract == "ran\n"


def test_locks_go_when_no_duplicate_can_come_any_more(rig: Rig) -> None:
    rig.run("#!/bin/sh\n")
    old = rig.tmp / "ssm-deploy" / "an-old-run"
    half_made = rig.tmp / "ssm-deploy" / "killed-at-birth"
    old.mkdir()
    half_made.mkdir()
    (old / "expires").write_text("1000000000\n")
    first = lock_times(rig)
    rig.env["AWS_SSM_INSTANCE_ID"] = "i-2"
    rig.run("#!/bin/sh\n")
    after = lock_times(rig)
    assert not old.exists()
    assert first.items() <= after.items()
    assert after["killed-at-birth"] > time.time()


def lock_times(rig: Rig) -> dict[str, float]:
    return {
        path.parent.name: float(path.read_text())
        for path in (rig.tmp / "ssm-deploy").glob("*/expires")
        if path.parent.name != "an-old-run"
    }


def test_exit_194_says_nothing_and_goes_on_after_the_reboot(rig: Rig) -> None:
    script = "#!/bin/sh\necho leg $SSM_DEPLOY_RESUMED\necho error >&2\nls -A\n"
    script += "[ $SSM_DEPLOY_RESUMED -lt 2 ] && exit 194\nexit 3\n"
    text = build(rig.job(script, files={"a": b""}))
    for _ in range(2):
        leg = rig.execute(text)
        assert (leg.code, leg.stdout, leg.stderr) == (194, b"", b"")
        assert rig.leftovers() == []
    last = rig.execute(text)
    assert (last.code, last.record.resumed, last.record.code) == (3, 2, 3)
    assert last.extract == "leg 0\na\nleg 1\na\nleg 2\na\n"
    assert last.errors == "error\n" * 3
    assert rig.execute(text).record.error == "duplicate"
    assert not {"out", "err"} & {path.name for path in lock_of(rig).iterdir()}


def test_after_a_reboot_only_the_same_command_goes_on(rig: Rig) -> None:
    text = build(rig.job("#!/bin/sh\n[ $SSM_DEPLOY_RESUMED = 1 ] || exit 194\n"))
    assert rig.execute(text).code == 194
    assert rig.execute(text, OTHER_COMMAND).record.error == "duplicate"
    assert rig.execute(text).code == 0


def test_after_a_reboot_it_goes_on_once(rig: Rig) -> None:
    text = build(rig.job(f"#!/bin/sh\n[ $SSM_DEPLOY_RESUMED = 1 ] || exit 194\necho ran >>{rig.root}/count\n"))
    assert rig.execute(text).code == 194
    started = [rig.start(text) for _ in range(4)]
    assert sorted(rig.finish(one).record.error for one in started) == ["", "duplicate", "duplicate", "duplicate"]
    assert (rig.root / "count").read_text() == "ran\n"


def test_a_lookalike_of_somebody_else_is_passed_over(rig: Rig) -> None:
    """In a world-writable place another user may have made the directory first."""
    rig.tmp.mkdir()
    (rig.tmp / "elsewhere").mkdir()
    (rig.tmp / "ssm-deploy").symlink_to(rig.tmp / "elsewhere")
    assert rig.run("#!/bin/sh\n").code == 0
    assert list((rig.tmp / "elsewhere").iterdir()) == []
    assert len(list((rig.locks / "ssm-deploy").iterdir())) == 1
