"""Which roles a member holds at a moment: by membership, by mandate of its organisation, by authorisation."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from headrace.access.identity._tables import account, authorisation
from headrace.access.identity.principal import Held
from headrace.access.tenancy import OrgState
from headrace.access.tenancy._tables import in_force, mandate, membership, org, reach

HANDLER = "firm-handler"
REPRESENTATIVE = "legal-representative"
OWNER = "owner"


def _alive(id: sa.Column[str]) -> sa.ColumnElement[bool]:
    """Whether an organisation is active with all that is above it in its tenant."""
    idle = (
        sa.select(reach.c.above)
        .join(org, org.c.id == reach.c.above)
        .where(reach.c.below == id, org.c.state != OrgState.ACTIVE.value)
        .exists()
    )
    return sa.not_(idle)


# Built once: to build them costs more than to run them.
_NOW = sa.bindparam("now", type_=sa.BigInteger)
_MEMBER = sa.bindparam("member", type_=sa.Text)
_own = (membership.c.member == _MEMBER, in_force(membership, _NOW), _alive(membership.c.org))
_MEMBERSHIPS = sa.select(membership.c.role, membership.c.org).where(*_own)
_MANDATES = (
    sa.select(membership.c.role, mandate.c.body, mandate.c.id, mandate.c.roles)
    .join(membership, membership.c.org == mandate.c.holder)
    .where(*_own, in_force(mandate, _NOW), _alive(mandate.c.body))
)
_giver = membership.alias()
_represents = (
    sa.select(_giver.c.id)
    .join(account, account.c.id == _giver.c.member)
    .where(
        _giver.c.member == authorisation.c.representative,
        _giver.c.org == authorisation.c.firm,
        _giver.c.role == REPRESENTATIVE,
        account.c.state == "active",
        in_force(_giver, _NOW),
    )
    .exists()
)
_AUTHORISATIONS = sa.select(authorisation.c.id, authorisation.c.firm, authorisation.c.matters).where(
    authorisation.c.handler == _MEMBER,
    in_force(authorisation, _NOW),
    _represents,
    _alive(authorisation.c.firm),
)
_list = msgspec.json.Decoder(list[str])


def roles_of(connection: sa.Connection, member: str, now: int) -> tuple[Held, ...]:
    """The roles in force at `now` (UTC ns), sorted. Those in an organisation that is not active, or lies
    below one that is not within its tenant, do not count. A handler's authorisation counts while whoever gave
    it is still the firm's legal representative. Mandates are not passed on: they rest on memberships alone.
    """
    given = {"member": member, "now": now}
    found = {Held(role, org_id) for role, org_id in connection.execute(_MEMBERSHIPS, given)}
    if found:
        for role, body, id, roles in connection.execute(_MANDATES, given):
            if role in _list.decode(roles):
                found.add(Held(role, body, id))
    for id, firm, matters in connection.execute(_AUTHORISATIONS, given):
        found.add(Held(HANDLER, firm, id, tuple(_list.decode(matters))))
    return tuple(sorted(found))


def narrowed(connection: sa.Connection, roles: Sequence[Held], orgs: Sequence[str]) -> tuple[Held, ...]:
    """What is left of `roles` within `orgs`: a role held above one of them becomes a role in it."""
    rows = connection.execute(
        sa.select(reach.c.above, reach.c.below).where(
            sa.or_(reach.c.below.in_(orgs), reach.c.above.in_(orgs))
        )
    )
    pairs = {(above, below) for above, below in rows}
    left = set()
    for held in roles:
        for wanted in orgs:
            if (held.org, wanted) in pairs:
                left.add(msgspec.structs.replace(held, org=wanted))
            elif (wanted, held.org) in pairs:
                left.add(held)
    return tuple(sorted(left))
