import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ssm_deployer.sandbox import container
from ssm_deployer.sandbox.container import OWN, Traits


def test_an_instance_has_every_directory_of_its_own_with_the_usual_modes(tmp_path: Path) -> None:
    own = container.furnish(tmp_path, "i-1")
    modes = {entry.name: entry.stat().st_mode & 0o7777 for entry in own.iterdir()}
    assert modes == dict.fromkeys(OWN, 0o755) | {"tmp": 0o1777, "var-tmp": 0o1777, "root": 0o700, "sbin": 0o755}


def test_furnishing_again_keeps_what_is_there(tmp_path: Path) -> None:
    (container.furnish(tmp_path, "i-1") / "var-lib" / "kept").touch()
    assert (container.furnish(tmp_path, "i-1") / "var-lib" / "kept").exists()


def test_programs_are_hidden_where_they_really_are(tmp_path: Path) -> None:
    command = container.bubblewrap(tmp_path, Traits(hidden=("sh", "no-such-program")))
    hidden = [command[number + 1] for number, word in enumerate(command) if word == "/dev/null"]
    assert hidden == [str(Path("/bin/sh").resolve())]


def test_a_small_disk_is_a_sized_tmpfs_that_everyone_may_use(tmp_path: Path) -> None:
    command = " ".join(container.bubblewrap(tmp_path, Traits(disk_bytes=4096)))
    assert "--perms 1777 --size 4096 --tmpfs /tmp " in command
    assert f"--bind {tmp_path}/tmp /tmp" not in command


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('NAME="Amazon Linux"\nVERSION_ID="2023"\n', ("Amazon Linux", "2023")),
        ("NAME=Alpine\n", ("Alpine", "")),
        ("", ("Linux", "")),
    ],
)
def test_the_distribution_is_read_from_os_release(tmp_path: Path, text: str, expected: tuple[str, str]) -> None:
    release = tmp_path / "os-release"
    release.write_text(text)
    assert container.distribution(release) == expected


def test_without_os_release_it_is_just_linux(tmp_path: Path) -> None:
    assert container.distribution(tmp_path / "none") == ("Linux", "")


def test_a_folder_is_removed_whatever_modes_were_left_in_it(tmp_path: Path) -> None:
    locked = tmp_path / "folder" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    locked.chmod(0)
    container.remove(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_folder_with_a_mode_of_its_own_is_removed_and_its_parent_keeps_its_own(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "folder").mkdir(mode=0)
    container.remove(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_removing_what_is_gone_is_harmless(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    container.remove(tmp_path / "none")
    container.remove(tmp_path / "no" / "parent")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_removing_a_link_changes_nothing_where_it_leads(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o750)
    (tmp_path / "link").symlink_to(elsewhere)
    container.remove(tmp_path / "link")
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o750


def test_removing_never_changes_what_links_in_a_folder_lead_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch(mode=0o640)
    (outside / "file").chmod(0o640)
    folder = tmp_path / "folder"
    locked = folder / "locked"
    locked.mkdir(parents=True)
    (locked / "to-file").symlink_to(outside / "file")
    (locked / "to-directory").symlink_to(outside)
    outside.chmod(0o550)
    locked.chmod(0o500)
    # Root needs no change of any mode, unless it has none of its rights.
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    program = (
        "import pathlib, sys; from ssm_deployer.sandbox import container; container.remove(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([*powerless, sys.executable, "-c", program, folder], check=True)
    assert not folder.exists()
    assert stat.S_IMODE((outside / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE(outside.stat().st_mode) == 0o550
