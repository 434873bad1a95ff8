"""A node with an authority, one firm, and machines that enrol in one step."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.access.events import Events
from headrace.access.pki import Authority, Machine, MachinePki, PkiSettings, Usage
from headrace.access.tenancy.kinds import OrgKind
from headrace.access.tenancy.orgs import Orgs
from headrace.access.tenancy.scope import Scope
from headrace.kernel.clock import SystemClock
from headrace.kernel.messages import Text
from headrace.records import Records, open_records


class MovingClock(SystemClock):
    """The machine's clock, so that OpenSSL agrees with it, moved on by `ahead_s` when a test says so."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> int:
        return super().now() + round(self.ahead_s * 1e9)


class Node:
    """Everything of one node's pki, in one folder."""

    def __init__(self, folder: Path, name: str, clock: MovingClock, tables: Path) -> None:
        self.folder = folder
        self.clock = clock
        self.tables = tables
        shutil.copy(tables, folder / "records.sqlite")
        self.records: Records = open_records(folder / "records.sqlite")
        self.events = Events(self.records, clock)
        self.settings = PkiSettings()
        self.authority = Authority.create(folder / "pki", node=name, clock=clock, settings=self.settings)
        self.pki = MachinePki(self.authority, self.events)
        self.pki.maintain()
        self.all = Scope.whole_node()
        orgs = Orgs(self.events)
        self.firm = orgs.create(OrgKind.FIRM, Text("甲厂", "Firm A"), self.all, by="t").id
        self.other = orgs.create(OrgKind.FIRM, Text("乙厂", "Firm B"), self.all, by="t").id

    def machine(self, name: str, usage: Usage = Usage.MACHINE, hosts: tuple[str, ...] = ()) -> Machine:
        code = self.pki.issue_code(
            gateway=name, org=self.firm, scope=self.all, by="t", usage=usage, hosts=hosts
        )
        machine = Machine(self.folder / "machines" / name, name, hosts)
        issued = self.pki.enrol(code.secret, name, machine.request())
        machine.install(issued, trust_fingerprint=code.trust_fingerprint)
        return machine


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with the room's tables; copying it is quicker than migrating again."""
    path = tmp_path_factory.mktemp("tables") / "records.sqlite"
    records = open_records(path)
    records.migrate(["access"])
    records.close()
    return path


@pytest.fixture
def make_node(tmp_path: Path, tables: Path) -> Iterator[Callable[[str], Node]]:
    nodes: list[Node] = []

    def make(name: str) -> Node:
        folder = tmp_path / name
        folder.mkdir()
        nodes.append(Node(folder, name, MovingClock(), tables))
        return nodes[-1]

    yield make
    for node in nodes:
        node.records.close()


@pytest.fixture
def node(make_node: Callable[[str], Node]) -> Node:
    return make_node("plant-1")
