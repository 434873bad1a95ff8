"""A workshop at work, copied for each test: warming it up takes a second, copying it milliseconds."""

import copy
from collections.abc import Callable

import pytest

from headrace.demo.physics import Workshop


@pytest.fixture(scope="session")
def _warm() -> Workshop:
    return Workshop.at_work(7)


@pytest.fixture
def shop(_warm: Workshop) -> Workshop:
    return copy.deepcopy(_warm)


@pytest.fixture
def twin(_warm: Workshop) -> Callable[[], Workshop]:
    """More workshops in the very same state."""
    return lambda: copy.deepcopy(_warm)
