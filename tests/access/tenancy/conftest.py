"""A records database with the tables of room access."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.access.events import Events
from headrace.kernel.clock import ManualClock
from headrace.records import Records, open_records


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables of access and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("access") / "records.sqlite"
    made = open_records(path)
    made.migrate(["access"])
    made.close()
    return path


@pytest.fixture
def records(tmp_path: Path, empty: Path) -> Iterator[Records]:
    opened = open_records(shutil.copy(empty, tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def events(records: Records, clock: ManualClock) -> Events:
    return Events(records, clock)
