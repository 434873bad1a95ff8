"""Firms, their data, and everything that sharing is made of, on a fresh database."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.access.audit import AuditLog
from headrace.access.events import Events
from headrace.access.sharing import Gate, Grants, Keys, Reads, Tables, owned_by
from headrace.access.tenancy import Directories, OrgKind, Orgs, Ownership, Scope
from headrace.kernel.clock import ManualClock
from headrace.kernel.messages import Text
from headrace.records import Records, open_records


class Process(NamedTuple):
    """What one process of the node holds."""

    grants: Grants
    gate: Gate
    reads: Reads
    log: AuditLog
    tables: Tables
    keys: Keys


class World(NamedTuple):
    here: Process
    records: Records
    clock: ManualClock
    folder: Path
    firm: str
    plant: str
    other: str  # another firm
    region: str


def process(records: Records, clock: ManualClock, folder: Path) -> Process:
    log = AuditLog(records, clock)
    events = Events(records, clock, recorders=[log.record_event])
    keys = Keys(events, folder / "keys")
    grants = Grants(events, keys, owned_by(Directories(events), Ownership(events)))
    reads = Reads(log)
    return Process(grants, Gate(grants, reads, log), reads, log, Tables(events), keys)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    clock = ManualClock()
    records = open_records(tmp_path / "records.sqlite")
    records.migrate(["access"])
    events = Events(records, clock)
    orgs, ownership, node = Orgs(events), Ownership(events), Scope.whole_node()

    def make(kind: OrgKind, name: str, parent: str = "") -> str:
        return orgs.create(kind, Text(name, name), node, by="test", parent=parent).id

    region = make(OrgKind.REGION, "区域")
    firm = make(OrgKind.FIRM, "甲厂", region)
    plant = make(OrgKind.PLANT, "车间", firm)
    other = make(OrgKind.FIRM, "乙厂", region)
    ownership.own("tag", "node-a", plant, by="test")
    ownership.own("tag", "node-b", other, by="test")
    ownership.own("indicator", "oee", firm, by="test")
    ownership.own("document", "doc-1", firm, by="test")
    ownership.own("identifier", "88.1.2/x", firm, by="test")
    yield World(process(records, clock, tmp_path), records, clock, tmp_path, firm, plant, other, region)
    records.close()


@pytest.fixture
def another(world: World) -> Process:
    """The same node, seen from another process."""
    return process(world.records, world.clock, world.folder)
