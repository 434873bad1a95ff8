"""API tokens: form, limits, revocation; by property, none reaches beyond its account or its own limits."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identity_world import NODE, World

from headrace.access.identity import AccountKind, Held, Principal, PrincipalKind, Strength
from headrace.access.tenancy import Scope
from headrace.kernel.errors import Conflict, HeadraceError, InputError, NotFound

DAY = 86_400 * 10**9


def make(world: World, account: str, *scopes: str, **more: Any) -> tuple[str, str]:
    more.setdefault("expires", world.clock.now() + DAY)
    text, token = world.identity.tokens.create(account, "robot", scopes or ("*",), by=account, **more)
    return text, token.id


def code(act: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(HeadraceError) as error:
        act(*args, **kwargs)
    return error.value.code


def test_a_token_proves_its_account_with_one_factor(world: World) -> None:
    ann = world.person("ann")
    text, id = make(world, ann.id, "alarm.read", "tag.*")
    assert text.startswith(f"hr_{id}_") and len(text) == 3 + 32 + 1 + 43
    principal = world.identity.authenticate(token=text)
    assert principal is not None
    assert (principal.kind, principal.id, principal.account) == (PrincipalKind.TOKEN, id, ann.id)
    assert principal.roles == (Held("operator", world.firm),)
    assert principal.strength is Strength.ONE_FACTOR and principal.second_factor is None
    assert principal.in_token_scope("alarm.read") and principal.in_token_scope("tag.configure")
    assert not principal.in_token_scope("alarm.acknowledge") and not principal.in_token_scope("tagx.read")
    assert world.identity.tokens.find(ann.id)[0].used == world.clock.now()
    assert world.identity.tokens.find(ann.id, Scope.of([world.other])) == []


def test_limits_are_checked_when_it_is_made(world: World) -> None:
    ann, bob = world.person("ann"), world.person("bob", world.other)
    create, now = world.identity.tokens.create, world.clock.now()
    good = {"expires": now + DAY, "by": ann.id}
    for scopes in ([], ["alarm"], ["*.read"], ["alarm.read; drop"], ["Alarm.read"], ["alarm.*", ""]):
        assert code(create, ann.id, "x", scopes, **good) == "identity.bad_scope"
    assert code(create, ann.id, " ", ["*"], **good) == "identity.bad_name"
    for expires in (now, now - 1, now + 366 * DAY):
        assert code(create, ann.id, "x", ["*"], expires=expires, by=ann.id) == "identity.token_too_long"
    assert code(create, ann.id, "x", ["*"], orgs=[world.other], **good) == "identity.not_your_org"
    assert code(create, ann.id, "x", ["*"], orgs=["nowhere"], **good) == "identity.not_your_org"
    assert code(create, bob.id, "x", ["*"], **good) == "identity.unknown_account"
    elsewhere = Scope.of([world.firm])
    assert code(create, bob.id, "x", ["*"], scope=elsewhere, **good) == "identity.unknown_account"
    world.identity.accounts.disable(ann.id, NODE, by="t")
    with pytest.raises(Conflict):
        create(ann.id, "x", ["*"], **good)


def test_it_ends_by_time_by_hand_and_with_its_account(world: World) -> None:
    ann, bob = world.person("ann"), world.person("bob")
    tokens = world.identity.tokens
    short, _ = make(world, ann.id)
    long, long_id = make(world, ann.id, expires=world.clock.now() + 300 * DAY)
    third, _ = make(world, ann.id, expires=world.clock.now() + 300 * DAY)
    assert tokens.prove(short) is not None
    world.clock.advance(86_400)
    assert tokens.prove(short) is None
    for act in (
        lambda: tokens.revoke(long_id, by=bob.id),
        lambda: tokens.revoke(long_id, by=bob.id, scope=Scope.of([world.other])),
    ):
        with pytest.raises(NotFound):
            act()
    assert tokens.prove(long) is not None
    tokens.revoke(long_id, by=ann.id)
    assert tokens.prove(long) is None
    assert tokens.prove(third) is not None
    world.identity.accounts.disable(ann.id, NODE, by="t")
    assert tokens.prove(third) is None
    world.identity.accounts.enable(ann.id, NODE, by="t")
    assert tokens.prove(third) is None
    assert (len(tokens.find(ann.id)), len(tokens.find(ann.id, past=True))) == (0, 3)


def test_a_program_has_tokens_and_nothing_else(world: World) -> None:
    robot = world.identity.accounts.create("mes", "MES", world.firm, NODE, by="t", kind=AccountKind.SERVICE)
    with pytest.raises(Conflict) as conflict:
        world.identity.accounts.make_link(robot.id, NODE, by="t")
    assert conflict.value.code == "identity.not_a_person"
    world.members.add(robot.id, world.plant, "viewer", NODE, by="t")
    text, _ = world.identity.tokens.create(
        robot.id, "x", ["*"], expires=world.clock.now() + DAY, by="t", scope=Scope.of([world.firm])
    )
    principal = world.identity.authenticate(token=text)
    assert principal is not None and principal.orgs == (world.plant,)


def test_a_wrong_token_is_not_made_good_by_a_session(world: World) -> None:
    world.person("ann")
    signed = world.sign_in("ann")
    assert world.identity.authenticate(session=signed.secret) is not None
    assert world.identity.authenticate(token="hr_x", session=signed.secret) is None


_quiet = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_quiet
@given(st.integers(0, 78), st.sampled_from(string.printable + "甲"), st.integers(0, 3))
def test_no_other_text_proves_anything(world: World, place: int, other: str, act: int) -> None:
    found = world.identity.accounts.find(NODE, search="ann")[0]
    ann = found[0] if found else world.person("ann")
    if not world.identity.tokens.find(ann.id):
        world.text, _ = make(world, ann.id)  # type: ignore[attr-defined]
    text: str = world.text  # type: ignore[attr-defined]
    changed = [
        text[:place] + other + text[place + 1 :],
        text[:place] + text[place + 1 :],
        text[:place] + other + text[place:],
        text[place:],
    ][act]
    assert (world.identity.authenticate(token=changed) is not None) == (changed == text)


@_quiet
@given(st.text(max_size=200))
def test_any_text_is_judged_without_a_fault(world: World, text: str) -> None:
    assert world.identity.tokens.prove(text) is None
    assert world.identity.sessions.prove(text) is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_token_reaches_what_account_and_limits_both_reach(world: World, data: st.DataObject) -> None:
    reach = {
        world.firm: {world.firm, world.plant},
        world.plant: {world.plant},
        world.other: {world.other},
    }
    login = f"p{world.identity.accounts.find(NODE)[1]}"
    person = world.identity.accounts.create(login, "P", world.firm, NODE, by="t", kind=AccountKind.SERVICE)
    orgs = sorted(reach)
    held = data.draw(st.sets(st.sampled_from([(r, o) for r in ("viewer", "operator") for o in orgs])))
    for role, org in sorted(held):
        world.members.add(person.id, org, role, NODE, by="t")
    wanted = data.draw(st.sets(st.sampled_from(orgs), min_size=1))
    account_reach = {(role, below) for role, org in held for below in reach[org]}
    allowed = {(role, org) for role, org in account_reach if any(org in reach[w] for w in wanted)}
    usable = all(any(b in reach[w] or w in reach[o] for _, o in held for b in reach[o]) for w in wanted)
    try:
        text, _ = make(world, person.id, orgs=sorted(wanted))
    except InputError:
        assert not usable
        return
    principal = world.identity.authenticate(token=text)
    assert principal is not None
    assert {(h.role, below) for h in principal.roles for below in reach[h.org]} == allowed


def test_a_principal_without_scopes_named_is_limited_by_roles_alone() -> None:
    principal = Principal(kind=PrincipalKind.ACCOUNT, id="a", name="A")
    assert principal.in_token_scope("anything.at-all") and principal.orgs == ()
    assert not principal.recent_second_factor(10**18, 60)
