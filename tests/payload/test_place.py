"""Where the files go on targets whose directories are not what one hopes for."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from payload.rig import Mounts, Rig, tar

from ssm_deployer.payload import build

WAYS = ("fetched", "streamed")


def test_unusable_places_are_passed_over(rig: Rig, mounts: Mounts) -> None:
    read_only, noexec = mounts.add("read-only", "ro"), mounts.add("noexec", "noexec")
    full = mounts.add("full", "size=64k")
    good = rig.root / "good"
    good.mkdir()
    rig.offer(rig.root / "missing", read_only, noexec, full, good)
    outcome = rig.run(
        '#!/bin/sh\necho "$DEPLOY_FILES_DIR"\n./run\n', bundle=tar({"run": b"#!/bin/sh\necho ran\n"}, {"run": 0o755})
    )
    directory, ran = outcome.extract.split()
    assert directory.startswith(f"{good}/deploy_files_")
    assert ran == "ran"
    assert [list(place.iterdir()) for place in (noexec, full, good)] == [[], [], []]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("ro,size=9m", "not writable"),
        ("noexec,size=9m", "no program in it can be executed"),
        ("size=64k", "64 KiB free, 5906 needed"),
        ("nr_inodes=1,size=9m", "not writable"),
        ("", "no directory"),
    ],
)
def test_if_no_place_is_usable_each_is_told_with_its_reason(
    rig: Rig, mounts: Mounts, options: str, reason: str
) -> None:
    place = mounts.add("place", options) if options else rig.root / "missing"
    rig.offer(place)
    outcome = rig.run("#!/bin/sh\n", unpacked_size=5_000_000)
    assert (outcome.record.error, outcome.code) == ("no-place", 75)
    assert outcome.record.detail == f"{place}: {reason}; "


def test_a_disk_that_fills_while_unpacking_is_told(rig: Rig, mounts: Mounts) -> None:
    """The announced size may be wrong, or somebody else writes."""
    rig.offer(mounts.add("small", "size=2m"))
    outcome = rig.run("#!/bin/sh\necho ran\n", files={"large": os.urandom(1_500_000)})
    assert outcome.record.error in {"no-place", "download"}
    assert "ran" not in outcome.extract


def test_an_existing_directory_of_that_name_is_left_alone(rig: Rig) -> None:
    """Somebody may guess the name, which has the time and the pid, and lay a link or a directory of his own."""
    text = build(rig.recipe('#!/bin/sh\necho "$DEPLOY_FILES_DIR"\n'))
    text, count = re.subn(r"deploy_files_\$\{\w+\}_\$\$", "deploy_files_guessed", text)
    assert count == 1
    rig.tmp.mkdir()
    trap = rig.tmp / "deploy_files_guessed"
    trap.symlink_to(rig.root)
    (rig.tmp / "deploy_files_guessed_1").mkdir()
    os.chown(rig.tmp / "deploy_files_guessed_1", 12345, 12345)
    assert rig.execute(text).extract.split("/")[-2] == "deploy_files_guessed_2"
    assert trap.is_symlink()
    trap.unlink()
    (rig.tmp / "deploy_files_guessed_1").rmdir()


def test_only_our_own_leftovers_are_swept(rig: Rig) -> None:
    rig.tmp.mkdir()
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    space = str(Path("/proc/self/ns/pid").readlink())
    kept: dict[str, tuple[str | None, int]] = {
        "deploy_files_somebody_elses": ("1 1 " + space, 12345),
        "deploy_files_not_empty_1": (None, 0),
        "deploy_files_other_space": ("1 1 pid:[1]", 0),
        "deploy_files_alive_1": (f"{os.getpid()} {started_ticks(os.getpid())} {space}", 0),
    }
    stale: dict[str, tuple[str | None, int]] = {
        "deploy_files_stale_1": (f"{os.getpid()} 1 {space}", 0),
        "deploy_files_stale_2": (f"4194999 7 {space}", 0),
    }
    stale["deploy_files_zombie_1"] = (f"{zombie.pid} {started_ticks(zombie.pid)} {space}", 0)
    stale["deploy_files_killed_before_it_had_an_owner"] = (None, 0)
    for name, (owner, uid) in {**kept, **stale}.items():
        place = rig.tmp / name
        place.mkdir()
        if owner is not None:
            (place / "owner").write_text(owner + "\n")
        os.chown(place, uid, uid)
    (rig.tmp / "deploy_files_not_empty_1" / "data").touch()
    linked = rig.root / "linked"
    linked.mkdir()
    (linked / "owner").write_text(f"1 1 {space}\n")
    (rig.tmp / "deploy_files_link_1").symlink_to(linked)
    assert rig.run("#!/bin/sh\n").code == 0
    assert {path.name for path in rig.tmp.glob("deploy_files_*")} == {*kept, "deploy_files_link_1"}
    assert linked.exists()
    assert zombie.wait() == 0
    shutil.rmtree(rig.tmp)


def started_ticks(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_without_any_place_for_the_lock_nothing_runs(rig: Rig) -> None:
    rig.tmpdir = False
    rig.locks.touch()
    outcome = rig.run("#!/bin/sh\necho ran\n")
    assert (outcome.record.error, outcome.extract) == ("no-lock", "")


@pytest.mark.parametrize("name", ["with blank", "quo'te", "new\nline", "a=b"])
def test_a_tmpdir_of_odd_name_is_passed_over(rig: Rig, name: str) -> None:
    odd, good = rig.root / name, rig.root / "good"
    odd.mkdir()
    good.mkdir()
    rig.env["TMPDIR"] = str(odd)
    rig.offer(good)
    assert rig.run('#!/bin/sh\necho "$DEPLOY_FILES_DIR"\n').extract.startswith(f"{good}/")
    assert list(odd.iterdir()) == []
