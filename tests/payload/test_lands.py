"""Every shell in every kind of surroundings: none of them may matter."""

import os
import re

import pytest
from payload.rig import RUN, Mounts, Rig, tar
from payload.test_fetch import refused
from payload.test_shells import shell  # noqa: F401 - a fixture

from ssm_deployer.payload import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shell")]


@pytest.mark.parametrize("before", ["umask 077; ", "umask 0; ", "unset PATH; ", "exec 5>&1 6>&1; "])
def test_what_is_inherited_does_not_matter(rig: Rig, before: str) -> None:
    rig.before = before
    bundle = tar({"d": None, "run": b"#!/bin/sh\necho ran\n"}, {"run": 0o755})
    outcome = rig.run("#!/bin/sh\n./run; umask; stat -c %a d run .\n", bundle=bundle, args=["x"])
    assert (outcome.extract, outcome.errors) == ("ran\n0022\n755\n755\n700\n", "")


def test_an_agent_that_sets_u_and_e_does_not_matter(rig: Rig) -> None:
    text = build(rig.recipe("#!/bin/sh\necho $1\nfalse\necho on\n", args=["x"], files={"a": b""}))
    text = text.replace("set -u\n", "set -eu\nset +e\n", 1)
    assert rig.execute(text).extract == "x\non\n"


def test_places_that_cannot_be_used_are_passed_over(rig: Rig, mounts: Mounts) -> None:
    places = [mounts.add("ro", "ro"), mounts.add("noexec", "noexec,size=9m"), mounts.add("full", "size=64k")]
    good = rig.root / "good"
    good.mkdir()
    rig.offer(*places, good)
    outcome = rig.run('#!/bin/sh\necho "$DEPLOY_FILES_DIR"\n', files={"a": b""})
    assert outcome.extract.startswith(f"{good}/deploy_files_")
    assert (outcome.errors, [list(place.iterdir()) for place in (*places, good)]) == ("", [[], [], [], []])


def test_a_directory_of_that_name_of_somebody_else_is_left_alone(rig: Rig) -> None:
    text = build(rig.recipe('#!/bin/sh\necho "${DEPLOY_FILES_DIR%/*}"\n'))
    text = re.sub(r"deploy_files_\$\{\w+\}_\$\$", "deploy_files_guessed", text)
    theirs = rig.tmp / "deploy_files_guessed"
    theirs.mkdir(parents=True)
    os.chown(theirs, 12345, 12345)
    assert rig.execute(text).extract == f"{theirs}_1\n"
    assert theirs.stat().st_uid == 12345
    theirs.rmdir()


@pytest.mark.parametrize("inodes", range(2, 14))
def test_without_room_for_one_more_file_it_says_so_or_runs(rig: Rig, mounts: Mounts, inodes: int) -> None:
    """Wherever the file system is full: at the first directory, the fifos, the downloads, the output."""
    place = mounts.add("place", f"size=9m,nr_inodes={inodes}")
    rig.offer(place)
    outcome = rig.run("#!/bin/sh\necho ran\n", args=["x"])
    assert outcome.record.error == "no-place" or outcome.extract == "ran\n"
    assert outcome.errors.count("\n") == (1 if outcome.record.error else 0)
    assert rig.settle() == []
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("size", "step"), [("400k", "fetching the bundle"), ("2600k", "unpacking")])
def test_a_disk_that_fills_is_told_at_every_step(rig: Rig, mounts: Mounts, size: str, step: str) -> None:
    """The announced size was right, but somebody else writes."""
    place = mounts.add("place", f"size={size}")
    rig.offer(place)
    text = build(rig.recipe("#!/bin/sh\necho ran\n", files={"large": os.urandom(1_500_000)}), readable=True)
    text = re.sub(r"need_kib='\d+'", "need_kib='10'", text)
    assert refused(rig.execute(text), "no-place").endswith(f": full while {step}")
    assert list(place.iterdir()) == []


def test_a_disk_that_the_output_fills_does_not_hide_the_end(rig: Rig, mounts: Mounts) -> None:
    rig.offer(mounts.add("place", "size=2m"))
    outcome = rig.run("#!/bin/sh\nhead -c 9000000 /dev/zero\nexit 7\n")
    assert (outcome.record.outcome, outcome.record.code) == ("exited", 7)
    assert "the disk is full" in outcome.record.detail


@pytest.mark.parametrize(("fault", "word"), [("403", "download"), ("404", "download"), ("302", "download")])
def test_what_a_server_refuses_is_told(rig: Rig, fault: str, word: str) -> None:
    assert "127.0.0.1" in refused(rig.run("#!/bin/sh\n", faults=[fault, "always"]), word)


def test_what_passes_is_tried_again(rig: Rig) -> None:
    assert rig.run("#!/bin/sh\necho ran\n" + "#" * 5000, faults=["500", "cut", "302"]).extract == "ran\n"


def test_a_page_of_xml_is_never_run(rig: Rig) -> None:
    body = b"<Error><Code>AccessDenied</Code></Error>"
    assert "instead of" in refused(rig.run(b"#" * len(body), faults=["xml", "always"]), "digest")


def test_a_download_that_drips_meets_the_deadline(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\necho ran\n" + "#" * 200, faults=["drip", "always"], fetch_timeout=1)
    refused(outcome, "fetch-timeout")
    assert rig.settle() == []


def test_three_gigabytes_of_output_are_counted(rig: Rig) -> None:
    """More than 32 bits can say. Sparse, so that it costs no room."""
    outcome = rig.run("#!/bin/sh\ntruncate -s 3G /proc/self/fd/1\necho end\n")
    assert outcome.record.stdout_bytes == (3 << 30) + 4
    assert outcome.extract.startswith(f"[... {(3 << 30) + 4 - 20_000} bytes left out]\n\0")
    assert outcome.extract.endswith("\0end\n")


def test_a_script_that_signals_its_group_is_reported(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\necho out\nkill 0\n")
    assert (outcome.record.outcome, outcome.extract) == ("signalled", "out\n")


def test_a_reboot_that_would_be_repeated_is_not_asked_for(rig: Rig) -> None:
    (rig.root / "second").mkdir()
    rig.lock_roots = f"'{rig.root}/missing {rig.root}/second'"
    outcome = rig.run("#!/bin/sh\necho out\nexit 194\n")
    assert (outcome.code, outcome.record.code, outcome.record.run, outcome.extract) == (1, 194, RUN, "out\n")
