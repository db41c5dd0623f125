"""The documents name what there is: rooms, dependencies, commands and options."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from ssm_deployer.cli.main import root

ROOT = Path(__file__).parent.parent
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = sorted(
    path.name + ("/" if path.is_dir() else "")
    for path in (ROOT / "ssm_deployer").iterdir()
    if not path.name.startswith("_") and (path.is_dir() or path.suffix == ".py")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["sandbox"]]
README = (ROOT / "README.md").read_text()
ROWS = [line for line in ARCHITECTURE.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_row_that_says_its_purpose(room: str) -> None:
    assert any(row.startswith(f"| `{room}` |") for row in ROWS)


@pytest.mark.parametrize("requirement", DEPENDENCIES)
def test_every_dependency_has_a_row_that_says_why(requirement: str) -> None:
    name = requirement.partition(">")[0]
    assert any(name in row.split("|")[1].replace(",", "").split() for row in ROWS)


def test_the_contributors_guide_names_only_targets_that_the_makefile_has() -> None:
    guide, makefile = (ROOT / "CONTRIBUTING.md").read_text(), (ROOT / "Makefile").read_text()
    named = {line.split()[2] for line in guide.splitlines() if line.startswith("$ make ")}
    assert named
    assert all(f"\n{target}:" in makefile for target in named)


def options(name: str) -> list[str]:
    """The long names of a command's options, `--verbose` by its short one."""
    command = root.get_command(click.Context(root), name)
    assert command is not None
    named = [param.opts[-1] for param in command.params if isinstance(param, click.Option)]
    return ["-v" if name == "--verbose" else name for name in named]


@pytest.mark.parametrize("option", options("upload-script"))
def test_every_option_of_the_main_command_stands_in_the_table_of_the_readme(option: str) -> None:
    table = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `-")]
    assert any(option in re.findall(r"-[\w-]+", cell) for cell in table)


@pytest.mark.parametrize("command", root.commands)
def test_the_readme_shows_every_command(command: str) -> None:
    assert f"ssm-deploy {command}" in README
