"""The world of the identity tests, each test in its own database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import World

from headrace.kernel.clock import ManualClock
from headrace.records import open_records


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables of access and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("access") / "records.sqlite"
    records = open_records(path)
    records.migrate(["access"])
    records.close()
    return path


@pytest.fixture
def world(tmp_path: Path, empty: Path) -> Iterator[World]:
    records = open_records(shutil.copy(empty, tmp_path))
    yield World(records, ManualClock())
    records.close()
