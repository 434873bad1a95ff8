"""Which roles a member holds at a moment: by membership, by mandate of its organisation, by authorisation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from headrace.access.identity._tables import account, authorisation
from headrace.access.identity.principal import Held
from headrace.access.tenancy import OrgState
from headrace.access.tenancy._tables import in_force, mandate, membership, org, reach

HANDLER = "firm-handler"
REPRESENTATIVE = "legal-representative"
OWNER = "owner"


def roles_of(connection: sa.Connection, member: str, now: int) -> tuple[Held, ...]:
    """The roles in force at `now` (UTC ns), sorted. Those in an organisation that is not active, or lies
    below one that is not within its tenant, do not count. A handler's authorisation counts while whoever gave
    it is still the firm's legal representative. Mandates are not passed on: they rest on memberships alone.
    """
    own = connection.execute(
        sa.select(membership.c.role, membership.c.org).where(
            membership.c.member == member, in_force(membership, now)
        )
    ).all()
    held = {Held(row.role, row.org) for row in own}
    alive = _active(connection, {h.org for h in held})
    held = {h for h in held if h.org in alive}
    found = set(held)
    if held:
        rows = connection.execute(
            sa.select(mandate.c.id, mandate.c.holder, mandate.c.body, mandate.c.roles).where(
                mandate.c.holder.in_({h.org for h in held}), in_force(mandate, now)
            )
        ).all()
        for row in rows:
            roles = msgspec.json.decode(row.roles, type=list[str])
            found |= {Held(h.role, row.body, row.id) for h in held if h.org == row.holder and h.role in roles}
    found |= _authorised(connection, member, now)
    alive = _active(connection, {h.org for h in found})
    return tuple(sorted(h for h in found if h.org in alive))


def _authorised(connection: sa.Connection, member: str, now: int) -> set[Held]:
    represents = (
        sa.select(membership.c.id)
        .join(account, account.c.id == membership.c.member)
        .where(
            membership.c.member == authorisation.c.representative,
            membership.c.org == authorisation.c.firm,
            membership.c.role == REPRESENTATIVE,
            account.c.state == "active",
            in_force(membership, now),
        )
        .exists()
    )
    rows = connection.execute(
        sa.select(authorisation.c.id, authorisation.c.firm, authorisation.c.matters).where(
            authorisation.c.handler == member, in_force(authorisation, now), represents
        )
    ).all()
    return {
        Held(HANDLER, row.firm, row.id, tuple(msgspec.json.decode(row.matters, type=list[str])))
        for row in rows
    }


def _active(connection: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Those of `ids` that are active with all that is above them in their tenant."""
    wanted = set(ids)
    if not wanted:
        return set()
    upper = org.alias()
    idle = (
        sa.select(reach.c.above)
        .join(upper, upper.c.id == reach.c.above)
        .where(reach.c.below == org.c.id, upper.c.state != OrgState.ACTIVE.value)
        .exists()
    )
    return set(connection.scalars(sa.select(org.c.id).where(org.c.id.in_(wanted), sa.not_(idle))))


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
