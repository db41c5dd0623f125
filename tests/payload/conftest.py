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
def way() -> str:
    """How a payload comes to the target, where a module does not have its tests try every way."""
    return "fetched"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have the tests of a module that says `WAYS` try them all, but those of what only a download can do."""
    ways = getattr(metafunc.module, "WAYS", ())
    if ways and "way" in metafunc.fixturenames:
        fetched = metafunc.definition.get_closest_marker("fetched")
        # What is the same text whichever way it comes is tried by the fast part once.
        slow = [pytest.param(way, marks=pytest.mark.slow) for way in ways if way != "fetched"]
        metafunc.parametrize("way", ["fetched", *([] if fetched else slow)])


@pytest.fixture
def rig(tmp_path: Path, store: Store, way: str) -> Iterator[Rig]:
    rig = Rig(tmp_path, store, way)
    yield rig
    assert rig.settle() == []


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    mounts = Mounts(tmp_path)
    yield mounts
    mounts.remove()
