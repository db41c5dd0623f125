"""A farm per test. It is up in less than a tenth of a second."""

from collections.abc import Iterator

import pytest
from ssh.farm import Farm


@pytest.fixture
def farm() -> Iterator[Farm]:
    with Farm() as farm:
        yield farm
