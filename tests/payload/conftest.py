"""A target per test, which must be as it was when the test is over."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from payload.rig import Mounts, Rig, Store


@pytest.fixture(scope="session")
def shared_store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


@pytest.fixture
def store(shared_store: Store) -> Store:
    shared_store.clear()
    return shared_store


@pytest.fixture
def rig(tmp_path: Path, store: Store) -> Iterator[Rig]:
    rig = Rig(tmp_path, store)
    yield rig
    assert rig.settle() == []


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    mounts = Mounts(tmp_path)
    yield mounts
    mounts.remove()
