"""Decisions one by one: reach, evidence, step-up, tokens, explanations that hold."""

import msgspec
import pytest

from headrace.access.decisions import (
    Approved,
    Context,
    Decision,
    DecisionPoint,
    Grant,
    Refusal,
    Request,
    Resource,
    Standing,
    payload_hash,
    vocabulary,
)
from headrace.access.identity import Held, Principal, PrincipalKind
from headrace.kernel.clock import ManualClock

PLANT = frozenset({"firm", "plant"})
TAG = Resource("tag", "oven/zone1/setpoint", "plant", PLANT, machine="oven")
NOW = ManualClock().now()
MINUTE = 60_000_000_000


def who(*roles: tuple[str, str], kind: str = "account", **more: object) -> Principal:
    held = tuple(Held(*role) for role in roles)
    given = {"kind": PrincipalKind(kind), "id": "li", "account": "li", "name": "Li", "roles": held}
    return Principal(**{**given, **more})  # type: ignore[arg-type]


def approved(**changed: object) -> Context:
    digest = payload_hash("machine.write", TAG, {"value": 180.0})
    evidence = Approved(
        "a1", "approved", "machine.write", "tag", TAG.id, "plant", digest, "li", "wang", NOW + MINUTE
    )
    return Context(payload_hash=digest, approval=msgspec.structs.replace(evidence, **changed))


OPERATOR = who(("operator", "plant"), second_factor=NOW)


def test_a_role_reaches_what_lies_below_its_organisation_and_nothing_beside_it(point: DecisionPoint) -> None:
    line = Resource("tag", "t", "plant", PLANT)
    assert point.decide(who(("viewer", "firm")), "tag.read", line).allowed
    assert point.decide(who(("viewer", "plant")), "tag.read", line).allowed
    firm_only = Resource("tag", "t", "firm", frozenset({"firm"}))
    beside = point.decide(who(("owner", "plant")), "tag.read", firm_only)
    assert (beside.allowed, beside.code, beside.conceal) == (False, "decision.other_organisation", True)


def test_an_owner_of_nothing_and_what_nobody_owns(point: DecisionPoint) -> None:
    assert point.decide(who(), "tag.read", TAG).code == "decision.other_organisation"
    assert point.decide(who(("owner", "firm")), "tag.read", Resource("tag", "t")).conceal
    assert point.decide(None, "tag.read", TAG).code == "decision.sign_in"
    assert point.decide(who(("owner", "firm")), "tag.fly", TAG).code == "decision.unknown_action"
    assert point.decide(who(("emperor", "plant")), "tag.read", TAG).code == "decision.no_permit"


def test_the_refusal_of_another_tenants_thing_tells_nothing_about_it(point: DecisionPoint) -> None:
    stranger = who(("owner", "other"))
    for action in vocabulary().actions:
        there = point.decide(stranger, action, TAG)
        nowhere = point.decide(stranger, action, Resource("tag", "no/such/tag"))
        assert there == nowhere
        assert "plant" not in there.explain("en") + there.explain("zh")
        assert there.reasons == ()


def test_every_decision_cites_policy_version_and_edition(point: DecisionPoint) -> None:
    decision = point.decide(who(("operator", "plant")), "alarm.acknowledge", TAG)
    assert [(r.id, r.version, r.source) for r in decision.policies] == [("plant-operator", 1, "plant.cedar")]
    assert decision.edition == point.edition.digest and len(decision.edition) == 64
    assert decision.time == NOW
    assert decision.explain("zh").startswith("允许确认报警\n依据: 操作员可以处理报警")


def test_a_dangerous_act_needs_factor_and_second_person(point: DecisionPoint) -> None:
    plain = who(("operator", "plant"))
    first = point.decide(plain, "machine.write", TAG)
    assert first.code == "decision.needs_approval"
    assert {r.id for r in first.policies} == {
        "dangerous-machine-write-second-person",
        "dangerous-second-factor",
    }
    assert [[s.code for s in h.steps] for h in first.what_would_help] == [
        ["decision.help_second_factor", "decision.help_approval"]
    ]
    stepped = point.decide(OPERATOR, "machine.write", TAG)
    assert [[s.code for s in h.steps] for h in stepped.what_would_help] == [["decision.help_approval"]]
    yes = point.decide(OPERATOR, "machine.write", TAG, approved())
    assert (yes.allowed, yes.evidence) == (True, "a1")
    assert point.decide(plain, "machine.write", TAG, approved()).code == "decision.needs_second_factor"


def test_a_second_factor_grows_old(point: DecisionPoint, clock: ManualClock) -> None:
    clock.advance(300)
    assert point.decide(OPERATOR, "machine.write", TAG, approved(expires=NOW + 9 * MINUTE)).allowed
    clock.advance(1)
    late = point.decide(OPERATOR, "machine.write", TAG, approved(expires=NOW + 9 * MINUTE))
    assert late.code == "decision.needs_second_factor"
    future = who(("operator", "plant"), second_factor=clock.now() + 1)
    assert not point.decide(future, "machine.write", TAG, approved(expires=NOW + 9 * MINUTE)).allowed


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "requested"},
        {"state": "used"},
        {"state": "refused"},
        {"action": "key.use"},
        {"kind": "machine"},
        {"resource": "oven/zone2/setpoint"},
        {"owner": "firm"},
        {"payload_hash": "0" * 64},
        {"requester": "zhao"},
        {"approver": "li"},
        {"approver": ""},
        {"expires": NOW},
    ],
)
def test_an_approval_serves_exactly_what_it_was_given_for(
    point: DecisionPoint, changed: dict[str, object]
) -> None:
    assert not point.decide(OPERATOR, "machine.write", TAG, approved(**changed)).allowed


def test_an_approval_without_a_payload_is_none(point: DecisionPoint) -> None:
    empty = approved(payload_hash="")
    assert not point.decide(
        OPERATOR, "machine.write", TAG, msgspec.structs.replace(empty, payload_hash="")
    ).allowed


def test_routine_tags_need_neither(point: DecisionPoint) -> None:
    routine = msgspec.structs.replace(TAG, risk="routine")
    assert point.decide(who(("operator", "plant")), "machine.write", routine).allowed
    token = who(("operator", "plant"), kind="token", id="t1")
    assert point.decide(token, "machine.write", routine).allowed
    assert point.decide(token, "machine.write", TAG).code == "decision.people_only"
    assert point.decide(who(("viewer", "plant")), "machine.write", routine).code == "decision.no_permit"


def test_a_token_does_no_more_than_its_scopes(point: DecisionPoint) -> None:
    token = who(("operator", "plant"), kind="token", scopes=("alarm.read", "tag.*"))
    assert point.decide(token, "tag.read", TAG).allowed
    assert point.decide(token, "alarm.read", TAG).allowed
    refused = point.decide(token, "alarm.acknowledge", TAG)
    assert refused.code == "decision.out_of_scope"
    assert refused.text("en").startswith("the scopes of this token do not include: Acknowledge alarms")


def test_nothing_before_password_and_second_factor_are_set(point: DecisionPoint) -> None:
    fresh = who(("owner", "firm"), must_enrol="totp")
    assert point.decide(fresh, "tag.read", TAG).code == "decision.must_enrol"
    own = Resource("session", "s", subject="li")
    assert point.decide(fresh, "session.end", own).allowed


def test_a_handler_acts_in_the_matters_it_was_authorised_for(point: DecisionPoint) -> None:
    entry = Resource("application", "x", "region", frozenset({"region"}), parties=("firm",))
    handler = who(("firm-handler", "firm", "h1", ("subsidy",)))
    assert point.decide(handler, "subsidy.apply", entry).allowed
    assert point.decide(handler, "document.read", entry).code == "decision.no_permit"
    assert point.decide(handler, "subsidy.review", entry).code == "decision.other_organisation"
    own_firm = Resource("identifier", "88.1", "firm", frozenset({"firm"}))
    assert point.decide(handler, "identifier.register", own_firm).code == "decision.no_permit"
    whole = who(("firm-handler", "firm", "h1"))
    assert point.decide(whole, "identifier.register", own_firm).allowed


GRANT = Grant("g1", "firm", "bureau", frozenset({"history.read"}), "series", "s1", NOW, NOW + MINUTE)
SERIES = Resource("series", "s1", "plant", PLANT)


def test_a_grant_opens_what_it_names_while_it_lasts(point: DecisionPoint, clock: ManualClock) -> None:
    official = who(("official", "bureau"))
    yes = point.decide(official, "history.read", SERIES, Context(grant=GRANT))
    assert (yes.allowed, yes.evidence, yes.policies[0].id) == (True, "g1", "granted-by-the-owner")
    replace = msgspec.structs.replace
    for grant in (
        replace(GRANT, owner="other"),
        replace(GRANT, grantee="zone"),
        replace(GRANT, resource="s2"),
        replace(GRANT, kind="tag"),
        replace(GRANT, actions=frozenset({"tag.read"})),
        replace(GRANT, end=NOW),
        replace(GRANT, start=NOW + 1),
    ):
        assert point.decide(official, "history.read", SERIES, Context(grant=grant)).conceal
    everything = replace(GRANT, actions=frozenset(vocabulary().actions))
    for name, action in vocabulary().actions.items():
        decided = point.decide(official, name, SERIES, Context(grant=everything))
        assert decided.allowed == action.share, name
    clock.advance(60)
    assert not point.decide(official, "history.read", SERIES, Context(grant=GRANT)).allowed


def test_aggregation_is_a_grant_of_its_own(point: DecisionPoint) -> None:
    aggregation = msgspec.structs.replace(GRANT, actions=frozenset({"indicator.aggregate"}))
    official = who(("official", "bureau"))
    assert point.decide(official, "indicator.aggregate", SERIES, Context(grant=aggregation)).allowed
    assert not point.decide(official, "history.read", SERIES, Context(grant=aggregation)).allowed
    assert not point.decide(who(("owner", "firm")), "indicator.aggregate", SERIES).allowed


def test_what_is_public_says_what_makes_it_so(point: DecisionPoint) -> None:
    table = Resource("aggregate", "a", "region", frozenset({"region"}), public_by="rule:monthly-table")
    for principal in (None, who(("viewer", "firm")), who(("viewer", "region"))):
        yes = point.decide(principal, "aggregate.read", table)
        assert yes.allowed
        assert yes.policies[0].id == "published"
    assert point.decide(None, "aggregate.read", table).evidence == "rule:monthly-table"
    assert point.decide(None, "aggregate.publish", table).code == "decision.sign_in"
    assert point.decide(who(("viewer", "firm")), "aggregate.publish", table).conceal


def test_ones_own_affairs(point: DecisionPoint) -> None:
    mine, anothers = Resource("session", "s1", subject="li"), Resource("session", "s2", subject="wang")
    li = who(("viewer", "plant"))
    assert point.decide(li, "session.end", mine).allowed
    assert point.decide(li, "session.end", anothers).conceal
    assert point.decide(li, "role.assign", mine).conceal
    assert point.decide(who(account=""), "session.read", Resource("session", "s3", subject="")).conceal


def test_administrators_exclude_each_other_whatever_else_they_hold(point: DecisionPoint) -> None:
    both = who(("system-admin", "firm"), ("audit-admin", "other"))
    refused = point.decide(both, "system.read", Resource("system", "node", "firm", frozenset({"firm"})))
    assert refused.code == "decision.conflicting_roles"
    assert [s.code for s in refused.what_would_help[0].steps] == ["decision.help_resign"]
    assert point.decide(both, "session.end", Resource("session", "s", subject="li")).allowed


def test_an_owner_stops_administering_once_administrators_are_named(point: DecisionPoint) -> None:
    owner = who(("owner", "firm"), second_factor=NOW)
    account = Resource("account", "x", "firm", frozenset({"firm"}))
    assert point.decide(owner, "user.manage", account).allowed
    separated = msgspec.structs.replace(account, separated=True)
    refused = point.decide(owner, "user.manage", separated)
    assert refused.code == "decision.separated"
    steps = [[(s.code, s.params["role"].en) for s in h.steps] for h in refused.what_would_help]
    assert steps == [[("decision.help_holder", "System administrator")]]
    assert point.decide(owner, "tag.configure", msgspec.structs.replace(TAG, separated=True)).allowed


def test_an_automatic_write_runs_under_its_grant_only(point: DecisionPoint) -> None:
    edge = who(("edge", "plant"), kind="service", id="edge", account="")
    standing = Standing("s1", "plant", TAG.id, "edge", NOW, NOW + MINUTE)
    yes = point.decide(edge, "machine.write", TAG, Context(standing=standing))
    assert (yes.allowed, yes.evidence) == (True, "s1")
    assert yes.policies[0].id == "service-automatic-write"
    refused = point.decide(edge, "machine.write", TAG)
    assert [s.code for s in refused.what_would_help[0].steps] == ["decision.help_standing"]
    replace = msgspec.structs.replace
    for wrong in (
        replace(standing, owner="other"),
        replace(standing, resource="oven/zone2/setpoint"),
        replace(standing, service="rules"),
        replace(standing, end=NOW),
        replace(standing, start=NOW + 1),
    ):
        assert not point.decide(edge, "machine.write", TAG, Context(standing=wrong)).allowed
    assert not point.decide(edge, "rule.activate", TAG, Context(standing=standing)).allowed
    operator = point.decide(OPERATOR, "machine.write", TAG, Context(standing=standing))
    assert not operator.allowed


def test_a_refusal_is_an_error_with_the_right_status(point: DecisionPoint) -> None:
    for principal, status in ((None, 401), (who(("viewer", "other")), 404), (who(("viewer", "plant")), 403)):
        with pytest.raises(Refusal) as caught:
            point.require(principal, "alarm.shelve", TAG)
        assert caught.value.status == status
        assert isinstance(caught.value.decision, Decision)
    assert caught.value.text("zh") == "没有策略允许您搁置报警"
    assert point.require(who(("operator", "plant")), "alarm.shelve", TAG).allowed


def test_the_controls_of_a_screen_in_one_call(point: DecisionPoint) -> None:
    found = point.actions(who(("viewer", "plant")), ["alarm.read", "alarm.shelve", "machine.write"], TAG)
    assert [d.allowed for d in found.values()] == [True, False, False]
    shelve = found["alarm.shelve"].what_would_help
    assert [h.text("zh") for h in shelve] == ["请管理员授予您角色“操作员”，或请具有该角色的人操作"]


def test_batches_answer_in_order_and_equal_questions_are_evaluated_once(point: DecisionPoint) -> None:
    people = [who(("viewer", "plant"), id=f"u{i}", account=f"u{i}") for i in range(50)]
    requests = [
        Request(p, action, msgspec.structs.replace(TAG, id=f"t{i}"))
        for i, p in enumerate(people)
        for action in ("tag.read", "tag.configure")
    ]
    decisions = point.decide_many(requests)
    assert [d.allowed for d in decisions] == [True, False] * 50
    assert point.evaluations == 2
    assert point.decide_many([]) == []


def test_payload_hashes_are_of_the_whole_act() -> None:
    base = payload_hash("machine.write", TAG, {"value": 1, "tag": "a"})
    assert base == payload_hash("machine.write", TAG, {"tag": "a", "value": 1})
    for other in (
        payload_hash("machine.write", TAG, {"value": 1.0, "tag": "a"}),
        payload_hash("machine.write", TAG, {"value": True, "tag": "a"}),
        payload_hash("key.use", TAG, {"value": 1, "tag": "a"}),
        payload_hash("machine.write", msgspec.structs.replace(TAG, owner="x"), {"value": 1, "tag": "a"}),
    ):
        assert other != base
    with pytest.raises(ValueError):
        payload_hash("machine.write", TAG, float("nan"))
