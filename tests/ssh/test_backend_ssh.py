"""The contract of backends, kept by SSH to real servers, whether the files come in the same connection or by scp."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from backend_contract import BackendContract, MakeBackend
from ssh.client import Client, targets
from ssh.farm import Farm
from ssh.server import Server

from ssm_deployer.model import Target
from ssm_deployer.runner import Backend

pytestmark = pytest.mark.slow

SCRIPTS = {"hello": b"echo hello\n", "fail": b"echo boom >&2\nexit 3\n", "sleep": b"sleep 60\n"}


@pytest.fixture
def servers(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    for name, value in farm.environment.items():
        monkeypatch.setenv(name, value)
    return farm.servers(2)


@pytest.fixture(name="targets")
def two(servers: list[Server]) -> Sequence[Target]:
    return targets(servers)


@pytest.fixture
def pause() -> float:
    return 0.05


@pytest.fixture(params=["stream", "scp"])
def make(request: pytest.FixtureRequest, farm: Farm, servers: list[Server], tmp_path: Path) -> MakeBackend:
    assert servers
    (tmp_path / "a file").write_text("content")

    def make(script: str) -> Backend:
        return Client(farm, SCRIPTS[script], tmp_path, transfer=request.param).backend

    return make


class TestSshBackend(BackendContract):
    """Everything that any backend owes."""
