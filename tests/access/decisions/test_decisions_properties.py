"""What must hold of every principal, resource and policy, not of chosen ones."""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import cedarpy
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.access.decisions import (
    Approved,
    Context,
    DecisionPoint,
    Grant,
    PolicyBook,
    Request,
    Resource,
    Standing,
    load_policies,
    vocabulary,
)
from headrace.access.decisions._facts import Facts, Gatherer, Moment, Wall
from headrace.access.decisions.book import parse_policies
from headrace.access.decisions.vocabulary import CONTEXT, PRINCIPAL, RESOURCE
from headrace.access.identity import Held, Principal, PrincipalKind
from headrace.kernel.clock import ManualClock

WORDS = vocabulary()
BOOK = load_policies()
NOW = ManualClock().now()
LATER = NOW + 10**12
TREES = {
    "firm": frozenset({"firm"}),
    "plant": frozenset({"firm", "plant"}),
    "line": frozenset({"firm", "plant", "line"}),
    "other": frozenset({"other"}),
    "works": frozenset({"other", "works"}),
    "region": frozenset({"region"}),
    "bureau": frozenset({"bureau"}),
}
TENANT = {org: min(tree & {"firm", "other", "region", "bureau"}) for org, tree in TREES.items()}

actions = st.sampled_from(sorted(WORDS.actions))
orgs = st.sampled_from(sorted(TREES))
roles = st.sampled_from([*sorted(WORDS.roles), "emperor", ""])


def principals() -> st.SearchStrategy[Principal]:
    return st.builds(
        Principal,
        kind=st.sampled_from(PrincipalKind),
        id=st.sampled_from(["li", "wang"]),
        account=st.sampled_from(["li", "wang", ""]),
        name=st.just("n"),
        roles=st.lists(
            st.builds(Held, roles, orgs, st.just(""), st.sampled_from([(), ("subsidy",)])), max_size=4
        ).map(tuple),
        scopes=st.sampled_from([("*",), ("*",), ("tag.*", "machine.write"), ()]),
        second_factor=st.sampled_from([None, NOW, NOW - 10**13]),
        must_enrol=st.sampled_from(["", "", "", "totp"]),
    )


def resources() -> st.SearchStrategy[Resource]:
    return st.builds(
        lambda owner, **more: Resource(owner=owner, within=TREES[owner], **more),
        owner=orgs,
        kind=st.sampled_from(["tag", "account"]),
        id=st.sampled_from(["a", "b"]),
        machine=st.sampled_from(["", "oven"]),
        risk=st.sampled_from(["dangerous", "routine"]),
        parties=st.sampled_from([(), ("firm",), ("other", "bureau")]),
        subject=st.sampled_from(["", "li", "wang"]),
        public_by=st.sampled_from(["", "", "rule:x"]),
        separated=st.booleans(),
    )


contexts = st.builds(
    Context,
    channel=st.sampled_from(["console", "link"]),
    address=st.sampled_from(["", "10.1.2.3", "::1"]),
    payload_hash=st.sampled_from(["", "h"]),
    approval=st.none()
    | st.builds(
        Approved,
        st.just("ap"),
        st.sampled_from(["approved", "requested"]),
        actions,
        st.sampled_from(["tag", "account"]),
        st.sampled_from(["a", "b"]),
        orgs,
        st.sampled_from(["", "h"]),
        st.sampled_from(["li", "wang"]),
        st.sampled_from(["li", "wang"]),
        st.just(LATER),
    ),
    standing=st.none()
    | st.builds(
        Standing,
        st.just("sg"),
        orgs,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["edge", "rules"]),
        st.just(0),
        st.just(LATER),
    ),
    grant=st.none(),
)
PERMISSIVE = [
    "permit (principal, action, resource);",
    "permit (principal, action, resource) when { !resource.public };",
    'permit (principal in Role::"anyone", action in Action::"read", resource);',
    'permit (principal, action, resource) when { principal.kind == "service" || resource.risk like "*" };',
    'permit (principal, action == Action::"machine.write", resource) when { resource.machine == "oven" };',
    'permit (principal, action, resource) when { resource.owner like "*" && context.local_hour < 24 };',
    'permit (principal, action, resource) when { principal.id == "li" || !(context has address) };',
    'forbid (principal, action, resource) when { resource.reach == "outside" && resource.own };',
    'forbid (principal, action, resource) unless { context.second_factor == "recent" };',
]
permissive = st.lists(st.sampled_from(PERMISSIVE), max_size=2, unique=True).map(lambda b: tuple(sorted(b)))


@cache
def with_policies(bodies: tuple[str, ...]) -> tuple[PolicyBook, DecisionPoint]:
    problems: list[Any] = []
    own = [
        f'@id("own-{i}") @version("1") @effective_from("2020-01-01") @zh("自订") @en("own") {body}'
        for i, body in enumerate(bodies)
    ]
    found = parse_policies("\n".join(own), "own.cedar", problems, WORDS)
    assert problems == []
    book = PolicyBook([*BOOK.policies, *found], WORDS)
    return book, DecisionPoint(book, ManualClock(), timezone="UTC")


def _crossing(pick: random.Random) -> Request:
    """Plain randomness, for numbers: hypothesis chooses the policies and the seed."""
    abroad, home = ["other", "works", "region", "bureau"], pick.choice(["firm", "plant", "line"])
    names, action = [*sorted(WORDS.roles), "emperor", ""], pick.choice(sorted(WORDS.actions))
    account = pick.choice(["li", "wang", ""])
    principal = Principal(
        kind=pick.choice(list(PrincipalKind)),
        id=account or "edge",
        account=account,
        name="n",
        roles=tuple(Held(pick.choice(names), pick.choice(abroad)) for _ in range(pick.randrange(5))),
        second_factor=pick.choice([None, NOW, NOW - 10**13]),
    )
    risk = pick.choice(["dangerous", "routine"])
    resource = Resource(pick.choice(["tag", "account"]), "a", home, TREES[home], "oven", risk)
    approval = Approved(
        "ap",
        "approved",
        action,
        resource.kind,
        "a",
        pick.choice([home, *abroad]),
        "h",
        account,
        "zhao",
        LATER,
    )
    standing = Standing("sg", pick.choice([home, *abroad]), "a", pick.choice(["edge", "rules"]), 0, LATER)
    stray = Grant(
        "g", pick.choice(abroad), pick.choice(abroad), frozenset({action}), resource.kind, "a", 0, LATER
    )
    context = Context("link", "10.1.2.3", "h", approval, standing, stray)
    return Request(None if pick.random() < 0.05 else principal, action, resource, context)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(permissive, st.integers(0, 2**32))
def test_no_combination_of_policies_lets_a_tenant_cross(bodies: tuple[str, ...], seed: int) -> None:
    """Principals of one tenant against what another one owns, without grant or publication, neither named in
    the record nor its subject: 10,000 attempts, never allowed, in the words for what does not exist."""
    _, point = with_policies(bodies)
    pick = random.Random(seed)
    requests = [_crossing(pick) for _ in range(40)]
    for request, decision in zip(requests, point.decide_many(requests, explain=True), strict=True):
        assert not decision.allowed
        assert decision.code == (
            "decision.sign_in" if request.principal is None else "decision.other_organisation"
        )
        assert decision.reasons == () and decision.evidence == ""


@settings(max_examples=100, deadline=None)
@given(permissive, principals(), actions, resources(), contexts)
def test_crossing_takes_a_named_way(
    bodies: tuple[str, ...], principal: Principal, action: str, resource: Resource, context: Context
) -> None:
    """Whatever is allowed to someone outside the tenant is so by one of the three ways, with an action that
    the vocabulary opens to it."""
    decision = with_policies(bodies)[1].decide(principal, action, resource, context)
    tenants = {TENANT[held.org] for held in principal.roles}
    if not decision.allowed or TENANT[resource.owner] in tenants:
        return
    known = WORDS.actions[action]
    ways = [
        known.share and bool(resource.public_by),
        known.own and resource.subject == principal.account != "",
        known.party and any(held.org in resource.parties for held in principal.roles),
    ]
    assert any(ways)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(Request, principals() | st.none(), actions, resources(), contexts), max_size=6))
def test_without_policies_nothing_is_allowed(requests: list[Request]) -> None:
    point = DecisionPoint(PolicyBook([], WORDS), ManualClock())
    assert not any(d.allowed for d in point.decide_many(requests))


def _asked_whole(book: PolicyBook, facts: Facts, action: str) -> bool:
    """Cedar itself on all policies and all facts: no slices, no reduction, no memo."""
    policies = {str(i): json.loads(p.body) for i, p in enumerate(book.edition(NOW).policies)}
    whole = cedarpy.PolicySet.from_json_str(
        json.dumps({"staticPolicies": policies, "templates": {}, "templateLinks": []})
    )
    context = dict(zip(CONTEXT, facts.context, strict=True))
    address = context.pop("address")
    if address is not None:
        context["address"] = {"__extn": {"fn": "ip", "arg": address}}
    entities = [
        *WORDS.entities(),
        {
            "uid": {"type": "Actor", "id": "x"},
            "attrs": dict(zip(PRINCIPAL, facts.principal, strict=True)),
            "parents": [{"type": "Role", "id": role} for role in facts.roles],
        },
        {
            "uid": {"type": "Resource", "id": "y"},
            "attrs": dict(zip(RESOURCE, facts.resource, strict=True)),
            "parents": [],
        },
    ]
    request = {
        "principal": 'Actor::"x"',
        "action": f'Action::"{action}"',
        "resource": 'Resource::"y"',
        "context": context,
    }
    answer = cedarpy.is_authorized(request, whole, entities, schema=WORDS.schema())
    assert answer.diagnostics.errors == []
    return answer.allowed


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    permissive,
    st.lists(st.builds(Request, principals() | st.none(), actions, resources(), contexts), max_size=6),
)
def test_the_engine_answers_as_cedar_does(bodies: tuple[str, ...], requests: list[Request]) -> None:
    """Slices by action, the reduction to attributes in use and the memo change no answer; and every request
    fits the schema that the policies were checked against."""
    book, point = with_policies(bodies)
    gatherer, hour = Gatherer(WORDS, 300.0), (NOW // 3_600_000_000_000) % 24
    for request, decision in zip(requests, point.decide_many(requests), strict=True):
        facts = gatherer.gather(request, Moment(NOW, hour, 2))
        if isinstance(facts, Wall):
            assert not decision.allowed
        else:
            assert decision.allowed == _asked_whole(book, facts, request.action)


@settings(max_examples=100, deadline=None)
@given(principals(), actions, resources(), contexts)
def test_advice_that_can_be_followed_helps(
    principal: Principal, action: str, resource: Resource, context: Context
) -> None:
    """A role that is advised, given, with the second factor and approval that are advised with it, allows."""
    point = with_policies(())[1]
    decision = point.decide(principal, action, resource, context)
    assert not (decision.allowed and decision.what_would_help)
    titles = {role.title: name for name, role in WORDS.roles.items()}
    for advice in decision.what_would_help:
        codes = {step.code for step in advice.steps}
        if not codes <= {"decision.help_role", "decision.help_second_factor", "decision.help_approval"}:
            continue
        given = principal
        for step in advice.steps:
            if step.code == "decision.help_role":
                role = Held(titles[step.params["role"]], resource.owner)
                given = msgspec.structs.replace(given, roles=(*given.roles, role))
        if "decision.help_second_factor" in codes:
            given = msgspec.structs.replace(given, second_factor=NOW)
        then = context
        if "decision.help_approval" in codes:
            if not principal.account:
                continue
            approval = Approved(
                "x", "approved", action, resource.kind, resource.id, resource.owner, "h",
                principal.account, "another", LATER,
            )  # fmt: skip
            then = msgspec.structs.replace(context, payload_hash="h", approval=approval)
        assert point.decide(given, action, resource, then).allowed, advice.text()


@settings(max_examples=100, deadline=None)
@given(principals(), actions, orgs, orgs, st.integers(-2, 2), st.integers(-2, 2), st.booleans())
def test_grants_work_for_the_grantee_within_their_time(
    principal: Principal, action: str, owner: str, grantee: str, start: int, end: int, fits: bool
) -> None:
    resource = Resource("tag", "a", owner, TREES[owner])
    grant = Grant(
        "g", TENANT[owner], grantee, frozenset({action}) if fits else frozenset({"tag.read"}), "tag", "a",
        NOW + start, NOW + end,
    )  # fmt: skip
    decision = with_policies(())[1].decide(principal, action, resource, Context(grant=grant))
    orgs_held = {held.org for held in principal.roles}
    if decision.allowed and not orgs_held & TREES[owner]:
        assert WORDS.actions[action].share and grantee in orgs_held
        assert start <= 0 < end and action in grant.actions
        assert decision.evidence == "g"


def test_the_files_of_the_built_in_policies_are_all_loaded() -> None:
    folder = Path(__file__).parents[3] / "src/headrace/access/decisions/policies"
    texts = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.cedar"))
    assert texts.count("@id(") == len(BOOK.policies) > 20
