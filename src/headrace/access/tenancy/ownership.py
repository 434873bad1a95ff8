"""What belongs to whom. Every record and stream has exactly one owner.

Most tables carry their owner in a column of their own. What has no such column (tags, subjects of the bus,
screens, files) has its owner here, by kind and id. Tags and subjects are hierarchical: one row owns all that
is below it, unless a longer row owns a part; so the owner of a plant's node is said once, not per tag.
"""

from __future__ import annotations

import sqlalchemy as sa

from headrace.access.events import Change, Events
from headrace.access.tenancy._tables import org, ownership
from headrace.access.tenancy.scope import Scope
from headrace.kernel.errors import Conflict, InputError, NotFound

SEPARATOR: dict[str, str] = {"tag": "/", "subject": "."}
"""Kinds whose ids are paths, and what parts them. A tag's id is "<node>/<name>", see `tag_resource`."""


def tag_resource(node: str, name: str = "") -> str:
    """The resource of tag `name` of `node`, or of all tags of the node. Two plants may both have an
    "oven/zone1/temperature"."""
    return f"{node}/{name}" if name else node


def prefixes(kind: str, resource: str) -> list[str]:
    """The resource and all it lies below, the longest first; only itself where `kind` has no paths."""
    separator = SEPARATOR.get(kind)
    if separator is None:
        return [resource]
    parts = resource.split(separator)
    return [separator.join(parts[:n]) for n in range(len(parts), 0, -1)]


class Ownership:
    """Owners in records. Thread-safe. For answers in memory, thousands a second, see `Directory`."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._records = events.records

    def own(self, kind: str, resource: str, owner: str, *, by: str, within: Change | None = None) -> None:
        """Say who owns what nobody owns yet, or what `owner` owns already.

        Raises NotFound (`tenancy.unknown_org`), InputError (`tenancy.bad_resource`), Conflict
        (`tenancy.owned`: by another; only `transfer` changes that. A path within a path of another tenant
        is refused in the same way).
        """
        _check(kind, resource)
        if within is not None:
            self._own(within, kind, resource, owner, by)
            return
        with self._events.begin() as change:
            self._own(change, kind, resource, owner, by)

    def _own(self, change: Change, kind: str, resource: str, owner: str, by: str) -> None:
        connection = change.connection
        tenant = _tenant(connection, owner)
        here = sa.and_(ownership.c.kind == kind, ownership.c.resource == resource)
        present = connection.scalar(sa.select(ownership.c.org).where(here))
        if present == owner:
            return
        if present is not None or self._foreign(connection, kind, resource, tenant):
            raise Conflict("tenancy.owned", resource=resource)
        row = {"kind": kind, "resource": resource, "org": owner, "since": change.now, "by": by}
        connection.execute(sa.insert(ownership).values(**row))
        change.note("ownership.set", resource, by=by, org=owner, detail={"kind": kind})

    def transfer(self, kind: str, resource: str, owner: str, scope: Scope, *, by: str) -> None:
        """Give what is in scope to another organisation. Raises NotFound (`tenancy.unknown_resource`,
        `tenancy.unknown_org`), Conflict (`tenancy.owned`: it lies within or around another tenant's)."""
        with self._events.begin() as change:
            connection = change.connection
            here = sa.and_(ownership.c.kind == kind, ownership.c.resource == resource)
            seen = sa.select(ownership.c.org).where(here, scope.where(ownership.c.org))
            if connection.scalar(seen) is None:
                raise NotFound("tenancy.unknown_resource", resource=resource)
            if self._foreign(connection, kind, resource, _tenant(connection, owner)):
                raise Conflict("tenancy.owned", resource=resource)
            values = {"org": owner, "since": change.now, "by": by}
            connection.execute(sa.update(ownership).where(here).values(**values))
            change.note("ownership.moved", resource, by=by, org=owner, detail={"kind": kind})

    def owner(self, kind: str, resource: str) -> str:
        """The id of the owner, "" where nobody owns it. For the decision point; what a principal asks goes
        through `Scope.owns` or `Directory.admits`."""
        chosen = ownership.c.kind == kind, ownership.c.resource.in_(prefixes(kind, resource))
        longest = sa.func.length(ownership.c.resource).desc()
        with self._records.read() as connection:
            found = connection.scalar(sa.select(ownership.c.org).where(*chosen).order_by(longest).limit(1))
        return found or ""

    def find(self, kind: str, scope: Scope, *, limit: int = 100, offset: int = 0) -> list[tuple[str, str]]:
        """(resource, owner) in scope, by resource."""
        chosen = ownership.c.kind == kind, scope.where(ownership.c.org)
        query = sa.select(ownership.c.resource, ownership.c.org).where(*chosen)
        with self._records.read() as connection:
            rows = connection.execute(query.order_by(ownership.c.resource).limit(limit).offset(offset)).all()
        return [(row.resource, row.org) for row in rows]

    @staticmethod
    def _foreign(connection: sa.Connection, kind: str, resource: str, tenant: str) -> bool:
        """Whether the path lies within, or around, a path of another tenant."""
        separator = SEPARATOR.get(kind)
        if separator is None:
            return False
        around = ownership.c.resource.in_(prefixes(kind, resource)[1:])
        within = ownership.c.resource.startswith(resource + separator, autoescape=True)
        query = (
            sa.select(ownership.c.resource)
            .join(org, org.c.id == ownership.c.org)
            .where(ownership.c.kind == kind, sa.or_(around, within), org.c.tenant != tenant)
        )
        return connection.execute(query.limit(1)).first() is not None


def _tenant(connection: sa.Connection, id: str) -> str:
    tenant = connection.scalar(sa.select(org.c.tenant).where(org.c.id == id))
    if tenant is None:
        raise NotFound("tenancy.unknown_org", org=id)
    return str(tenant)


def _check(kind: str, resource: str) -> None:
    separator = SEPARATOR.get(kind)
    parts = resource.split(separator) if separator else [resource]
    if not kind or not all(parts) or any(c in resource for c in "*>\x00"):
        raise InputError("tenancy.bad_resource", kind=kind, resource=resource)
