"""Which roles may be given, and which tenants have separated their administration."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from headrace.access.decisions.vocabulary import vocabulary
from headrace.access.tenancy import TITLES, OrgKind
from headrace.access.tenancy._tables import in_force, membership, org
from headrace.kernel.errors import Conflict, InputError

ADMINISTRATORS = ("system-admin", "security-admin", "audit-admin")


def role_rule(role: str, kind: OrgKind, held: Sequence[str]) -> None:
    """Whether `role` may be given in an organisation of `kind` to an account that holds `held` on this node
    already: tenancy's RoleRule. Raises InputError (`decision.unknown_role`, `decision.role_not_given`,
    `decision.role_misplaced`) or Conflict (`decision.role_excluded`)."""
    words = vocabulary()
    wanted = words.roles.get(role)
    if wanted is None:
        raise InputError("decision.unknown_role", role=role)
    if wanted.implicit:
        raise InputError("decision.role_not_given", role=wanted.title)
    if wanted.kinds and kind not in wanted.kinds:
        raise InputError("decision.role_misplaced", role=wanted.title, kind=TITLES[kind])
    for other in held:
        if words.conflicts((role, other)):
            raise Conflict("decision.role_excluded", role=wanted.title, held=words.roles[other].title)


def separated_tenants(connection: sa.Connection, now: int) -> frozenset[str]:
    """Tenants in which all three administrators are named; by the exclusion of the roles they are three
    accounts. In these the owner no longer administers (Resource.separated)."""
    query = (
        sa.select(org.c.tenant)
        .join(membership, membership.c.org == org.c.id)
        .where(membership.c.role.in_(ADMINISTRATORS), in_force(membership, now))
        .group_by(org.c.tenant)
        .having(sa.func.count(sa.distinct(membership.c.role)) == len(ADMINISTRATORS))
    )
    return frozenset(connection.scalars(query))
