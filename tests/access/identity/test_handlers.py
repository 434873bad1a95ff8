"""A firm's legal representative authorises handlers; mandates of public bodies; accounts and their homes."""

from __future__ import annotations

from typing import Any

import pytest
from identity_world import NODE, World

from headrace.access.identity import HANDLER, REPRESENTATIVE, Authorisation, Held, covers
from headrace.access.tenancy import MandateKind, OrgKind, Scope
from headrace.kernel.errors import HeadraceError
from headrace.kernel.messages import Text

DAY = 86_400 * 10**9


def code(act: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(HeadraceError) as error:
        act(*args, **kwargs)
    return error.value.code


def roles(world: World, login: str) -> tuple[Held, ...]:
    return world.sign_in(login).principal.roles


def authorise(world: World, representative: str, handler: str, **more: Any) -> Authorisation:
    given = {"until": world.clock.now() + 30 * DAY, "document": "授权委托书 2026-17"} | more
    matters = given.pop("matters", ["subsidy", "identifier.register"])
    firm = given.pop("firm", world.firm)
    return world.identity.handlers.authorise(firm, handler, matters, representative=representative, **given)


def test_a_handler_acts_in_named_matters_for_a_period(world: World) -> None:
    boss = world.person("boss", role=REPRESENTATIVE)
    ann = world.person("ann")
    given = authorise(world, boss.id, ann.id)
    held = Held(HANDLER, world.firm, given.id, ("identifier.register", "subsidy"))
    assert held in roles(world, "ann")
    assert given.covers("subsidy.apply") and given.covers("identifier.register")
    assert not given.covers("identifier.manage") and not given.covers("subsidyx")
    assert world.identity.handlers.find(Scope.of([world.firm])) == [given]
    assert world.identity.handlers.find(Scope.of([world.other])) == []
    world.clock.advance(30 * 86_400)
    assert held not in roles(world, "ann")
    assert world.identity.handlers.find(Scope.of([world.firm])) == []
    assert world.identity.handlers.find(Scope.of([world.firm]), past=True) == [given]


def test_revoked_by_the_firm_or_laid_down_by_the_handler(world: World) -> None:
    boss, ann, bob = world.person("boss", role=REPRESENTATIVE), world.person("ann"), world.person("bob")
    handlers = world.identity.handlers
    one, two = authorise(world, boss.id, ann.id), authorise(world, boss.id, bob.id)
    signed = world.sign_in("ann")
    assert any(h.role == HANDLER for h in signed.principal.roles)
    foreign = Scope.of([world.other])
    assert code(handlers.revoke, one.id, foreign, by="x", reason="?") == "identity.unknown_authorisation"
    assert code(handlers.revoke, one.id, NODE, by=boss.id, reason=" ") == "identity.no_reason"
    handlers.revoke(one.id, Scope.of([world.firm]), by=boss.id, reason="left the firm")
    now = world.identity.authenticate(session=signed.secret)
    assert now is not None and not any(h.role == HANDLER for h in now.roles)
    assert code(handlers.revoke, one.id, NODE, by=boss.id, reason="again") == "identity.unknown_authorisation"
    handlers.revoke(two.id, Scope(), by=bob.id, reason="no longer mine")
    past = handlers.find(NODE, handler=bob.id, past=True)
    assert (past[0].revoked_by, past[0].revoke_reason) == (bob.id, "no longer mine")


def test_it_lapses_with_its_giver(world: World) -> None:
    boss, ann = world.person("boss", role=REPRESENTATIVE), world.person("ann")
    authorise(world, boss.id, ann.id)
    membership = world.members.find(NODE, member=boss.id)[0][0]
    world.members.revoke(membership.id, NODE, by="t")
    assert not any(h.role == HANDLER for h in roles(world, "ann"))
    world.members.add(boss.id, world.firm, REPRESENTATIVE, NODE, by="t")
    assert any(h.role == HANDLER for h in roles(world, "ann"))
    world.identity.accounts.disable(boss.id, NODE, by="t")
    assert not any(h.role == HANDLER for h in roles(world, "ann"))


def test_nobody_else_authorises(world: World) -> None:
    boss, ann = world.person("boss", role=REPRESENTATIVE), world.person("ann", role="owner")
    foreign = world.person("foreign", world.other, role=REPRESENTATIVE)
    assert code(authorise, world, ann.id, boss.id) == "identity.not_representative"
    assert code(authorise, world, foreign.id, ann.id) == "identity.not_representative"
    assert code(authorise, world, boss.id, foreign.id) == "identity.unknown_account"
    assert code(authorise, world, boss.id, "0" * 32) == "identity.unknown_account"
    assert code(authorise, world, boss.id, boss.id) == "identity.authorises_self"
    assert code(authorise, world, boss.id, ann.id, document=" ") == "identity.no_document"
    for matters in ([], ["*"], ["Subsidy"], ["a.b.c"]):
        assert code(authorise, world, boss.id, ann.id, matters=matters) == "identity.bad_matter"
    now = world.clock.now()
    for until in (now, now - 1, now + 4 * 366 * DAY):
        assert code(authorise, world, boss.id, ann.id, until=until) == "identity.bad_period"
    plant_boss = world.person("pb", world.plant, role=REPRESENTATIVE)
    assert code(authorise, world, plant_boss.id, ann.id, firm=world.plant) == "identity.not_a_firm"


def test_matters_cover_what_is_below_them() -> None:
    assert covers(("subsidy",), "subsidy") and covers(("subsidy.*",), "subsidy.apply")
    assert covers(("subsidy.apply",), "subsidy.apply") and not covers(("subsidy.apply",), "subsidy")
    assert not covers((), "subsidy")


def test_mandates_carry_named_roles_to_the_body_and_no_further(world: World) -> None:
    """管委会+公司: the committee governs the zone, the company operates it; neither sees into a firm."""
    make = world.orgs.create
    zone = make(OrgKind.ZONE, Text("园区", "Zone"), NODE, by="t").id
    office = make(OrgKind.AUTHORITY, Text("管委会", "Committee"), NODE, by="t", parent=zone).id
    company = make(OrgKind.OPERATOR_COMPANY, Text("公司", "Company"), NODE, by="t", parent=zone).id
    firm = make(OrgKind.FIRM, Text("企业", "Firm"), NODE, by="t", parent=zone).id
    world.person("official", office, role="official")
    world.person("clerk", company, role="platform-operator")
    mandate = world.members.mandate
    governs = mandate(MandateKind.GOVERN, office, zone, ["official"], NODE, basis="章程", by="t")
    mandate(MandateKind.OPERATE, company, zone, ["platform-operator"], NODE, basis="协议", by="t")
    assert set(roles(world, "official")) == {Held("official", office), Held("official", zone, governs.id)}
    clerk = world.sign_in("clerk").principal
    assert clerk.orgs == tuple(sorted([company, zone]))
    assert {h.role for h in clerk.roles} == {"platform-operator"}
    seen = {org.id for org in world.orgs.find(Scope.of(clerk.orgs))[0]}
    assert seen == {company, zone} and firm not in seen
    world.members.revoke_mandate(governs.id, NODE, by="t")
    assert roles(world, "official") == (Held("official", office),)


def test_accounts_are_their_homes_to_manage(world: World) -> None:
    accounts = world.identity.accounts
    ann = world.person("ann")
    world.members.add(ann.id, world.other, "viewer", NODE, by="t")
    here, there = Scope.of([world.firm]), Scope.of([world.other])
    for act in (accounts.get, accounts.disable, accounts.enable, accounts.unlock, accounts.make_link):
        extra = {} if act == accounts.get else {"by": "spy"}
        for id in (ann.id, "0" * 32):
            with pytest.raises(HeadraceError) as error:
                act(id, there, **extra)
            assert error.value.text().replace(id, "·") == "there is no account ·"
    assert accounts.find(there) == ([], 0)
    assert accounts.find(here, search="ANN") == ([accounts.get(ann.id, here)], 1)
    assert accounts.names([ann.id, "x"], there) == {ann.id: "Ann Name"}
    assert accounts.names([ann.id], Scope.of([world.plant])) == {}
    assert accounts.rename(ann.id, " Anna ", here, by="t").name == "Anna"
    assert code(accounts.rename, ann.id, " ", here, by="t") == "identity.bad_name"
    assert code(accounts.create, "ANN", "x", world.firm, here, by="t") == "identity.login_taken"
    assert code(accounts.create, "bob", "x", world.other, here, by="t") == "tenancy.unknown_org"
    assert (
        code(accounts.create, "bob", "x", world.firm, here, by="t", language="fr") == "identity.bad_language"
    )
    for login in ("", "x", "a b", "a\n", "x" * 65, "ann!"):
        assert code(accounts.create, login, "x", world.firm, here, by="t") == "identity.bad_login"
    accounts.disable(ann.id, here, by="t")
    assert accounts.enable(ann.id, here, by="t").state.value == "active"
    invited = accounts.create("cas", "Cas", world.firm, here, by="t")
    accounts.disable(invited.id, here, by="t")
    assert accounts.enable(invited.id, here, by="t").state.value == "invited"
