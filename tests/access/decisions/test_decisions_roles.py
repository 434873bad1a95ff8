"""The vocabulary, the rule by which roles are given, the matrix, and what the documentation shows of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from headrace.access.decisions import (
    ADMINISTRATORS,
    Cell,
    DecisionPoint,
    PolicyBook,
    matrix,
    role_rule,
    separated_tenants,
    vocabulary,
)
from headrace.access.tenancy import Members, OrgKind, Scope
from headrace.kernel.clock import ManualClock
from headrace.kernel.errors import Conflict, InputError

WORDS = vocabulary()
DOCS = Path(__file__).parents[3] / "docs"


def test_every_action_of_the_running_system_is_there() -> None:
    need = """tag.read history.read alarm.read alarm.acknowledge alarm.shelve machine.write gateway.read
        gateway.configure audit.read user.manage grant.manage rule.activate security.command subsidy.approve
        key.use approval.give policy.manage"""
    assert set(need.split()) <= WORDS.actions.keys()
    roles = """owner plant-manager automation-engineer operator viewer platform-operator network-engineer
        security-officer official firm-handler developer system-admin security-admin audit-admin edge ingest
        rules api"""
    assert set(roles.split()) <= WORDS.roles.keys()


def test_dangerous_acts_need_factor_and_second_person() -> None:
    dangerous = {"machine.write", "security.command", "subsidy.approve", "key.use", "rule.activate"}
    assert dangerous <= set(WORDS.in_group("two-person")) <= set(WORDS.in_group("step-up"))


def test_the_three_administrators_exclude_each_other_and_the_owner() -> None:
    for a in (*ADMINISTRATORS, "owner"):
        for b in ADMINISTRATORS:
            assert bool(WORDS.conflicts([a, b])) == (a != b)
    assert WORDS.conflicts(["operator", "system-admin"]) == []


@pytest.mark.parametrize(
    ("role", "kind", "held", "error", "code"),
    [
        ("emperor", OrgKind.FIRM, (), InputError, "decision.unknown_role"),
        ("anyone", OrgKind.FIRM, (), InputError, "decision.role_not_given"),
        ("operator", OrgKind.REGION, (), InputError, "decision.role_misplaced"),
        ("official", OrgKind.FIRM, (), InputError, "decision.role_misplaced"),
        ("audit-admin", OrgKind.FIRM, ("viewer", "system-admin"), Conflict, "decision.role_excluded"),
        ("owner", OrgKind.FIRM, ("audit-admin",), Conflict, "decision.role_excluded"),
    ],
)
def test_a_role_that_cannot_be_given(
    role: str, kind: OrgKind, held: tuple[str, ...], error: type[Exception], code: str
) -> None:
    with pytest.raises(error) as caught:
        role_rule(role, kind, held)
    assert caught.value.code == code  # type: ignore[attr-defined]


def test_roles_that_can_be_given() -> None:
    role_rule("operator", OrgKind.LINE, ("viewer", "emperor"))
    role_rule("owner", OrgKind.REGION, ())
    role_rule("system-admin", OrgKind.FIRM, ("operator",))


def test_a_tenant_is_separated_once_all_three_are_named(world) -> None:  # type: ignore[no-untyped-def]
    members = Members(world.events, rule=role_rule)
    for name, role in zip("abc", ADMINISTRATORS, strict=True):
        with world.events.records.read() as connection:
            assert separated_tenants(connection, world.clock.now()) == frozenset()
        members.add(name, world.firm, role, Scope.whole_node(), by="setup")
    with world.events.records.read() as connection:
        assert separated_tenants(connection, world.clock.now()) == {world.firm}
    with pytest.raises(Conflict):
        members.add("a", world.plant, "audit-admin", Scope.whole_node(), by="setup")


@pytest.fixture(scope="module")
def made(book: PolicyBook) -> Mapping[str, Mapping[str, Cell]]:
    clock = ManualClock()
    return matrix(DecisionPoint(book, clock), clock.now())


def test_the_matrix_is_the_reviewed_one(made: Mapping[str, Mapping[str, Cell]]) -> None:
    """`matrix.tsv` beside this file was read by people; a change of the policies changes it knowingly."""
    lines = ["\t".join(["action", *made])]
    lines += ["\t".join([action, *(made[role][action] for role in made)]) for action in WORDS.actions]
    reviewed = Path(__file__).with_name("matrix.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == reviewed


def test_what_must_never_stand_in_the_matrix(made: Mapping[str, Mapping[str, Cell]]) -> None:
    for role in ADMINISTRATORS:
        for action in ("tag.read", "history.read", "machine.write", "alarm.acknowledge", "subsidy.approve"):
            assert made[role][action] is Cell.NO, (role, action)
    holders = {action: {r for r in made if made[r][action] is not Cell.NO} for action in WORDS.actions}
    assert holders["audit.manage"] == {"audit-admin"}
    assert not holders["role.assign"] & {"system-admin", "audit-admin"}
    assert not holders["system.configure"] & {"security-admin", "audit-admin"}
    assert holders["indicator.aggregate"] == set(), "off by default: by a grant only"
    for action in WORDS.in_group("two-person"):
        assert {made[r][action] for r in made} <= {Cell.NO, Cell.SECOND_PERSON, Cell.STANDING}
    for action in WORDS.in_group("service"):
        assert all(WORDS.roles[r].service for r in holders[action])
    assert made["edge"]["machine.write"] is made["rules"]["machine.write"] is Cell.STANDING
    assert made["platform-operator"]["history.read"] is Cell.NO
    assert {a for a in WORDS.actions if made["anyone"][a] is not Cell.NO} == {"approval.give"}


@pytest.mark.parametrize("name", ["access-decisions.md", "access-decisions.zh-CN.md"])
def test_the_documentation_shows_the_matrix_and_every_word(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    rows = Path(__file__).with_name("matrix.tsv").read_text(encoding="utf-8").splitlines()
    for row in rows[1:]:
        action, *cells = row.split("\t")
        assert "| `" + action + "` | " + " | ".join(cells) + " |" in text, action
    for role in WORDS.roles.values():
        assert (role.zh if "zh-CN" in name else role.en) in text
