"""The world of the identity tests, each test in its own database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import World

from headrace.kernel.clock import ManualClock
from headrace.records import open_records


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    records = open_records(tmp_path / "records.sqlite")
    records.migrate(["access"])
    yield World(records, ManualClock())
    records.close()
