"""A log on a fresh database."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.access.audit import Act, AuditLog
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
def log(records: Records, clock: ManualClock) -> AuditLog:
    return AuditLog(records, clock)


@pytest.fixture
def filled(log: AuditLog) -> AuditLog:
    """Ten entries, sequence 1 to 10."""
    log.append([Act(actor=f"u{n}", action="tag.read", resource=f"tag:t{n}") for n in range(1, 11)])
    return log


@pytest.fixture
def attack(records: Records) -> Callable[..., None]:
    """Statements of somebody who may do anything with the database file."""

    def run(*statements: str) -> None:
        raw = sqlite3.connect(records.name, isolation_level=None)
        raw.execute("DROP TRIGGER IF EXISTS audit_entry_fixed")
        raw.execute("DROP TRIGGER IF EXISTS audit_entry_kept")
        for statement in statements:
            raw.execute(statement)
        raw.close()

    return run
