"""Organisations: where they may stand, how they change, and what those outside learn (nothing)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headrace.access.events import Events
from headrace.access.tenancy import (
    MandateKind,
    Members,
    Org,
    OrgKind,
    Orgs,
    OrgState,
    Scope,
    is_credit_code,
    may_stand,
)
from headrace.access.tenancy.credit_code import check_character
from headrace.kernel.clock import ManualClock
from headrace.kernel.errors import Conflict, HeadraceError, InputError, NotFound
from headrace.kernel.messages import Text

NODE = Scope.whole_node()


def anything(role: str, kind: OrgKind, held: Sequence[str]) -> None:
    """A rule that allows every role."""


def title(name: str) -> Text:
    return Text(f"{name}（中）", name)


def code(error: pytest.ExceptionInfo[HeadraceError]) -> str:
    return error.value.code


@pytest.fixture
def orgs(events: Events) -> Orgs:
    return Orgs(events)


@pytest.fixture
def members(events: Events) -> Members:
    return Members(events, rule=anything)


class Region:
    """A region with two firms and a plant each."""

    def __init__(self, orgs: Orgs) -> None:
        def make(kind: OrgKind, name: str, parent: Org | None = None) -> Org:
            return orgs.create(kind, title(name), NODE, by="t", parent=parent.id if parent else "")

        self.region = make(OrgKind.REGION, "Region")
        self.zone = make(OrgKind.ZONE, "Zone", self.region)
        self.firm = make(OrgKind.FIRM, "Firm A", self.zone)
        self.plant = make(OrgKind.PLANT, "Plant A", self.firm)
        self.line = make(OrgKind.LINE, "Line A", self.plant)
        self.machine = make(OrgKind.MACHINE, "Machine A", self.line)
        self.other = make(OrgKind.FIRM, "Firm B", self.zone)
        self.other_plant = make(OrgKind.PLANT, "Plant B", self.other)
        self.authority = make(OrgKind.AUTHORITY, "Committee", self.region)
        self.company = make(OrgKind.OPERATOR_COMPANY, "Company", self.region)


@pytest.fixture
def made(orgs: Orgs) -> Region:
    return Region(orgs)


def test_credit_codes_of_gb_32100() -> None:
    # The first is the example of GB 32100-2015 annex; the second is of a large company's public filings.
    assert is_credit_code("91350100M000100Y43")
    assert is_credit_code("91440300708461136T")
    assert not is_credit_code("91350100M000100Y44")
    assert not is_credit_code("91350100m000100y43")
    assert not is_credit_code("91350100I000100Y43")
    assert not is_credit_code("9135010")
    assert check_character("91350100M000100Y4") == "3"


def test_every_kind_stands_where_it_should() -> None:
    expected = {
        "region": {None, "region"},
        "zone": {None, "region"},
        "plant": {"firm"},
        "line": {"plant"},
        "machine": {"plant", "line"},
    }
    for kind in OrgKind:
        allowed = {p.value if p else None for p in [None, *OrgKind] if may_stand(kind, p)}
        assert allowed == expected.get(kind.value, {None, "region", "zone"}), kind


def test_a_firm_is_one_tenant_and_a_region_sees_into_none(orgs: Orgs, made: Region) -> None:
    assert {made.plant.tenant, made.line.tenant, made.machine.tenant} == {made.firm.id}
    assert made.zone.tenant == made.zone.id
    seen, total = orgs.find(Scope.of([made.firm.id]))
    assert {org.id for org in seen} == {made.firm.id, made.plant.id, made.line.id, made.machine.id}
    assert total == 4
    assert [org.id for org in orgs.find(Scope.of([made.region.id]))[0]] == [made.region.id]
    assert orgs.find(Scope()) == ([], 0)
    assert orgs.find(NODE)[1] == 10
    found, total = orgs.find(NODE, search="PLANT", limit=1)
    assert (len(found), total) == (1, 2)
    assert orgs.find(NODE, kind=OrgKind.LINE)[0] == [made.line]
    assert orgs.find(NODE, parent=made.zone.id)[1] == 2
    assert orgs.find(NODE, search="%")[1] == 0


def test_the_way_up_is_known_by_name(orgs: Orgs, made: Region) -> None:
    path = orgs.above(made.line.id, Scope.of([made.plant.id]))
    assert [kind.value for _, kind, _ in path] == ["region", "zone", "firm", "plant", "line"]
    assert path[1][2] == title("Zone")


def test_bad_organisations_are_refused(orgs: Orgs, made: Region) -> None:
    with pytest.raises(InputError) as error:
        orgs.create(OrgKind.LINE, title("x"), NODE, by="t", parent=made.firm.id)
    assert code(error) == "tenancy.misplaced"
    assert error.value.text("zh") == "产线不能设在企业之下"
    with pytest.raises(InputError) as error:
        orgs.create(OrgKind.PLANT, title("x"), NODE, by="t")
    assert code(error) == "tenancy.misplaced"
    with pytest.raises(InputError) as error:
        orgs.create(OrgKind.FIRM, Text("厂", " "), NODE, by="t")
    assert code(error) == "tenancy.no_title"
    with pytest.raises(InputError) as error:
        orgs.create(OrgKind.FIRM, title("x"), NODE, by="t", code="123")
    assert code(error) == "tenancy.bad_credit_code"
    orgs.create(OrgKind.FIRM, title("x"), NODE, by="t", code="91350100M000100Y43")
    with pytest.raises(Conflict) as conflict:
        orgs.create(OrgKind.FIRM, title("y"), NODE, by="t", code="91350100M000100Y43")
    assert code(conflict) == "tenancy.code_taken"


def test_a_line_moves_with_what_is_below_it(orgs: Orgs, made: Region) -> None:
    second = orgs.create(OrgKind.PLANT, title("Plant A2"), NODE, by="t", parent=made.firm.id)
    before = Scope.of([made.plant.id])
    assert orgs.get(made.machine.id, before).id == made.machine.id
    moved = orgs.move(made.line.id, second.id, Scope.of([made.firm.id]), by="t")
    assert (moved.parent, moved.version) == (second.id, 2)
    with pytest.raises(NotFound):
        orgs.get(made.machine.id, before)
    assert orgs.get(made.machine.id, Scope.of([second.id])).id == made.machine.id
    assert orgs.get(made.machine.id, Scope.of([made.firm.id])).id == made.machine.id


def test_nothing_moves_out_of_its_firm_or_below_itself(orgs: Orgs, made: Region) -> None:
    with pytest.raises(Conflict) as conflict:
        orgs.move(made.plant.id, made.other.id, NODE, by="t")
    assert code(conflict) == "tenancy.leaves_tenant"
    with pytest.raises(NotFound):  # the same, where the other firm is out of sight
        orgs.move(made.plant.id, made.other.id, Scope.of([made.firm.id]), by="t")
    inner = orgs.create(OrgKind.REGION, title("County"), NODE, by="t", parent=made.region.id)
    with pytest.raises(Conflict) as conflict:
        orgs.move(made.region.id, inner.id, NODE, by="t")
    assert code(conflict) == "tenancy.moves_below_itself"
    moved = orgs.move(made.firm.id, inner.id, Scope.of([made.firm.id]), by="t")
    assert moved.parent == inner.id  # a firm keeps all that is its own
    assert orgs.find(Scope.of([made.firm.id]))[1] == 4


def test_closed_is_for_good(orgs: Orgs, made: Region) -> None:
    assert orgs.set_state(made.firm.id, OrgState.SUSPENDED, NODE, by="t").state is OrgState.SUSPENDED
    with pytest.raises(Conflict) as conflict:
        orgs.create(OrgKind.PLANT, title("x"), NODE, by="t", parent=made.firm.id)
    assert code(conflict) == "tenancy.org_not_active"
    orgs.set_state(made.firm.id, OrgState.CLOSED, NODE, by="t")
    with pytest.raises(Conflict) as conflict:
        orgs.set_state(made.firm.id, OrgState.ACTIVE, NODE, by="t")
    assert code(conflict) == "tenancy.org_closed"


def test_membership_has_a_period_and_an_end(
    members: Members, made: Region, clock: ManualClock, events: Events
) -> None:
    hour = 3_600_000_000_000
    scope = Scope.of([made.firm.id])
    held = members.add("ann", made.plant.id, "operator", scope, by="boss", until=clock.now() + hour)
    with pytest.raises(Conflict) as conflict:
        members.add("ann", made.plant.id, "operator", scope, by="boss")
    assert code(conflict) == "tenancy.already_member"
    with pytest.raises(InputError) as error:
        members.add("ann", made.plant.id, "viewer", scope, by="boss", until=clock.now())
    assert code(error) == "tenancy.empty_period"
    with pytest.raises(NotFound):
        members.add("ann", made.other.id, "viewer", scope, by="boss")
    assert members.find(scope, member="ann") == ([held], 1)
    clock.advance(3600)
    assert members.find(scope, member="ann") == ([], 0)
    assert members.find(scope, member="ann", past=True) == ([held], 1)
    again = members.add("ann", made.plant.id, "operator", scope, by="boss")
    with pytest.raises(NotFound):
        members.revoke(again.id, Scope.of([made.other.id]), by="spy")
    ended = members.revoke(again.id, scope, by="boss")
    assert (ended.revoked, ended.revoked_by) == (clock.now(), "boss")
    with pytest.raises(NotFound):
        members.revoke(again.id, scope, by="boss")
    assert members.find(scope)[1] == 0


def test_the_rule_hears_what_is_held_also_for_later(events: Events, made: Region, clock: ManualClock) -> None:
    asked: list[tuple[str, OrgKind, list[str]]] = []

    def rule(role: str, kind: OrgKind, held: Sequence[str]) -> None:
        asked.append((role, kind, list(held)))
        if role == "audit-admin" and "system-admin" in held:
            raise Conflict("tenancy.already_member", role=role)

    members = Members(events, rule=rule)
    later = clock.now() + 10**12
    members.add("ann", made.firm.id, "system-admin", NODE, by="t", since=later)
    with pytest.raises(Conflict):
        members.add("ann", made.other_plant.id, "audit-admin", NODE, by="t")
    assert asked[-1] == ("audit-admin", OrgKind.PLANT, ["system-admin"])
    assert members.find(NODE)[1] == 1


def test_mandates_are_over_public_bodies_only(members: Members, made: Region, clock: ManualClock) -> None:
    zone = Scope.of([made.zone.id])
    given = members.mandate(
        MandateKind.GOVERN,
        made.authority.id,
        made.zone.id,
        ["official"],
        zone,
        basis="管委会〔2026〕1号",
        by="t",
    )
    assert members.mandates(zone) == [given] == members.mandates(Scope.of([made.authority.id]))
    assert members.mandates(Scope.of([made.firm.id])) == []
    for kind, holder, body in [
        (MandateKind.GOVERN, made.authority.id, made.firm.id),
        (MandateKind.GOVERN, made.company.id, made.zone.id),
        (MandateKind.OPERATE, made.firm.id, made.zone.id),
    ]:
        with pytest.raises(InputError) as error:
            members.mandate(kind, holder, body, ["official"], NODE, basis="x", by="t")
        assert code(error) == "tenancy.bad_mandate"
    with pytest.raises(NotFound):  # what kind of thing another firm's plant is, is not said
        members.mandate(MandateKind.OPERATE, made.plant.id, made.zone.id, ["a"], zone, basis="x", by="t")
    with pytest.raises(InputError) as error:
        members.mandate(MandateKind.OPERATE, made.company.id, made.zone.id, [], zone, basis="x", by="t")
    assert code(error) == "tenancy.no_basis"
    with pytest.raises(NotFound):
        members.revoke_mandate(given.id, Scope.of([made.firm.id]), by="spy")
    members.revoke_mandate(given.id, zone, by="t")
    assert members.mandates(zone) == []
