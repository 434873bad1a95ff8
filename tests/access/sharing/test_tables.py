"""Grants for aggregation only, and the tables that are published from them."""

from typing import Any

import pytest

from headrace.access.audit import Query
from headrace.access.events import Events
from headrace.access.sharing import (
    Purpose,
    ReadQuery,
    Resolution,
    Source,
    Subject,
    Tabled,
    Terms,
    Use,
    Visitor,
)
from headrace.access.sharing.aggregates import TOTAL, Dimension, Rule, Shape
from headrace.access.tenancy import OrgKind, Orgs, Ownership, Scope
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Conflict, Denied, NotFound
from headrace.kernel.messages import Text

DAY = 86_400 * NS_PER_S
SHAPE = Shape((Dimension("zone", (("x", TOTAL), ("y", TOTAL), ("z", TOTAL))),))
RULE = Rule(dominance=None, p=None)


def firms(world: Any, count: int) -> list[Source]:
    """Firms 0…count-1 in zones x, y, z by turns, each with an indicator of its own."""
    events = Events(world.records, world.clock)
    orgs, ownership = Orgs(events), Ownership(events)
    found = []
    for n in range(count):
        name = Text(f"厂{n}", f"firm {n}")
        org = orgs.create(OrgKind.FIRM, name, Scope.whole_node(), by="t", parent=world.region)
        ownership.own("indicator", f"kwh-{n}", org.id, by="t")
        found.append(Source(resource=f"kwh-{n}", owner=org.id, cell=("xyz"[n % 3],)))
    return found


def grant(world: Any, source: Source, use: Use, **changed: Any) -> Any:
    now = world.clock.now()
    base: dict[str, Any] = {
        "owner": source.owner, "grantee": world.region, "subject": Subject.INDICATOR, "use": use,
        "resources": (source.resource,), "purpose": Purpose.STATISTICS, "start": now, "end": now + 90 * DAY,
    }  # fmt: skip
    return world.here.grants.give(Terms(**{**base, **changed}), by="u-1")


def visitor(world: Any) -> Visitor:
    return Visitor(actor="u-9", orgs=(world.region,))


def make(world: Any, sources: list[Source], **more: Any) -> Tabled:
    return world.here.gate.table(
        visitor(world), "kwh", SHAPE, sources, Purpose.STATISTICS, more.pop("rule", RULE),
        lambda names: {name: float(name.partition("-")[2]) for name in names}, **more,
    )  # fmt: skip


def test_a_grant_to_read_is_none_for_aggregation_and_the_other_way_round(world: Any) -> None:
    reading, adding = firms(world, 2)
    grant(world, reading, Use.READ)
    grant(world, adding, Use.AGGREGATE)
    made = make(world, [reading, adding])
    assert made.left_out == (reading.resource,) and made.contributors == 1
    with pytest.raises(Denied) as caught:
        world.here.gate.read(
            visitor(world), Subject.INDICATOR, adding.resource, Purpose.STATISTICS, lambda: [1.0]
        )
    assert caught.value.code == "share.aggregation_only"
    evidence = world.here.gate.evidence(visitor(world), Subject.INDICATOR, adding.resource, "indicator.read")
    assert evidence is None


def test_a_series_is_not_aggregated_unless_granted_so(world: Any) -> None:
    with pytest.raises(Denied):
        source = Source(resource="node-a/x", owner=world.firm, cell=("x",))
        grant(world, source, Use.AGGREGATE, subject=Subject.SERIES, resolution=Resolution(DAY),
              owner=world.other)  # fmt: skip


def test_a_table_is_protected_published_and_every_owner_sees_the_read(world: Any) -> None:
    sources = firms(world, 12)
    for source in sources[:11]:
        grant(world, source, Use.AGGREGATE)
    definition = world.here.tables.define(
        "kwh", world.region, Text("用电量", "Electricity"), "kW.h", SHAPE, RULE, by="u-9"
    )
    made = make(world, sources)
    assert made.left_out == ("kwh-11",) and made.contributors == 11 and len(made.grants) == 11
    assert not made.protected.hidden  # 4, 4 and 3 firms
    edition = world.here.tables.publish(definition.id, "2026-Q3", made, Scope.of([world.region]), by="u-9")
    assert edition.number == 1 and edition.public_by == f"table:{definition.id}/2026-Q3/1"
    assert {c.code[0]: c.value for c in edition.cells} == {TOTAL: 55.0, "x": 18.0, "y": 22.0, "z": 15.0}
    assert world.here.tables.editions(definition.id) == [edition]
    for source in sources[:11]:
        reads, _ = world.here.reads.page(ReadQuery(), Scope.of([source.owner]))
        assert [(r.use, r.table, r.points, r.actor) for r in reads] == [(Use.AGGREGATE, "kwh", 1, "u-9")]
    assert world.here.reads.page(ReadQuery(), Scope.of([sources[11].owner]))[0] == []
    assert world.here.reads.check() == 11
    told = world.here.log.search(Query(action="share.published"), Scope.whole_node()).items
    assert [e.resource for e in told] == [edition.public_by]


def test_revoked_firms_leave_and_cells_stay_hidden_in_corrections(world: Any) -> None:
    sources = firms(world, 12)
    grants = [grant(world, source, Use.AGGREGATE) for source in sources]
    scope = Scope.of([world.region])
    definition = world.here.tables.define("kwh", world.region, Text("电", "el"), "", SHAPE, RULE, by="u")
    for n in (2, 5):  # two of the four in z
        world.here.grants.revoke(grants[n].id, Scope.of([sources[n].owner]), by="u", reason="")
    first = make(world, sources)
    assert ("z",) in first.protected.hidden and len(first.protected.hidden) == 2
    world.here.tables.publish(definition.id, "2026-Q3", first, scope, by="u")
    for n in (2, 5):
        grant(world, sources[n], Use.AGGREGATE)
    bare = make(world, sources)
    with pytest.raises(Conflict) as caught:
        world.here.tables.publish(definition.id, "2026-Q3", bare, scope, by="u")
    assert caught.value.code == "share.uncovers"
    hidden = world.here.tables.hidden_before(definition.id, "2026-Q3")
    second = make(world, sources, keep_hidden=hidden)
    assert world.here.tables.publish(definition.id, "2026-Q3", second, scope, by="u").number == 2
    assert world.here.tables.publish(definition.id, "2026-Q4", bare, scope, by="u").number == 1


def test_tables_are_fixed(world: Any) -> None:
    scope, tables = Scope.of([world.region]), world.here.tables
    definition = tables.define("kwh", world.region, Text("电", "el"), "", SHAPE, RULE, by="u")
    with pytest.raises(Conflict) as caught:
        tables.define("kwh", world.region, Text("电", "el"), "", SHAPE, Rule(), by="u")
    assert caught.value.code == "share.table_exists"
    with pytest.raises(Conflict) as caught:
        tables.publish(definition.id, "p", make(world, [], rule=Rule()), scope, by="u")
    assert caught.value.code == "share.table_differs"
    with pytest.raises(NotFound):
        tables.publish(definition.id, "p", make(world, []), Scope.of([world.firm]), by="u")
    tables.retire(definition.id, scope, by="u")
    with pytest.raises(Conflict):
        tables.publish(definition.id, "p", make(world, []), scope, by="u")
    assert tables.get(definition.id).retired is not None and tables.page()[1] == 1
    tables.define("kwh", world.region, Text("电", "el"), "", SHAPE, Rule(), by="u")
    with pytest.raises(NotFound):
        tables.get("nothing")
