"""The contract of backends, kept by the fake that the runner's tests trust."""

from collections.abc import Sequence

import pytest
from backend_contract import BackendContract, MakeBackend
from fakes import FakeBackend, failed, succeeded

from ssm_deployer.model import Invocation, Status, Target


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def targets(self) -> Sequence[Target]:
        return [Target(id="i-1", via="fake"), Target(id="i-2", via="fake")]

    @pytest.fixture
    def pause(self) -> float:
        return 0.0

    @pytest.fixture
    def make(self, targets: Sequence[Target]) -> MakeBackend:
        def make(script: str) -> FakeBackend:
            ends = {"hello": succeeded, "fail": failed}
            if script in ends:
                return FakeBackend({target.id: [ends[script](target.id)] for target in targets})
            return FakeBackend({t.id: [Invocation(target=t.id, status=Status.RUNNING)] for t in targets})

        return make
