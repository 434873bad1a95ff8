"""Two-person approval: the states, who may do what, one use, and nothing but what was approved."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.access.decisions import ApprovalState, Refusal
from headrace.access.decisions._tables import approval as table
from headrace.access.identity import PrincipalKind
from headrace.kernel.errors import Conflict, Denied, HeadraceError, InputError, NotFound

WRITE = {"writes": [{"tag": "oven/zone1/setpoint", "value": 185.5}]}


def ask(world: Any, by: str = "li", **more: Any) -> Any:
    given = {"reason": "new powder", **more}
    return world.approvals.request(world.operator(by), "machine.write", world.tag(), WRITE, **given)


def test_asked_approved_used_once(world: Any) -> None:
    asked = ask(world)
    assert (asked.state, asked.requester, asked.owner) == (ApprovalState.REQUESTED, "li", world.plant)
    assert json.loads(asked.payload) == WRITE
    assert asked.expires - asked.requested == 3600 * 10**9
    world.clock.advance(10)
    given = world.approvals.approve(world.operator("wang"), asked.id, note="checked with the painter")
    assert (given.state, given.decider, given.note) == (
        ApprovalState.APPROVED,
        "wang",
        "checked with the painter",
    )
    decision = world.approvals.use(world.operator("li"), asked.id, world.tag(), WRITE)
    assert (decision.allowed, decision.evidence) == (True, asked.id)
    with pytest.raises(Conflict) as caught:
        world.approvals.use(world.operator("li"), asked.id, world.tag(), WRITE)
    assert caught.value.code == "approval.wrong_state"
    assert caught.value.text("zh") == "审批处于“已使用”状态，不能再使用"
    assert [(e.kind, e.by, e.org) for e in world.noted] == [
        ("approval.requested", "li", world.plant),
        ("approval.approved", "wang", world.plant),
        ("approval.used", "li", world.plant),
    ]


def test_nobody_approves_their_own_request(world: Any) -> None:
    asked = ask(world)
    with pytest.raises(Denied) as caught:
        world.approvals.approve(world.operator("li"), asked.id)
    assert caught.value.code == "approval.same_person"
    owner = world.person("li", ("owner", world.firm))
    with pytest.raises(Denied):
        world.approvals.approve(owner, asked.id)


def test_the_database_itself_refuses_one_person_in_both_parts(world: Any) -> None:
    asked = ask(world)
    with pytest.raises(sa.exc.IntegrityError), world.events.records.begin() as connection:
        connection.execute(sa.update(table).values(state="approved", decider=asked.requester))


def test_who_may_approve(world: Any) -> None:
    asked = ask(world)
    viewer = world.person("wang", ("viewer", world.plant))
    with pytest.raises(Refusal) as caught:
        world.approvals.approve(viewer, asked.id)
    assert caught.value.code == "decision.no_permit"
    with pytest.raises(Refusal) as caught:
        world.approvals.approve(world.operator("wang", factor=False), asked.id)
    assert caught.value.code == "decision.needs_second_factor"
    stranger = world.person("wang", ("owner", world.other))
    with pytest.raises(NotFound):
        world.approvals.approve(stranger, asked.id)
    with pytest.raises(NotFound):
        world.approvals.get(asked.id, stranger)
    assert world.approvals.page(stranger) == ([], 0)
    assert world.approvals.get(asked.id, world.operator("zhao")).state is ApprovalState.REQUESTED


def test_only_the_one_who_asked_uses_it_and_only_for_that(world: Any) -> None:
    asked = ask(world)
    world.approvals.approve(world.operator("wang"), asked.id)
    with pytest.raises(Denied) as denied:
        world.approvals.use(world.operator("zhao"), asked.id, world.tag(), WRITE)
    assert denied.value.code == "approval.other_person"
    for resource, payload in (
        (world.tag(), {"writes": [{"tag": "oven/zone1/setpoint", "value": 185.6}]}),
        (world.tag("oven/zone2/setpoint"), WRITE),
        (world.tag(owner=world.firm), WRITE),
    ):
        with pytest.raises(Conflict) as caught:
            world.approvals.use(world.operator("li"), asked.id, resource, payload)
        assert caught.value.code == "approval.other_act"
    with pytest.raises(Refusal) as refused:
        world.approvals.use(world.operator("li", factor=False), asked.id, world.tag(), WRITE)
    assert refused.value.code == "decision.needs_second_factor"
    with pytest.raises(Refusal) as refused:
        world.approvals.use(world.person("li", ("viewer", world.plant)), asked.id, world.tag(), WRITE)
    assert refused.value.code == "decision.no_permit", "the role was taken away in between"
    assert world.approvals.use(world.operator("li"), asked.id, world.tag(), WRITE).allowed


def test_time_runs_out(world: Any) -> None:
    first, second = ask(world, expires_s=60), ask(world, expires_s=120)
    world.approvals.approve(world.operator("wang"), first.id)
    world.clock.advance(60)
    for act in (
        lambda: world.approvals.use(world.operator("li"), first.id, world.tag(), WRITE),
        lambda: world.approvals.refuse(world.operator("li"), first.id),
    ):
        with pytest.raises(Conflict) as caught:
            act()
        assert caught.value.code == "approval.expired"
    li = world.operator("li")
    found, total = world.approvals.page(li, state=ApprovalState.EXPIRED)
    assert ([f.id for f in found], total) == ([first.id], 1)
    assert [f.id for f in world.approvals.page(li, state=ApprovalState.REQUESTED)[0]] == [second.id]
    assert (world.approvals.expire(), world.approvals.expire()) == (1, 0)
    assert world.noted[-1].kind == "approval.expired"
    assert world.approvals.get(first.id, li).ended == world.clock.now()


def test_refused_or_taken_back(world: Any) -> None:
    first, second, third = ask(world), ask(world), ask(world)
    assert world.approvals.refuse(world.operator("wang"), first.id, note="too hot").note == "too hot"
    assert world.approvals.refuse(world.operator("li", factor=False), second.id).decider == "li"
    world.approvals.approve(world.operator("wang"), third.id)
    assert world.approvals.refuse(world.operator("zhao"), third.id).state is ApprovalState.REFUSED
    for id in (first.id, second.id, third.id):
        with pytest.raises(Conflict):
            world.approvals.approve(world.operator("wang"), id)
        with pytest.raises(Conflict):
            world.approvals.use(world.operator("li"), id, world.tag(), WRITE)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"reason": "  "}, "approval.no_reason"),
        ({"expires_s": 59}, "approval.bad_period"),
        ({"expires_s": 72 * 3600 + 1}, "approval.bad_period"),
    ],
)
def test_requests_that_say_too_little(world: Any, more: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        ask(world, **more)
    assert caught.value.code == code


def test_requests_that_make_no_sense(world: Any) -> None:
    operator = world.operator("li")

    def request(action: str, resource: Any, payload: Any = None, by: Any = operator) -> str:
        with pytest.raises(HeadraceError) as caught:
            world.approvals.request(by, action, resource, payload, reason="r")
        return caught.value.code

    assert request("machine.write", world.tag(), float("inf")) == "approval.bad_payload"
    assert request("machine.write", world.tag(), object()) == "approval.bad_payload"
    assert request("alarm.shelve", world.tag()) == "approval.not_needed"
    assert request("machine.write", world.tag(risk="routine")) == "approval.not_needed"
    assert request("rule.activate", world.rule()) == "decision.no_permit"
    assert request("machine.write", world.tag(owner=world.other)) == "decision.other_organisation"
    token = operator.__class__(kind=PrincipalKind.TOKEN, id="t", name="t", account="li", roles=operator.roles)
    assert request("machine.write", world.tag(), 1, token) == "decision.people_only"
    assert world.noted == []


def test_of_many_uses_at_once_one_succeeds(world: Any) -> None:
    asked = ask(world)
    world.approvals.approve(world.operator("wang"), asked.id)
    tag, li = world.tag(), world.operator("li")

    def use(_: int) -> bool:
        try:
            return bool(world.approvals.use(li, asked.id, tag, WRITE).allowed)
        except Conflict:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(use, range(16))) == [False] * 15 + [True]


steps = st.tuples(
    st.sampled_from(["ask", "approve", "refuse", "use", "use-other", "wait", "expire"]),
    st.integers(0, 2),
    st.sampled_from(["li", "wang", "viewer", "stranger"]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=25))
def test_whatever_is_tried_the_states_stay_true(world: Any, tried: list[tuple[str, int, str]]) -> None:
    """A model of the approvals beside the real ones: an act happens exactly where the model says so."""
    before = len(world.noted)
    model: list[dict[str, Any]] = []

    def principal(name: str) -> Any:
        if name == "viewer":
            return world.person(name, ("viewer", world.plant))
        if name == "stranger":
            return world.person(name, ("owner", world.other))
        return world.operator(name)

    def attempt(act: Callable[[], Any]) -> bool:
        try:
            act()
        except HeadraceError:
            return False
        return True

    for what, index, name in tried:
        person, now = principal(name), world.clock.now()
        if what == "wait":
            world.clock.advance(40)
            continue
        if what == "expire":
            world.approvals.expire()
            continue
        if what == "ask":
            made: list[Any] = []

            def request(person: Any = person, made: list[Any] = made) -> None:
                made.append(
                    world.approvals.request(
                        person, "machine.write", world.tag(), WRITE, reason="r", expires_s=60
                    )
                )

            assert attempt(request) == (name in ("li", "wang"))
            model += [{"id": a.id, "by": name, "state": "requested", "ends": a.expires} for a in made]
            continue
        if index >= len(model):
            continue
        item = model[index]
        if item["state"] in ("requested", "approved") and item["ends"] <= now:
            item["state"] = "expired"
        able = name in ("li", "wang")
        state, own = item["state"], item["by"] == name
        if what == "approve":
            done = attempt(lambda p=person, i=item: world.approvals.approve(p, i["id"]))
            assert done == (able and not own and state == "requested")
            item["state"] = "approved" if done else state
        elif what == "refuse":
            done = attempt(lambda p=person, i=item: world.approvals.refuse(p, i["id"]))
            assert done == (able and state in ("requested", "approved"))
            item["state"] = "refused" if done else state
        else:
            payload = WRITE if what == "use" else {"writes": []}
            done = attempt(
                lambda p=person, i=item, w=payload: world.approvals.use(p, i["id"], world.tag(), w)
            )
            assert done == (own and able and state == "approved" and what == "use")
            item["state"] = "used" if done else state
    for item in model:
        if item["state"] in ("requested", "approved") and item["ends"] <= world.clock.now():
            item["state"] = "expired"
        assert world.approvals.get(item["id"], world.operator("x")).state == item["state"]
    uses = [event.subject for event in world.noted[before:] if event.kind == "approval.used"]
    assert sorted(uses) == sorted(item["id"] for item in model if item["state"] == "used")
