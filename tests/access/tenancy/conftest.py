"""A records database with the tables of room access."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.access.events import Events
from headrace.kernel.clock import ManualClock
from headrace.records import Records, open_records


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = open_records(tmp_path / "records.sqlite")
    opened.migrate(["access"])
    yield opened
    opened.close()


@pytest.fixture
def events(records: Records, clock: ManualClock) -> Events:
    return Events(records, clock)
