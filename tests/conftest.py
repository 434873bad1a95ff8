"""Fixtures that every room's tests may use."""

from collections.abc import Callable
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests last: Playwright keeps an event loop running in this thread, which asyncio's own runner,
    used by the tests before, does not share."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """A path below the project's shared test data; the test skips where that is not at hand."""

    def find(relative: str) -> Path:
        path = _SHARED / relative
        if not path.exists():
            pytest.skip(f"needs shared test data {relative}, which lives outside the repository")
        return path

    return find
