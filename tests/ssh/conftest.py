"""A farm per test, which is up in less than a tenth of a second, and what its user has."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh.farm import Farm


@pytest.fixture
def farm() -> Iterator[Farm]:
    with Farm() as farm:
        yield farm


@pytest.fixture
def _as_the_farms_user(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in farm.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Files that no compressor makes smaller: 8 MiB."""
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "noise").write_bytes(os.urandom(8 << 20))
    return folder


@pytest.fixture
def agent(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The socket of an agent, which is the user's."""
    socket = farm.folder / "agent"  # its path must be short, and tmp_path is long
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # once it listens, it says where
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield socket
        process.terminate()
