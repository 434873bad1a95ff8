"""A firm with a plant, another firm, and the decision point over the built-in policies."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headrace.access.decisions import (
    Approvals,
    DecisionPoint,
    PolicyBook,
    Resource,
    StandingGrants,
    load_policies,
)
from headrace.access.events import AccessEvent, Events
from headrace.access.identity import Held, Principal, PrincipalKind
from headrace.access.tenancy import Directories, OrgKind, Orgs, Scope
from headrace.kernel.clock import ManualClock
from headrace.kernel.messages import Text
from headrace.records import open_records


@pytest.fixture(scope="session")
def book() -> PolicyBook:
    return load_policies()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def point(book: PolicyBook, clock: ManualClock) -> DecisionPoint:
    return DecisionPoint(book, clock)


class World(msgspec.Struct):
    clock: ManualClock
    events: Events
    directories: Directories
    point: DecisionPoint
    approvals: Approvals
    standing: StandingGrants
    firm: str
    plant: str
    other: str
    noted: list[AccessEvent]

    def person(self, name: str, *roles: tuple[str, str], factor: bool = True) -> Principal:
        return Principal(
            kind=PrincipalKind.ACCOUNT,
            id=name,
            name=name,
            account=name,
            roles=tuple(Held(role, org) for role, org in roles),
            second_factor=self.clock.now() if factor else None,
        )

    def operator(self, name: str, *, factor: bool = True) -> Principal:
        return self.person(name, ("operator", self.plant), factor=factor)

    def tag(self, id: str = "oven/zone1/setpoint", owner: str = "", risk: str = "dangerous") -> Resource:
        return Resource.owned(
            self.directories.now(), owner or self.plant, "tag", id, machine=id.partition("/")[0], risk=risk
        )

    def rule(self, id: str = "hold-temperature") -> Resource:
        return Resource.owned(self.directories.now(), self.plant, "rule", id)


@pytest.fixture
def world(tmp_path: Path, book: PolicyBook) -> Iterator[World]:
    clock: ManualClock = ManualClock()
    noted: list[AccessEvent] = []
    records = open_records(tmp_path / "records.sqlite")
    records.migrate(["access"])
    events = Events(records, clock, recorders=[lambda _, event: noted.append(event)])
    orgs = Orgs(events)

    def org(kind: OrgKind, parent: str = "") -> str:
        everywhere = Scope.whole_node()
        title = Text("组织", kind.value)
        return orgs.create(kind, title, scope=everywhere, by="setup", parent=parent).id

    firm, other = org(OrgKind.FIRM), org(OrgKind.FIRM)
    plant = org(OrgKind.PLANT, firm)
    noted.clear()
    point, directories = DecisionPoint(book, clock), Directories(events)
    approvals = Approvals(events, point, directories)
    standing = StandingGrants(events, point, approvals, directories)
    yield World(clock, events, directories, point, approvals, standing, firm, plant, other, noted)
    records.close()
