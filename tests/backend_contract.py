"""What every backend owes the runner: one suite, for the fake, for SSM in the sandbox, and for SSH to real servers."""

import time
from collections.abc import Callable, Sequence

import msgspec
import pytest

from ssm_deployer.model import Handle, Invocation, Staged, Target
from ssm_deployer.runner import Backend

PATIENCE = 60.0  # seconds

# Makes a backend whose script prints `hello` and exits 0, or sleeps for a minute, or exits 3.
MakeBackend = Callable[[str], Backend]


def staged_by(backend: Backend) -> Staged:
    """Have a backend stage all of it."""
    transfer = backend.stage()
    while True:
        try:
            next(transfer)
        except StopIteration as end:
            staged = end.value
            assert isinstance(staged, Staged)
            return staged


class BackendContract:
    """Subclasses give the fixtures `make` (a MakeBackend), `targets` (two reachable ones) and `pause` (seconds)."""

    def until(
        self, backend: Backend, handle: Handle, done: Callable[[Sequence[Invocation]], bool], pause: float
    ) -> Sequence[Invocation]:
        seen: Sequence[Invocation] = []
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            seen = backend.observe(handle)
            if done(seen):
                return seen
            time.sleep(pause)
        pytest.fail(f"the backend never came to it: {seen}")

    def until_final(self, backend: Backend, handle: Handle, pause: float) -> Sequence[Invocation]:
        def final(seen: Sequence[Invocation]) -> bool:
            return len(seen) == len(handle.targets) and all(each.status.final for each in seen)

        return self.until(backend, handle, final, pause)

    def test_staging_tells_growing_sizes_and_where_it_went(self, make: MakeBackend) -> None:
        backend = make("hello")
        sizes = list(backend.stage())
        assert sizes == sorted(sizes)
        assert staged_by(backend).size == sizes[-1]
        assert list(backend.clean()) == []

    def test_a_success_comes_with_the_targets_own_record_and_output(
        self, make: MakeBackend, targets: Sequence[Target], pause: float
    ) -> None:
        backend = make("hello")
        handle = backend.start(targets, staged_by(backend))
        seen = self.until_final(backend, handle, pause)
        assert sorted(each.target for each in seen) == sorted(target.id for target in targets)
        assert {str(each.status) for each in seen} == {"succeeded"}
        assert all(each.record is not None and each.record.succeeded for each in seen)
        assert {each.stdout for each in seen} == {"hello\n"}
        backend.clean()

    def test_a_failure_comes_with_its_exit_code(
        self, make: MakeBackend, targets: Sequence[Target], pause: float
    ) -> None:
        backend = make("fail")
        handle = backend.start(targets, staged_by(backend))
        for each in self.until_final(backend, handle, pause):
            assert str(each.status) == "failed"
            assert each.record is not None
            assert each.record.code == 3
        backend.clean()

    def test_looking_shows_no_target_but_the_handles(
        self, make: MakeBackend, targets: Sequence[Target], pause: float
    ) -> None:
        backend = make("hello")
        handle = backend.start(targets, staged_by(backend))
        narrowed = msgspec.structs.replace(handle, targets=handle.targets[:1])
        seen = self.until_final(backend, narrowed, pause)
        assert [each.target for each in seen] == [targets[0].id]
        backend.clean()

    def test_a_started_command_is_found_again_by_any_of_its_targets(
        self, make: MakeBackend, targets: Sequence[Target], pause: float
    ) -> None:
        backend = make("hello")
        assert list(backend.find(targets)) == []
        handle = backend.start(targets, staged_by(backend))
        self.until_final(backend, handle, pause)  # by then it is there to be found; at once it need not be
        assert list(backend.find(targets)) == [handle]
        assert list(backend.find(targets[:1])) == [msgspec.structs.replace(handle, targets=handle.targets[:1])]
        backend.clean()

    def test_a_cancelled_command_comes_to_an_end_that_is_no_success(
        self, make: MakeBackend, targets: Sequence[Target], pause: float
    ) -> None:
        backend = make("sleep")
        handle = backend.start(targets, staged_by(backend))
        backend.cancel(handle)
        seen = self.until_final(backend, handle, pause)
        assert {str(each.status) for each in seen} == {"cancelled"}
        backend.clean()

    def test_the_whole_extract_can_be_read_after_the_end_when_all_is_cleaned(
        self, make: MakeBackend, targets: Sequence[Target], pause: float
    ) -> None:
        backend = make("hello")
        handle = backend.start(targets, staged_by(backend))
        self.until_final(backend, handle, pause)
        backend.clean()
        assert backend.read(handle, targets[0].id) == ("hello\n", "")

    def test_living_targets_are_not_lost(self, make: MakeBackend, targets: Sequence[Target]) -> None:
        assert make("hello").lost(targets) == {}

    def test_cleaning_leaves_nothing_and_may_be_repeated(self, make: MakeBackend) -> None:
        backend = make("hello")
        assert list(backend.clean()) == []
        staged_by(backend)
        assert list(backend.clean()) == []
        assert list(backend.clean()) == []

    def test_staging_that_is_closed_midway_can_be_cleaned(self, make: MakeBackend) -> None:
        backend = make("hello")
        transfer = backend.stage()
        next(transfer)
        transfer.close()
        assert list(backend.clean()) == []
