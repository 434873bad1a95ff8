"""The log itself: acts go in, in batches and from any process, and entries are found again.

Writers of all processes take turns: the row of the head is locked until the transaction that appends commits,
so sequence and hash of the entry before are never guessed. An entry is durable when `append` returns; with
`append_in` it commits together with the act it tells of, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.audit import _tables as t
from headrace.access.audit.actions import titles
from headrace.access.audit.record import Act, Entry, Head, Outcome, entry_of, fold, search_text
from headrace.access.events import AccessEvent
from headrace.access.tenancy.scope import Scope
from headrace.kernel.clock import Clock
from headrace.kernel.errors import Corrupt, InputError, NotFound
from headrace.kernel.messages import Text
from headrace.records import Records

_LONGEST_PAGE = 1000
_OUTCOME_TITLES = {
    Outcome.DONE: Text("成功", "done"),
    Outcome.DENIED: Text("拒绝", "denied"),
    Outcome.FAILED: Text("失败", "failed"),
    Outcome.PENDING: Text("待批准", "pending"),
}


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to look for; an empty field does not narrow. `text`: every word has to stand in the entry, or in
    the Chinese or English title of its action or outcome. `start`..`end`: UTC ns, half open. `resource` and
    `basis` may end in "*". `before`: only entries older than that sequence (from `Page.next`)."""

    text: str = ""
    start: int | None = None
    end: int | None = None
    actor: str = ""
    action: str = ""  # exact, or a group as "session.*"
    outcome: str = ""
    resource: str = ""
    basis: str = ""
    org: str = ""
    request: str = ""
    before: int | None = None


class Page(msgspec.Struct, frozen=True):
    """Entries, the newest first; `next` is the `before` of the page that follows, None at the end."""

    items: list[Entry]
    next: int | None


class AuditLog:
    """The log in one records database. Threads may share it; processes open their own records."""

    def __init__(self, records: Records, clock: Clock, *, titles: Mapping[str, Text] | None = None) -> None:
        self.records = records
        self.clock = clock
        self._titles = titles

    # --- in ------------------------------------------------------------------------------------------------

    def append(self, acts: Sequence[Act]) -> list[Entry]:
        """Add `acts` in order; durable when it returns. Raises what Records.begin raises."""
        if not acts:
            return []
        with self.records.begin() as connection:
            return self.append_in(connection, acts)

    def append_in(self, connection: sa.Connection, acts: Sequence[Act]) -> list[Entry]:
        """The same within the caller's write transaction. Other writers wait until it ends, so do it last."""
        found = connection.execute(sa.select(t.head).where(t.head.c.id == 1).with_for_update()).first()
        if found is None:
            raise Corrupt("audit.no_head")
        now, sequence, previous = self.clock.now(), int(found.sequence), str(found.hash)
        entries: list[Entry] = []
        for act in acts:
            sequence += 1
            entry = entry_of(act, sequence, now, previous)
            entries.append(entry)
            previous = entry.hash
        if entries:
            rows = [{**msgspec.structs.asdict(e), "search": search_text(e)} for e in entries]
            connection.execute(sa.insert(t.entry), rows)
            new = {"sequence": sequence, "hash": previous, "time": now}
            connection.execute(sa.update(t.head).where(t.head.c.id == 1).values(new))
        return entries

    def record_event(self, connection: sa.Connection, event: AccessEvent) -> None:
        """A recorder of `access.events.Events`: each change of access becomes an entry in its transaction."""
        details: dict[str, Any] = dict(event.detail)
        act = Act(
            actor=event.by or "node",
            action=event.kind,
            resource=event.subject,
            org=event.org,
            actor_name=details.pop("actor_name", ""),
            actor_org=details.pop("actor_org", ""),
            reason=details.pop("reason", ""),
            basis=details.pop("basis", ""),
            request=details.pop("request", ""),
            address=details.pop("address", ""),
            outcome=Outcome(details.pop("outcome", Outcome.DONE)),
            details=details,
        )
        self.append_in(connection, [act])

    # --- out -----------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """The newest entry: what is anchored elsewhere so that the past cannot be rewritten unseen."""
        with self.records.read() as connection:
            found = connection.execute(sa.select(t.head).where(t.head.c.id == 1)).first()
        if found is None:
            raise Corrupt("audit.no_head")
        return Head(int(found.sequence), found.hash, int(found.time))

    def get(self, sequence: int, scope: Scope) -> Entry:
        """Raises NotFound (`audit.no_entry`), also where it lies outside `scope`."""
        query = sa.select(*t.CONTENT).where(t.entry.c.sequence == sequence, seen_by(scope))
        with self.records.read() as connection:
            found = connection.execute(query).first()
        if found is None:
            raise NotFound("audit.no_entry", sequence=sequence)
        return entry_of_row(found)

    def search(self, query: Query, scope: Scope, *, limit: int = 100) -> Page:
        """The newest entries that match and that `scope` may see: those whose `org` or `actor_org` lies in
        it, or all for the whole node. Raises InputError (`audit.bad_query`)."""
        limit = max(1, min(limit, _LONGEST_PAGE))
        chosen = sa.select(*t.CONTENT).where(seen_by(scope), *self.conditions(query))
        chosen = chosen.order_by(t.entry.c.sequence.desc()).limit(limit + 1)
        with self.records.read() as connection:
            entries = [entry_of_row(row) for row in connection.execute(chosen)]
        more = len(entries) > limit
        return Page(entries[:limit], entries[limit - 1].sequence if more else None)

    def conditions(self, query: Query) -> list[sa.ColumnElement[bool]]:
        """The WHERE of a query, scope aside."""
        c = t.entry.c
        found: list[sa.ColumnElement[bool]] = []
        if query.start is not None:
            found.append(c.time >= query.start)
        if query.end is not None:
            found.append(c.time < query.end)
        if query.before is not None:
            found.append(c.sequence < query.before)
        for name in ("actor", "org", "request"):
            if value := getattr(query, name):
                found.append(c[name] == value)
        for name in ("action", "resource", "basis"):
            if value := getattr(query, name):
                found.append(_maybe_prefix(c[name], value))
        if query.outcome:
            if query.outcome not in list(Outcome):
                raise InputError("audit.bad_query", field="outcome", value=query.outcome)
            found.append(c.outcome == query.outcome)
        for word in fold(query.text).split():
            found.append(self._word(word))
        return found

    def _word(self, word: str) -> sa.ColumnElement[bool]:
        known = titles() if self._titles is None else self._titles
        actions = [a for a, text in known.items() if word in fold(text.zh) or word in fold(text.en)]
        outcomes = [o.value for o, text in _OUTCOME_TITLES.items() if word in (text.zh, text.en)]
        c = t.entry.c
        return sa.or_(
            c.search.contains(word, autoescape=True), c.action.in_(actions), c.outcome.in_(outcomes)
        )


def seen_by(scope: Scope) -> sa.ColumnElement[bool]:
    """The entries a scope may see. Entries of the node itself (`org` "") are the node's alone."""
    if scope.node:
        return sa.true()
    return sa.or_(scope.where(t.entry.c.org), scope.where(t.entry.c.actor_org))


def entry_of_row(row: Any) -> Entry:
    """An Entry of a row of `_tables.CONTENT`."""
    return Entry(**row._mapping)


def _maybe_prefix(column: sa.ColumnElement[str], value: str) -> sa.ColumnElement[bool]:
    if not value.endswith("*"):
        return column == value
    return column.startswith(value[:-1], autoescape=True)
