"""The walls that no policy can move, and the facts that policies are asked with.

A wall answers before any policy is consulted, so that no combination of policies, an operator's own included,
lets anyone cross from one tenant into another: a resource is reached only from inside its tenant, as a party
that its record names, by a grant of its owner, by publication, or because it is one's own affair; and from
outside only with the actions that the vocabulary marks `share`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from headrace.access.decisions.model import Context, Request, Resource
from headrace.access.decisions.vocabulary import Vocabulary
from headrace.access.identity import Principal, PrincipalKind, covers
from headrace.kernel.clock import NS_PER_S


class Moment(NamedTuple):
    """When a decision is made: UTC ns, and hour and weekday (1 Monday) at the node."""

    now: int
    hour: int
    weekday: int


class Facts(NamedTuple):
    """What the policies see, in the order of the vocabulary's PRINCIPAL, RESOURCE and CONTEXT."""

    roles: frozenset[str]
    principal: tuple[Any, ...]
    resource: tuple[Any, ...]
    context: tuple[Any, ...]
    evidence: str


class Wall(NamedTuple):
    """A refusal that no policy can change."""

    code: str
    conceal: bool


Answer = Facts | Wall

_NOT_SIGNED_IN = Wall("decision.sign_in", False)
_OTHER = Wall("decision.other_organisation", True)
_UNKNOWN = Wall("decision.unknown_action", False)
_SCOPE = Wall("decision.out_of_scope", False)
_ENROL = Wall("decision.must_enrol", False)
_NOBODY: frozenset[str] = frozenset()
_ENROL_ACTIONS = frozenset({"session.read", "session.end"})


class Gatherer:
    """Makes Facts of Requests. `step_up_s`: how long a second factor stays recent."""

    def __init__(self, words: Vocabulary, step_up_s: float) -> None:
        self._words = words
        self._step_up = round(step_up_s * NS_PER_S)
        self._held: dict[frozenset[str], frozenset[str]] = {}
        self._conflict: dict[frozenset[str], bool] = {}

    def gather(self, request: Request, moment: Moment) -> Answer:
        """Facts, or the Wall that stands before them."""
        principal, action, resource, context = (
            request.principal, request.action, request.resource, request.context,
        )  # fmt: skip
        known = self._words.actions.get(action)
        if known is None:
            return _UNKNOWN
        granted = known.share and _granted(principal, action, resource, context, moment.now)
        public = known.share and bool(resource.public_by)
        if principal is None:
            if not public:
                return _NOT_SIGNED_IN
            reach, names, own = "outside", _NOBODY, False
            actor = ("", "anonymous", False)
        else:
            own = known.own and resource.subject == principal.account != ""
            reach, names = _reach(principal, action, resource, known.party)
            if reach == "outside" and not (own or granted or public):
                return _OTHER
            if not public:
                if not principal.in_token_scope(action):
                    return _SCOPE
                if principal.must_enrol and action not in _ENROL_ACTIONS:
                    return _ENROL
            everything = frozenset([held.role for held in principal.roles])
            if reach == "outside":
                names = everything
            actor = (principal.id, principal.kind.value, self._conflicting(everything))
        approved = _approved(principal, action, resource, context, moment.now)
        standing = _standing(principal, action, resource, context, moment.now)
        evidence = ""
        if approved and context.approval:
            evidence = context.approval.id
        elif standing and context.standing:
            evidence = context.standing.id
        elif reach == "outside" and granted and context.grant:
            evidence = context.grant.id
        elif reach == "outside" and public:
            evidence = resource.public_by
        return Facts(
            self._closure(names),
            actor,
            (
                resource.id,
                resource.kind,
                resource.owner,
                resource.machine,
                reach,
                own,
                granted,
                public,
                resource.risk,
                resource.separated,
            ),
            (
                self._second_factor(principal, moment.now),
                approved,
                standing,
                context.channel,
                moment.hour,
                moment.weekday,
                context.address or None,
            ),
            evidence,
        )

    def _closure(self, names: frozenset[str]) -> frozenset[str]:
        found = self._held.get(names)
        if found is None:
            if len(self._held) > 10_000:
                self._held.clear()
            found = self._held[names] = self._words.held(names)
        return found

    def _conflicting(self, names: frozenset[str]) -> bool:
        found = self._conflict.get(names)
        if found is None:
            if len(self._conflict) > 10_000:
                self._conflict.clear()
            found = self._conflict[names] = bool(self._words.conflicts(names))
        return found

    def _second_factor(self, principal: Principal | None, now: int) -> str:
        if principal is None or principal.second_factor is None:
            return "none"
        return "recent" if 0 <= now - principal.second_factor <= self._step_up else "old"


def _reach(principal: Principal, action: str, resource: Resource, party: bool) -> tuple[str, frozenset[str]]:
    """How the principal's roles reach the resource, and which of them count there."""
    within = resource.within
    inside = [held for held in principal.roles if held.org in within]
    if inside:
        return "inside", frozenset([held.role for held in inside if _matters(held.matters, action)])
    if party and resource.parties:
        named = [held for held in principal.roles if held.org in resource.parties]
        if named:
            return "party", frozenset([held.role for held in named if _matters(held.matters, action)])
    return "outside", _NOBODY


def _matters(matters: tuple[str, ...], action: str) -> bool:
    """Whether an authorisation limited to `matters` covers `action`, as identity's handlers say it."""
    return not matters or covers(matters, action)


def _granted(
    principal: Principal | None, action: str, resource: Resource, context: Context, now: int
) -> bool:
    """A grant of an owner of exactly this resource, to an organisation of the principal, in force now."""
    grant = context.grant
    return (
        grant is not None
        and principal is not None
        and grant.owner in resource.within
        and grant.kind == resource.kind
        and grant.resource == resource.id
        and action in grant.actions
        and grant.start <= now < grant.end
        and any(held.org == grant.grantee for held in principal.roles)
    )


def _approved(
    principal: Principal | None, action: str, resource: Resource, context: Context, now: int
) -> bool:
    """A second person approved exactly this act of exactly this person."""
    approval = context.approval
    return (
        approval is not None
        and principal is not None
        and principal.kind is PrincipalKind.ACCOUNT
        and approval.state == "approved"
        and approval.requester == principal.account != ""
        and approval.approver not in ("", approval.requester)
        and approval.action == action
        and approval.kind == resource.kind
        and approval.resource == resource.id
        and approval.owner == resource.owner
        and approval.payload_hash == context.payload_hash != ""
        and now < approval.expires
    )


def _standing(
    principal: Principal | None, action: str, resource: Resource, context: Context, now: int
) -> bool:
    """A standing grant, found to cover this write, of this process, in force now."""
    standing = context.standing
    return (
        standing is not None
        and principal is not None
        and principal.kind in (PrincipalKind.SERVICE, PrincipalKind.MACHINE)
        and action == "machine.write"
        and standing.owner in resource.within
        and standing.resource == resource.id
        and any(held.role == standing.service for held in principal.roles)
        and standing.start <= now < standing.end
    )
