"""Standing grants: approved once at activation, then only what was approved, until revoked or over."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.decisions import Activation, Context, Refusal, Target
from headrace.access.identity import Held, Principal, PrincipalKind
from headrace.kernel.errors import Conflict, HeadraceError, InputError, NotFound

SETPOINT, PUMP = "oven/zone1/setpoint", "wash/pump/mode"
RULE = Activation(
    "hold-temperature",
    "5f" * 32,
    "edge",
    (Target(SETPOINT, low=160.0, high=200.0), Target(PUMP, values=("auto", "off"))),
    30,
)


def engineer(world: Any, name: str) -> Principal:
    return world.person(name, ("automation-engineer", world.plant))  # type: ignore[no-any-return]


def edge(world: Any) -> Principal:
    return Principal(kind=PrincipalKind.SERVICE, id="edge", name="edge", roles=(Held("edge", world.plant),))


def activate(world: Any, activation: Activation = RULE) -> Any:
    asked = world.standing.request(engineer(world, "li"), activation, world.rule(), reason="steady oven")
    world.approvals.approve(engineer(world, "wang"), asked.id)
    return world.standing.activate(engineer(world, "li"), asked.id, activation, world.rule())


def write(world: Any, value: Any, tag: str = SETPOINT, rule_hash: str = RULE.rule_hash) -> Any:
    """What the edge does before each automatic write."""
    standing = world.standing.covering("edge", RULE.rule, rule_hash, tag, value)
    return world.point.decide(edge(world), "machine.write", world.tag(tag), Context(standing=standing))


def test_approved_once_then_written_many_times(world: Any) -> None:
    grant = activate(world)
    assert (grant.requester, grant.approver, grant.targets) == ("li", "wang", RULE.targets)
    for value in (160.0, 185, 200.0):
        decision = write(world, value)
        assert (decision.allowed, decision.evidence) == (True, grant.id)
    assert write(world, "auto", PUMP).allowed
    for value, tag in ((159.9, SETPOINT), (200.1, SETPOINT), (float("nan"), SETPOINT), ("on", PUMP),
                       (True, SETPOINT), ("180", SETPOINT), (180.0, "oven/zone2/setpoint")):  # fmt: skip
        assert not write(world, value, tag).allowed, (value, tag)
    assert not write(world, 180.0, rule_hash="00" * 32).allowed, "another definition of the rule"
    assert world.standing.covering("rules", RULE.rule, RULE.rule_hash, SETPOINT, 180.0) is None


def test_it_ends_with_its_time(world: Any) -> None:
    activate(world)
    world.clock.advance(30 * 86_400 - 1)
    assert write(world, 180.0).allowed
    world.clock.advance(1)
    assert not write(world, 180.0).allowed


def test_revoked_means_from_the_next_write_on(world: Any) -> None:
    grant = activate(world)
    operator, stranger = world.operator("zhao"), world.person("x", ("owner", world.other))
    with pytest.raises(NotFound):
        world.standing.revoke(stranger, grant.id, reason="r")
    with pytest.raises(Refusal):
        world.standing.revoke(operator, grant.id, reason="r")
    assert write(world, 180.0).allowed
    revoked = world.standing.revoke(engineer(world, "wang"), grant.id, reason="sensor moved")
    assert (revoked.revoked, revoked.revoked_by, revoked.in_force(world.clock.now())) == (
        world.clock.now(),
        "wang",
        False,
    )
    assert not write(world, 180.0).allowed
    with pytest.raises(Conflict):
        world.standing.revoke(engineer(world, "wang"), grant.id, reason="again")
    assert world.noted[-1].kind == "standing.revoked"
    assert world.standing.page(operator, in_force=True) == ([], 0)
    assert [g.id for g in world.standing.page(operator)[0]] == [grant.id]
    assert world.standing.page(stranger) == ([], 0)


def test_a_new_version_of_the_rule_takes_the_place_of_the_old(world: Any) -> None:
    first = activate(world)
    changed = msgspec.structs.replace(RULE, rule_hash="aa" * 32)
    assert not write(world, 180.0, rule_hash=changed.rule_hash).allowed
    second = activate(world, changed)
    assert write(world, 180.0, rule_hash=changed.rule_hash).evidence == second.id
    assert not write(world, 180.0).allowed
    held = {g.id: g for g in world.standing.page(world.operator("x"))[0]}
    assert held[first.id].revoke_reason == "replaced"


def test_only_what_was_approved_is_activated(world: Any) -> None:
    asked = world.standing.request(engineer(world, "li"), RULE, world.rule(), reason="r")
    li, wider = engineer(world, "li"), msgspec.structs.replace(RULE, days=300)
    with pytest.raises(Conflict) as caught:
        world.standing.activate(li, asked.id, RULE, world.rule())
    assert caught.value.code == "approval.wrong_state"
    world.approvals.approve(engineer(world, "wang"), asked.id)
    with pytest.raises(Conflict) as caught:
        world.standing.activate(li, asked.id, wider, world.rule())
    assert caught.value.code == "approval.other_act"
    world.standing.activate(li, asked.id, RULE, world.rule())
    with pytest.raises(Conflict):
        world.standing.activate(li, asked.id, RULE, world.rule())
    assert len(world.standing.page(li)[0]) == 1


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"targets": ()}, "standing.no_targets"),
        ({"targets": (Target("a"),)}, "standing.unbounded"),
        ({"targets": (Target("a", low=1.0),)}, "standing.unbounded"),
        ({"targets": (Target("a", low=1.0, values=(1,)),)}, "standing.unbounded"),
        ({"targets": (Target("a", low=2.0, high=1.0),)}, "standing.unbounded"),
        ({"targets": (Target("a", low=0.0, high=float("inf")),)}, "standing.unbounded"),
        ({"targets": (Target("a", values=(1,)), Target("a", values=(2,)))}, "standing.tag_twice"),
        ({"service": "api"}, "standing.bad_service"),
        ({"days": 0}, "standing.bad_period"),
        ({"days": 367}, "standing.bad_period"),
        ({"days": float("nan")}, "standing.bad_period"),
    ],
)
def test_activations_that_cannot_be_asked_for(world: Any, changed: dict[str, Any], code: str) -> None:
    activation = msgspec.structs.replace(RULE, **changed)
    with pytest.raises(InputError) as caught:
        world.standing.request(engineer(world, "li"), activation, world.rule(), reason="r")
    assert caught.value.code == code


def test_operators_do_not_activate(world: Any) -> None:
    with pytest.raises(HeadraceError) as caught:
        world.standing.request(world.operator("li"), RULE, world.rule(), reason="r")
    assert caught.value.code == "decision.no_permit"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats() | st.integers() | st.booleans() | st.text())
def test_bounds_admit_numbers_between_them_and_nothing_else(low: float, high: float, value: Any) -> None:
    target = Target("a", low=low, high=high)
    if target.bounded:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        assert target.admits(value) == (number and low <= value <= high)
