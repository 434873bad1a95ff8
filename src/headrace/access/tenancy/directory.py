"""The organisations of a node in memory: who reaches whom and who owns which stream, without a query.

A Directory is a snapshot and never changes; `Directories` holds the newest and takes another after every
event that concerns it. Decisions and streams ask it thousands of times a second.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import sqlalchemy as sa

from headrace.access.events import AccessEvent, Events
from headrace.access.tenancy._tables import org, ownership, reach
from headrace.access.tenancy.kinds import OrgKind, OrgState
from headrace.access.tenancy.ownership import SEPARATOR, prefixes, tag_resource
from headrace.access.tenancy.scope import Scope
from headrace.kernel.clock import NS_PER_S

_FRESH_S = 2.0  # a missed event is made good within this time


class Directory:
    """One consistent state of organisations and of the ownership of tags and subjects."""

    def __init__(
        self,
        kinds: Mapping[str, OrgKind],
        tenants: Mapping[str, str],
        active: frozenset[str],
        above: Mapping[str, frozenset[str]],
        owners: Mapping[tuple[str, str], str],
    ) -> None:
        self._kinds = kinds
        self._tenants = tenants
        self._active = active
        self._above = above
        self._owners = owners

    @classmethod
    def load(cls, connection: sa.Connection) -> Directory:
        kinds, tenants, active = {}, {}, set()
        for row in connection.execute(sa.select(org.c.id, org.c.kind, org.c.tenant, org.c.state)):
            kinds[row.id], tenants[row.id] = OrgKind(row.kind), row.tenant
            if row.state == OrgState.ACTIVE:
                active.add(row.id)
        above: dict[str, set[str]] = {}
        for upper, below in connection.execute(sa.select(reach.c.above, reach.c.below)):
            above.setdefault(below, set()).add(upper)
        paths = sa.select(ownership.c.kind, ownership.c.resource, ownership.c.org)
        owned = connection.execute(paths.where(ownership.c.kind.in_(list(SEPARATOR))))
        owners = {(row.kind, row.resource): row.org for row in owned}
        frozen = {below: frozenset(orgs) for below, orgs in above.items()}
        return cls(kinds, tenants, frozenset(active), frozen, owners)

    def kind(self, id: str) -> OrgKind | None:
        return self._kinds.get(id)

    def tenant(self, id: str) -> str:
        """The tenant of an organisation, "" where it is unknown."""
        return self._tenants.get(id, "")

    def active(self, id: str) -> bool:
        """Whether it, and all above it within its tenant, are active: only then do roles in it count."""
        return id in self._above and self._above[id] <= self._active

    def above(self, id: str) -> frozenset[str]:
        """The organisations whose members reach `id`: itself and what it lies below within its tenant."""
        return self._above.get(id, frozenset())

    def covers(self, scope: Scope, id: str) -> bool:
        """Whether organisation `id` is in scope."""
        if scope.node:
            return id in self._kinds
        return not self.above(id).isdisjoint(scope.roots)

    def owner(self, kind: str, resource: str) -> str:
        """The owner of a tag or subject by its longest owned prefix, "" where nobody owns it."""
        for prefix in prefixes(kind, resource):
            found = self._owners.get((kind, prefix))
            if found is not None:
                return found
        return ""

    def admits(self, scope: Scope, kind: str, resource: str) -> bool:
        """Whether the owner of a tag or subject is in scope. What nobody owns is admitted to the node alone;
        every message of a stream has to be asked for, since a subscription by wildcard spans owners."""
        if scope.node:
            return True
        owner = self.owner(kind, resource)
        return owner != "" and self.covers(scope, owner)

    def admits_tag(self, scope: Scope, node: str, name: str) -> bool:
        """`admits` for a tag of a node."""
        return self.admits(scope, "tag", tag_resource(node, name))


class Directories:
    """The newest Directory. Thread-safe."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._newest: Directory | None = None
        self._loaded = 0  # monotonic
        self._generation = 0
        events.listen(self._changed)

    def now(self) -> Directory:
        """A snapshot that holds every change this process has heard of, and no change later than two seconds
        ago is missing from it."""
        with self._lock:
            generation, newest = self._generation, self._newest
            age = self._events.clock.monotonic() - self._loaded
        if newest is not None and age < _FRESH_S * NS_PER_S:
            return newest
        began = self._events.clock.monotonic()
        with self._events.records.read() as connection:
            newest = Directory.load(connection)
        with self._lock:
            if self._generation == generation:  # else it may already be old: keep it for this answer only
                self._newest, self._loaded = newest, began
        return newest

    def _changed(self, event: AccessEvent) -> None:
        if event.kind.startswith(("org.", "ownership.")):
            with self._lock:
                self._generation += 1
                self._newest = None
