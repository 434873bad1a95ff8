"""Whether the log is what was written: every entry is recomputed and the first bad one named.

What the chain alone shows: an entry changed, removed, put in, or moved, and an end cut off behind the head
row. Somebody who may write everything in the database can cut the end off or recompute all hashes from some
entry on; that shows against an anchored head, kept where that somebody cannot write (see `anchors`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import sqlalchemy as sa

from headrace.access.audit import _tables as t
from headrace.access.audit.record import (
    GENESIS,
    MIN_RETENTION_DAYS,
    PRUNED,
    Entry,
    Head,
    hash_of,
    search_text,
)
from headrace.kernel import messages
from headrace.kernel.clock import NS_PER_S, iso
from headrace.records import Records

_BATCH = 2000


class FaultKind(enum.StrEnum):
    """What is wrong at an entry."""

    CHANGED = "changed"  # its content is not what was hashed
    REMOVED = "removed"  # it is missing
    MOVED = "moved"  # content and chain both say that it stood elsewhere: reordered, or others put in before
    INSERTED = "inserted"  # rightly hashed, but it does not follow the entry before it
    TRUNCATED = "truncated"  # the log ends before a head that it had
    REWRITTEN = "rewritten"  # rightly chained, but not the entry that was anchored
    UNINDEXED = "unindexed"  # what search looks through is not what the entry says
    BASE = "base"  # entries were removed from the beginning without the record of it


_CODES = {
    FaultKind.CHANGED: "audit.fault.changed",
    FaultKind.REMOVED: "audit.fault.removed",
    FaultKind.MOVED: "audit.fault.moved",
    FaultKind.INSERTED: "audit.fault.inserted",
    FaultKind.TRUNCATED: "audit.fault.truncated",
    FaultKind.REWRITTEN: "audit.fault.rewritten",
    FaultKind.UNINDEXED: "audit.fault.unindexed",
    FaultKind.BASE: "audit.fault.base",
}


class Fault(msgspec.Struct, frozen=True):
    """The first bad entry. `since`: for a rewritten log, the newest anchor before it that still holds."""

    kind: FaultKind
    sequence: int
    since: int = 0
    anchor: str = ""

    @property
    def code(self) -> str:
        return _CODES[self.kind]

    def text(self, lang: str = "en") -> str:
        return messages.render(self.code, lang, sequence=self.sequence, since=self.since, anchor=self.anchor)


class Verdict(msgspec.Struct, frozen=True):
    """What a check found. `first`..`last`: the entries looked at; `anchors`: how many anchored heads were
    met; `removed_before`: entries up to here were removed by retention, and the log says so itself."""

    ok: bool
    checked: int
    first: int
    last: int
    head: Head
    anchors: int
    removed_before: int
    fault: Fault | None = None

    def text(self, lang: str = "en") -> str:
        if self.fault is not None:
            return self.fault.text(lang)
        return messages.render(
            "audit.intact", lang, count=self.checked, last=self.last, hash=self.head.hash[:16],
            time=iso(self.head.time), anchors=self.anchors,
        )  # fmt: skip


def verify(
    records: Records,
    *,
    anchors: Iterable[Head] = (),
    after: Head | None = None,
    retention_days: int = MIN_RETENTION_DAYS,
) -> Verdict:
    """Check the log up to the head it has now. `after`: begin behind an entry known to be right (its head),
    for a check that is cheap and often; None checks from the first entry that retention has left.
    `retention_days`: no removed entry may have been younger.

    Reads in one consistent state, beside writers; about 2 kB of memory an entry of a batch of 2000.
    """
    known = sorted(set(anchors), key=lambda a: a.sequence)
    with records.read() as connection:
        row = connection.execute(sa.select(t.head).where(t.head.c.id == 1)).first()
        if row is None:
            return _verdict(Head(0, GENESIS, 0), 0, 0, Fault(FaultKind.TRUNCATED, 1, anchor="audit_head"))
        head = Head(int(row.sequence), row.hash, int(row.time))
        base = Head(int(row.base_sequence), row.base_hash, int(row.base_time))
        if fault := _base_fault(connection, base, known, retention_days):
            return _verdict(head, 0, base.sequence, fault)
        begin = after if after is not None and after.sequence > base.sequence else base
        chain = _Chain(begin, [a for a in known if a.sequence >= begin.sequence])
        for entry, search in _entries(connection, begin.sequence):
            if fault := chain.next(entry, search):
                return _verdict(head, chain.checked, base.sequence, fault, chain)
        fault = chain.end(head)
    return _verdict(head, chain.checked, base.sequence, fault, chain)


class _Chain:
    """Entries one after the other, each against the one before, pure."""

    def __init__(self, begin: Head, anchors: Sequence[Head]) -> None:
        self.begin = begin
        self.previous = begin
        self.checked = 0
        self.met = 0
        self._anchors = list(anchors)
        self._held = 0  # the newest anchor that holds
        self._fault = self._anchored(begin)

    def next(self, entry: Entry, search: str) -> Fault | None:
        """What is wrong with `entry`, which came next."""
        if self._fault is not None:
            return self._fault
        expected = self.previous.sequence + 1
        if entry.sequence != expected:
            return Fault(FaultKind.REMOVED, expected)
        right = hash_of(entry) == entry.hash
        follows = entry.previous == self.previous.hash
        if not (right and follows):
            kind = FaultKind.INSERTED if right else FaultKind.CHANGED if follows else FaultKind.MOVED
            return Fault(kind, entry.sequence)
        if search_text(entry) != search:
            return Fault(FaultKind.UNINDEXED, entry.sequence)
        self.previous = Head(entry.sequence, entry.hash, entry.time)
        self.checked += 1
        return self._anchored(self.previous)

    def end(self, head: Head) -> Fault | None:
        """What is wrong where the entries end and the head row says `head`."""
        if self._fault is not None:
            return self._fault
        last = self.previous
        if head.sequence > last.sequence:
            return Fault(FaultKind.TRUNCATED, last.sequence + 1, anchor=str(head.sequence))
        if head.sequence < last.sequence:  # more entries than writers ever committed
            return Fault(FaultKind.INSERTED, head.sequence + 1)
        if head.hash != last.hash:
            return Fault(FaultKind.REWRITTEN, last.sequence, self._held, "audit_head")
        if self._anchors:
            return Fault(FaultKind.TRUNCATED, last.sequence + 1, anchor=str(self._anchors[-1].sequence))
        return None

    def _anchored(self, at: Head) -> Fault | None:
        while self._anchors and self._anchors[0].sequence == at.sequence:
            anchor = self._anchors.pop(0)
            if anchor.hash != at.hash:
                return Fault(FaultKind.REWRITTEN, at.sequence, self._held, str(anchor.sequence))
            self._held = at.sequence
            self.met += 1
        return None


def _base_fault(
    connection: sa.Connection, base: Head, anchors: Sequence[Head], kept_days: int
) -> Fault | None:
    """The base counts only where an entry of the log itself tells of that removal, and where nothing that
    was removed was younger than the rule allows."""
    if base.sequence == 0:
        return None if base.hash == GENESIS else Fault(FaultKind.BASE, 1)
    marks = [f'"base":{base.sequence},', f'"base_hash":"{base.hash}"', f'"base_time":"{base.time}"']
    query = sa.select(t.entry.c.time).where(
        t.entry.c.action == PRUNED,
        t.entry.c.sequence > base.sequence,
        *(t.entry.c.details.contains(mark, autoescape=True) for mark in marks),
    )
    told = connection.execute(query.order_by(t.entry.c.sequence)).first()
    if told is None:
        return Fault(FaultKind.BASE, base.sequence + 1)
    youngest = max([base.time, *(a.time for a in anchors if a.sequence <= base.sequence)])
    if told.time - youngest < kept_days * 86_400 * NS_PER_S:
        return Fault(FaultKind.BASE, base.sequence + 1)
    return None


def _entries(connection: sa.Connection, after: int) -> Iterator[tuple[Entry, str]]:
    """All entries behind `after` with their search text, in order, read in batches."""
    query = sa.select(*t.CONTENT, t.entry.c.search).order_by(t.entry.c.sequence).limit(_BATCH)
    while True:
        rows = connection.execute(query.where(t.entry.c.sequence > after)).all()
        for row in rows:
            *content, search = row
            yield Entry(**dict(zip(_FIELDS, content, strict=True))), search
        if len(rows) < _BATCH:
            return
        after = rows[-1].sequence


_FIELDS = tuple(c.name for c in t.CONTENT)


def _verdict(
    head: Head, checked: int, removed_before: int, fault: Fault | None, chain: _Chain | None = None
) -> Verdict:
    first = chain.begin.sequence + 1 if chain else removed_before + 1
    last = chain.previous.sequence if chain else removed_before
    met = chain.met if chain else 0
    return Verdict(fault is None, checked, first, last, head, met, removed_before, fault)
