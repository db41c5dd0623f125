"""A script runs once, however often its command arrives; and a second time only when it asked for a reboot itself."""

import time
from pathlib import Path

import pytest
from payload.rig import COMMAND, RUN, Mounts, Rig, equip, wait_for

from ssm_deployer.payload import build

WAYS = ("fetched", "streamed")
OTHER_COMMAND = COMMAND.replace("1111", "9999")


def lock_of(rig: Rig) -> Path:
    (lock,) = (rig.locks / "ssm-deploy").iterdir()
    return lock


@pytest.mark.parametrize("command", [COMMAND, OTHER_COMMAND], ids=["the same command", "another command"])
def test_a_second_start_is_refused(rig: Rig, command: str) -> None:
    text = build(rig.recipe(f"#!/bin/sh\necho ran >>{rig.root}/count\n"))
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
    text = build(rig.recipe(f"#!/bin/sh\necho ran >>{rig.root}/count\n"))
    started = [rig.start(text, f"{COMMAND}{number}") for number in range(6)]
    deadline = time.monotonic() + 20
    while len(list(rig.root.glob("held.*"))) < len(started):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (rig.root / "go").touch()
    outcomes = [rig.finish(one).record.error for one in started]
    assert sorted(outcomes) == ["", *["duplicate"] * 5]
    assert (rig.root / "count").read_text() == "ran\n"


@pytest.mark.fetched
def test_a_refused_start_counts_too(rig: Rig) -> None:
    assert rig.execute(build(rig.recipe("#!/bin/sh\n", faults=["404", "always"]))).record.error == "download"
    assert rig.run("#!/bin/sh\necho ran\n").record.error == "duplicate"


def test_another_instance_and_another_run_are_not_in_the_way(rig: Rig) -> None:
    rig.run("#!/bin/sh\n")
    rig.env["AWS_SSM_INSTANCE_ID"] = "i-0fedcba9876543210"
    assert rig.run("#!/bin/sh\necho ran\n").extract == "ran\n"


def test_locks_go_when_no_duplicate_can_come_any_more(rig: Rig) -> None:
    rig.run("#!/bin/sh\n")
    first = lock_times(rig)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    longest = 172_800 + 7200
    others = {"old": "1", "running": str(int(uptime + 100)), "of-an-earlier-boot": str(int(uptime + 9e6))}
    others |= {"empty": "", "blank": "\n", "nuls": "\0" * 11, "words": "up", "of-the-wall-clock": "1795000000"}
    for name, expires in others.items():
        (rig.locks / "ssm-deploy" / name).mkdir()
        (rig.locks / "ssm-deploy" / name / "expires").write_text(expires)
    (rig.locks / "ssm-deploy" / "killed-at-birth").mkdir()
    rig.env["AWS_SSM_INSTANCE_ID"] = "i-2"
    rig.run("#!/bin/sh\n")
    after = lock_times(rig)
    assert after.keys() == {*first, *others, "killed-at-birth", f"{RUN}-i-2"} - {"old"}
    assert first.items() <= after.items()
    assert all(uptime + longest < after[name] < uptime + 2 * longest for name in set(others) - {"old", "running"})


def lock_times(rig: Rig) -> dict[str, float]:
    return {path.parent.name: float(path.read_text()) for path in (rig.locks / "ssm-deploy").glob("*/expires")}


def test_a_leap_of_the_clock_takes_no_lock_away(rig: Rig) -> None:
    """Without a battery a machine starts in 1970, and comes to the present while a script runs."""
    equip(rig, ["curl"])
    text = build(rig.recipe(f"#!/bin/sh\necho ran >>{rig.root}/count\n"))
    rig.wrap("date", f'[ -e {rig.root}/set ] || {{ echo "1000 19700101001640"; exit; }}')
    assert rig.execute(text).code == 0
    (rig.root / "set").touch()
    assert rig.run("#!/bin/sh\n", run_id="other").code == 0
    assert rig.execute(text, OTHER_COMMAND).record.error == "duplicate"


def test_the_lock_is_where_it_was_whatever_tmpdir_says(rig: Rig) -> None:
    text = build(rig.recipe("#!/bin/sh\n"))
    assert rig.execute(text).code == 0
    (rig.root / "other").mkdir()
    rig.env["TMPDIR"] = str(rig.root / "other")
    assert rig.execute(text, OTHER_COMMAND).record.error == "duplicate"


def two_roots(rig: Rig) -> tuple[Path, Path]:
    first, second = rig.root / "first", rig.root / "second"
    first.mkdir()
    second.mkdir()
    rig.lock_roots = f"'{first} {second}'"
    return first, second


def test_a_root_that_another_start_could_use_is_looked_at_again(rig: Rig) -> None:
    first, second = two_roots(rig)
    equip(rig, ["curl"])
    rig.wrap(
        "mkdir",
        f"case $* in *{first}/ssm-deploy/*) [ -e {rig.root}/failed ] || {{ : >{rig.root}/failed; exit 1; }} ;;"
        f" *{second}/ssm-deploy) : >{rig.root}/ready; while [ ! -e {rig.root}/go ]; do sleep 0.02; done ;; esac",
    )
    text = build(rig.recipe(f"#!/bin/sh\necho ran >>{rig.root}/count\n"))
    started = rig.start(text)
    wait_for(rig.root / "ready")
    assert rig.execute(text, OTHER_COMMAND).code == 0
    (rig.root / "go").touch()
    assert rig.finish(started).record.error == "duplicate"
    assert (rig.root / "count").read_text() == "ran\n"


def test_a_state_directory_of_the_targets_own_is_used(rig: Rig) -> None:
    """Plain directories, which share the machine's /var/lib, must not leave their locks there."""
    own = rig.root / "own"
    own.mkdir()
    rig.env["SSM_DEPLOY_STATE_DIR"] = str(own)
    assert rig.run("#!/bin/sh\necho ${SSM_DEPLOY_STATE_DIR-unset}\n").extract == "unset\n"
    assert [path.name for path in (own / "ssm-deploy").iterdir()] == [f"{RUN}-i-0123456789abcdef0"]
    assert not list(rig.locks.iterdir())


def test_no_reboot_is_asked_for_where_the_lock_would_be_gone_after_it(rig: Rig) -> None:
    """The second start could not tell that it is the second, and would ask for a third."""
    first, _ = two_roots(rig)
    (first / "ssm-deploy").touch()
    outcome = rig.run("#!/bin/sh\necho leg\nexit 194\n")
    assert (outcome.code, outcome.record.outcome, outcome.record.code) == (1, "exited", 194)
    assert outcome.extract == "leg\n"
    assert "without a reboot" in outcome.record.detail


def test_no_reboot_is_asked_for_where_the_lock_has_no_room(rig: Rig, mounts: Mounts) -> None:
    place = mounts.add("small", "size=8k")
    rig.lock_roots = f"'{place}'"
    (place / "fill").write_bytes(b"x" * 4096)
    (place / "fill2").write_bytes(b"x" * 4096)
    outcome = rig.run("#!/bin/sh\necho leg\nexit 194\n")
    assert (outcome.code, outcome.record.code, outcome.extract, outcome.errors) == (1, 194, "leg\n", "")
    assert not {"out", "err"} & {path.name for path in next((place / "ssm-deploy").iterdir()).iterdir()}


@pytest.mark.fetched
def test_of_a_large_output_only_the_end_is_kept_over_a_reboot(rig: Rig) -> None:
    script = "#!/bin/sh\nseq 1 50000\necho leg $SSM_DEPLOY_RESUMED\n[ $SSM_DEPLOY_RESUMED = 1 ] || exit 194\n"
    text = build(rig.recipe(script))
    assert rig.execute(text).code == 194
    assert (lock_of(rig) / "out").stat().st_size == 20_000
    last = rig.execute(text)
    assert (last.record.stdout_bytes, last.record.stdout_sha256) == (2 * (288_894 + 6), "")
    assert last.extract.startswith("[... 557800 bytes left out]\n")
    assert last.extract.endswith("50000\nleg 1\n")


@pytest.mark.fetched
def test_a_second_start_that_is_refused_shows_what_the_first_did(rig: Rig) -> None:
    text = build(rig.recipe("#!/bin/sh\necho leg 0\necho error >&2\nexit 194\n"))
    assert rig.execute(text).code == 194
    rig.store.faults["script"] = ["403"]
    second = rig.execute(text)
    assert (second.record.error, second.record.resumed, second.record.stdout_bytes) == ("download", 1, 6)
    assert second.extract == "leg 0\n"
    assert second.errors.startswith("error\nssm-deploy: download: ")
    assert not {"out", "err"} & {path.name for path in lock_of(rig).iterdir()}


@pytest.mark.fetched
def test_exit_194_says_nothing_and_goes_on_after_the_reboot(rig: Rig) -> None:
    script = "#!/bin/sh\necho leg $SSM_DEPLOY_RESUMED\necho error >&2\nls -A\n"
    script += "[ $SSM_DEPLOY_RESUMED -lt 2 ] && exit 194\nexit 3\n"
    text = build(rig.recipe(script, files={"a": b""}))
    for _ in range(2):
        leg = rig.execute(text)
        assert (leg.code, leg.stdout, leg.stderr) == (194, b"", b"")
        assert rig.settle() == []
    last = rig.execute(text)
    assert (last.code, last.record.resumed, last.record.code) == (3, 2, 3)
    assert last.extract == "leg 0\na\nleg 1\na\nleg 2\na\n"
    assert last.errors == "error\n" * 3
    assert rig.execute(text).record.error == "duplicate"
    assert not {"out", "err"} & {path.name for path in lock_of(rig).iterdir()}


@pytest.mark.fetched
def test_after_a_reboot_only_the_same_command_goes_on(rig: Rig) -> None:
    text = build(rig.recipe("#!/bin/sh\n[ $SSM_DEPLOY_RESUMED = 1 ] || exit 194\n"))
    assert rig.execute(text).code == 194
    assert rig.execute(text, OTHER_COMMAND).record.error == "duplicate"
    assert rig.execute(text).code == 0


@pytest.mark.fetched
def test_after_a_reboot_it_goes_on_once(rig: Rig) -> None:
    text = build(rig.recipe(f"#!/bin/sh\n[ $SSM_DEPLOY_RESUMED = 1 ] || exit 194\necho ran >>{rig.root}/count\n"))
    assert rig.execute(text).code == 194
    started = [rig.start(text) for _ in range(4)]
    assert sorted(rig.finish(one).record.error for one in started) == ["", "duplicate", "duplicate", "duplicate"]
    assert (rig.root / "count").read_text() == "ran\n"


def test_a_lookalike_of_somebody_else_is_passed_over(rig: Rig) -> None:
    """In a world-writable place another user may have made the directory first."""
    first, second = two_roots(rig)
    (rig.root / "elsewhere").mkdir()
    (first / "ssm-deploy").symlink_to(rig.root / "elsewhere")
    assert rig.run("#!/bin/sh\n").code == 0
    assert list((rig.root / "elsewhere").iterdir()) == []
    assert len(list((second / "ssm-deploy").iterdir())) == 1
