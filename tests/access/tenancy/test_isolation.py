"""Isolation by property: random trees, memberships and owners; whatever is asked through a Scope, nothing of
another tenant comes back, and what cannot be seen reads exactly like what does not exist."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.access.events import Events
from headrace.access.tenancy import (
    Directory,
    Members,
    OrgKind,
    Orgs,
    OrgState,
    Ownership,
    Scope,
    may_stand,
    tag_resource,
)
from headrace.access.tenancy.kinds import WITHIN_FIRM
from headrace.kernel.clock import ManualClock
from headrace.kernel.errors import Conflict, InputError, NotFound
from headrace.kernel.messages import Text
from headrace.records import open_records

NODE = Scope.whole_node()
KINDS = list(OrgKind)
ROW = sa.Table("thing", sa.MetaData(), sa.Column("id", sa.Text), sa.Column("org", sa.Text))


class World:
    """A random tree with its own, naive notion of who reaches whom: climb until the tenant ends."""

    def __init__(self, seed: int, size: int, empty: Path, folder: str) -> None:
        self.random = random.Random(seed)
        self.records = open_records(shutil.copy(empty, folder))
        self.events = Events(self.records, ManualClock())
        self.orgs = Orgs(self.events)
        self.members = Members(self.events, rule=lambda role, kind, held: None)
        self.ownership = Ownership(self.events)
        self.parent: dict[str, str] = {}
        self.kind: dict[str, OrgKind] = {}
        self.owner: dict[str, str] = {}
        with self.events.begin() as change:
            ROW.metadata.create_all(change.connection)
            for number in range(size):
                self._org(change, number)
            for org in self.kind:
                self.members.add(f"u{org}", org, "viewer", NODE, by="t", within=change)
                for kind, resource in (
                    ("tag", tag_resource(f"n{org}")),
                    ("subject", f"data.n{org}"),
                    ("doc", org),
                ):
                    self.ownership.own(kind, resource, org, by="t", within=change)
                change.connection.execute(sa.insert(ROW).values(id=f"r{org}", org=org))
            change.connection.execute(sa.insert(ROW).values(id="nobody's", org=None))

    def _org(self, change: object, number: int) -> None:
        places = ["", *self.kind]
        for _ in range(30):
            kind = self.random.choice(KINDS)
            parent = self.random.choice(places)
            if may_stand(kind, self.kind[parent] if parent else None):
                title = Text(f"组织{number}", f"Org {number}")
                made = self.orgs.create(kind, title, NODE, by="t", parent=parent, within=change)  # type: ignore[arg-type]
                self.kind[made.id], self.parent[made.id] = kind, parent
                return

    def reachable(self, root: str, org: str) -> bool:
        while org != root:
            if self.kind[org] not in WITHIN_FIRM:
                return False
            org = self.parent[org]
        return True

    def scope(self) -> tuple[Scope, set[str]]:
        roots = self.random.sample(sorted(self.kind), self.random.randint(0, min(3, len(self.kind))))
        return Scope.of(roots), {org for org in self.kind if any(self.reachable(r, org) for r in roots)}

    def move_some(self) -> None:
        inside = [org for org in self.kind if self.kind[org] in WITHIN_FIRM]
        for org in self.random.sample(inside, min(4, len(inside))):
            target = self.random.choice(sorted(self.kind))
            try:
                self.orgs.move(org, target, NODE, by="t")
            except (InputError, Conflict):
                continue
            self.parent[org] = target


def check_world(world: World, tries: Counter[str]) -> None:
    with world.records.read() as connection:
        directory = Directory.load(connection)
    everyone = sorted(world.kind)
    for _ in range(4):
        scope, mine = world.scope()
        found, total = world.orgs.find(scope, limit=1000)
        assert {org.id for org in found} == mine and total == len(mine)
        assert {m.org for m in world.members.find(scope, limit=1000)[0]} == mine
        assert {owner for _, owner in world.ownership.find("doc", scope, limit=1000)} == mine
        with world.records.read() as connection:
            rows = connection.execute(sa.select(ROW).where(scope.where(ROW.c.org))).all()
            owned = connection.execute(sa.select(ROW).where(scope.owns("doc", ROW.c.org))).all()
        assert {row.org for row in rows} == mine == {row.org for row in owned}
        for org in everyone:
            inside = org in mine
            assert directory.covers(scope, org) is inside
            assert directory.admits_tag(scope, f"n{org}", "oven/zone1/temperature") is inside
            assert directory.admits(scope, "subject", f"data.n{org}.edge") is inside
            assert not directory.admits(scope, "tag", f"n{org}x/oven")
            tries["inside" if inside else "outside"] += 3
        for org in world.random.sample(everyone, min(5, len(everyone))):
            attempt(world, scope, org, org in mine, tries)


def attempt(world: World, scope: Scope, org: str, inside: bool, tries: Counter[str]) -> None:
    """Try everything upon one organisation. Outside the scope each try fails as if it did not exist."""
    title, doc = Text("改名", "Renamed"), ("doc", org)
    acts = {
        "get": lambda id: world.orgs.get(id, scope),
        "above": lambda id: world.orgs.above(id, scope),
        "rename": lambda id: world.orgs.rename(id, title, scope, by="x"),
        "state": lambda id: world.orgs.set_state(id, OrgState.ACTIVE, scope, by="x"),
        "member": lambda id: world.members.add("x", id, world.random.randbytes(8).hex(), scope, by="x"),
    }
    for name, act in acts.items():
        if inside:
            act(org)
            continue
        said = []
        for id in (org, "0" * 32):
            with pytest.raises(NotFound) as error:
                act(id)
            said.append([error.value.text(lang).replace(id, "·") for lang in ("zh", "en")])
        assert said[0] == said[1], name
        tries["outside"] += 1
    if not inside:
        with pytest.raises(NotFound):
            world.ownership.transfer(*doc, org, scope, by="x")
        assert world.members.find(scope, org=org) == ([], 0)
        tries["outside"] += 2


def run(worlds: int, size: int, empty: Path) -> Counter[str]:
    tries: Counter[str] = Counter()

    @settings(max_examples=worlds, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32), st.integers(1, size))
    def property(seed: int, size: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            world = World(seed, size, empty, folder)
            try:
                check_world(world, tries)
                world.move_some()
                check_world(world, tries)
            finally:
                world.records.close()

    property()
    return tries


def test_nothing_crosses_between_tenants(empty: Path) -> None:
    tries = run(8, 24, empty)
    assert tries["outside"] > 500 and tries["inside"] > 50, tries


@pytest.mark.full
def test_ten_thousand_cross_tenant_attempts(empty: Path) -> None:
    tries = run(100, 40, empty)
    assert tries["outside"] >= 10_000, tries
