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


def test_removing_what_is_gone_is_harmless(tmp_path: Path) -> None:
    container.remove(tmp_path / "none")
