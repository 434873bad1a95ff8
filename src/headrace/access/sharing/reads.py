"""What was read under grants: who, when, what, under which grant, for what, how many points.

Each read is an entry of the audit log, so it cannot be changed unseen, and a row here that can be counted;
both are written in one transaction, and `check` compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.audit import Act, AuditLog, Entry, canonical
from headrace.access.audit import _tables as audit_tables
from headrace.access.sharing import _tables as t
from headrace.access.sharing.terms import KIND, Purpose, Subject, Use
from headrace.access.tenancy import Scope
from headrace.kernel.errors import Corrupt

ACTION_READ = "share.read"
ACTION_AGGREGATED = "share.aggregated"
_LONGEST_PAGE = 1000
_BATCH = 2000


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """One read. `sequence` is its entry in the audit log, `time` UTC ns. `start`, `end`, `every`: of a
    series, what was served. `table`: the table that an aggregated figure went into."""

    sequence: int
    time: int
    grant: str
    owner: str
    grantee: str
    actor: str
    actor_name: str
    subject: Subject
    resource: str
    use: Use
    purpose: Purpose
    points: int
    start: int | None = None
    end: int | None = None
    every: int | None = None
    table: str = ""


class ReadQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to look for; an empty field does not narrow. `start`..`end` UTC ns of the read, half open;
    `before`: only reads older than that sequence (from the page before)."""

    start: int | None = None
    end: int | None = None
    grant: str = ""
    grantee: str = ""
    resource: str = ""
    use: str = ""
    purpose: str = ""
    before: int | None = None


class ReadSummary(msgspec.Struct, frozen=True):
    """How much of one resource one grantee has read under one grant."""

    grant: str
    grantee: str
    subject: Subject
    resource: str
    use: Use
    purpose: Purpose
    reads: int
    points: int
    first: int
    last: int


class Reads:
    """The reads of a node. Thread-safe."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._records = log.records

    def record(self, reads: Sequence[Read], *, request: str = "", address: str = "") -> list[int]:
        """Write reads down, durable when it returns; their sequences in the audit log."""
        if not reads:
            return []
        acts = [_act(read, request, address) for read in reads]
        with self._records.begin() as connection:
            entries = self._log.append_in(connection, acts)
            rows = [
                {**msgspec.to_builtins(read), "sequence": entry.sequence, "time": entry.time}
                for read, entry in zip(reads, entries, strict=True)
            ]
            connection.execute(sa.insert(t.read), rows)
        return [entry.sequence for entry in entries]

    def page(
        self, query: ReadQuery, scope: Scope, *, limit: int = 100, side: str = "owner"
    ) -> tuple[list[Read], int | None]:
        """What others have read of the owners in scope, the newest first, and the `before` of the next page.
        `side` "grantee": what those in scope have read of others."""
        limit = max(1, min(limit, _LONGEST_PAGE))
        chosen = sa.select(t.read).where(*_where(query, scope, side))
        chosen = chosen.order_by(t.read.c.sequence.desc()).limit(limit + 1)
        with self._records.read() as connection:
            found = [_read(row) for row in connection.execute(chosen)]
        return found[:limit], found[limit - 1].sequence if len(found) > limit else None

    def summary(self, query: ReadQuery, scope: Scope, *, side: str = "owner") -> list[ReadSummary]:
        """The same added up by grant, grantee and resource, most points first: the page on which a firm sees
        exactly what others have read. At most a thousand lines."""
        c = t.read.c
        keys = (c.grant, c.grantee, c.subject, c.resource, c.use, c.purpose)
        points = sa.func.sum(c.points)
        chosen = sa.select(*keys, sa.func.count(), points, sa.func.min(c.time), sa.func.max(c.time))
        chosen = chosen.where(*_where(query, scope, side)).group_by(*keys)
        with self._records.read() as connection:
            rows = connection.execute(chosen.order_by(points.desc(), *keys).limit(_LONGEST_PAGE)).all()
        return [
            ReadSummary(
                row[0], row[1], Subject(row[2]), row[3], Use(row[4]), Purpose(row[5]), int(row[6]),
                int(row[7]), int(row[8]), int(row[9]),
            )
            for row in rows
        ]  # fmt: skip

    def check(self) -> int:
        """Compare the rows with the audit log; how many there are. Raises Corrupt (`share.reads_differ`) at
        the first one that was changed, removed or put in. The log itself is checked by `audit.verify`."""
        entry = audit_tables.entry.c
        joined = (
            sa.select(*audit_tables.CONTENT, *(c.label(f"read_{c.name}") for c in t.read.c))
            .select_from(audit_tables.entry.outerjoin(t.read, t.read.c.sequence == entry.sequence))
            .where(entry.action.in_([ACTION_READ, ACTION_AGGREGATED]), entry.outcome == "done")
            .order_by(entry.sequence)
            .limit(_BATCH)
        )
        checked, after = 0, 0
        with self._records.read() as connection:
            oldest = connection.scalar(sa.select(sa.func.min(entry.sequence))) or 0
            while rows := connection.execute(joined.where(entry.sequence > after)).all():
                for row in rows:
                    if not _agree(row):
                        raise Corrupt("share.reads_differ", sequence=row.sequence)
                checked, after = checked + len(rows), rows[-1].sequence
            held = sa.select(sa.func.count()).select_from(t.read).where(t.read.c.sequence >= oldest)
            if connection.scalar(held) != checked:
                raise Corrupt("share.reads_differ", sequence=after)
        return checked


def _where(query: ReadQuery, scope: Scope, side: str) -> list[sa.ColumnElement[bool]]:
    c = t.read.c
    found = [scope.where(c.grantee if side == "grantee" else c.owner)]
    if query.start is not None:
        found.append(c.time >= query.start)
    if query.end is not None:
        found.append(c.time < query.end)
    if query.before is not None:
        found.append(c.sequence < query.before)
    for name in ("grant", "grantee", "resource", "use", "purpose"):
        if value := getattr(query, name):
            found.append(c[name] == value)
    return found


def _act(read: Read, request: str, address: str) -> Act:
    details: dict[str, Any] = {"points": read.points, "purpose": read.purpose.value, "use": read.use.value}
    for name in ("start", "end", "every"):
        value = getattr(read, name)
        if value is not None:
            details[name] = str(value)
    if read.table:
        details["table"] = read.table
    return Act(
        actor=read.actor,
        actor_name=read.actor_name,
        actor_org=read.grantee,
        action=ACTION_READ if read.use is Use.READ else ACTION_AGGREGATED,
        resource=f"{KIND[read.subject]}:{read.resource}",
        org=read.owner,
        basis=f"grant:{read.grant}",
        request=request,
        address=address,
        details=details,
    )


def _read(row: Any, prefix: str = "") -> Read:
    return msgspec.convert({name: getattr(row, prefix + name) for name in Read.__struct_fields__}, Read)


def _agree(row: Any) -> bool:
    """Whether a row says what its entry says."""
    if row.read_sequence is None:
        return False
    try:
        read = _read(row, "read_")
    except msgspec.ValidationError:
        return False
    entry = Entry(**{c.name: getattr(row, c.name) for c in audit_tables.CONTENT})
    act = _act(read, entry.request, entry.address)
    same = ("actor", "actor_name", "actor_org", "action", "resource", "org", "basis")
    return (
        read.time == entry.time
        and all(getattr(act, name) == getattr(entry, name) for name in same)
        and canonical(act.details) == entry.details
    )
