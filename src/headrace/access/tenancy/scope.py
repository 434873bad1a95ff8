"""The Scope of a query: the organisations whose records it may return. Every query of a tenant's records
takes one and puts it into its WHERE, so that forgetting it is a missing argument and not a leak."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from headrace.access.tenancy._tables import ownership, reach


class Scope(msgspec.Struct, frozen=True):
    """`roots` and all that is below each of them within its own tenant.

    `node`: everything on this node; for work of the node itself (backup, migration, checks), never for what
    is done in the name of a principal.
    """

    roots: tuple[str, ...] = ()
    node: bool = False

    @classmethod
    def of(cls, orgs: Iterable[str]) -> Scope:
        """The scope of a principal: `Scope.of(principal.orgs)`. Of no organisations it is empty."""
        return cls(tuple(sorted(set(orgs))))

    @classmethod
    def whole_node(cls) -> Scope:
        return cls((), True)

    def where(self, owner: sa.ColumnElement[str] | sa.Column[str]) -> sa.ColumnElement[bool]:
        """The condition on a column that holds the owning organisation's id; NULL is nobody's and never
        in any scope but the node's."""
        if self.node:
            return sa.true()
        if not self.roots:
            return sa.false()
        return owner.in_(sa.select(reach.c.below).where(reach.c.above.in_(self.roots)))

    def owns(self, kind: str, resource: sa.ColumnElement[str] | sa.Column[str]) -> sa.ColumnElement[bool]:
        """The condition on a column of resource ids whose owners `Ownership` keeps under `kind`."""
        if self.node:
            return sa.true()
        if not self.roots:
            return sa.false()
        below = sa.select(reach.c.below).where(reach.c.above.in_(self.roots))
        owned = sa.select(ownership.c.resource).where(ownership.c.kind == kind, ownership.c.org.in_(below))
        return resource.in_(owned)
