"""Entries as files that prove themselves: JSON lines, exact, and CSV for spreadsheets.

JSON lines: a header object, one canonical entry a line with its hash, a closing proof. `verify_export` needs
the file and nothing else; who holds an anchored head compares it with the proof's. CSV is followed by the
same proof in a separate object, since CSV has no place for it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import msgspec
import sqlalchemy as sa

from headrace.access.audit import _tables as t
from headrace.access.audit.actions import title
from headrace.access.audit.log import AuditLog, Query, entry_of_row, seen_by
from headrace.access.audit.record import GENESIS, Entry, Head, canonical, hash_of, of_json, to_json
from headrace.access.tenancy.scope import Scope
from headrace.kernel.clock import iso
from headrace.kernel.errors import Corrupt

FORMAT = "headrace-audit"
_BATCH = 2000
_CSV_FIELDS = (
    "sequence", "time", "action", "title", "outcome", "actor", "actor_name", "actor_org", "resource", "org",
    "reason", "basis", "request", "address", "details", "previous", "hash",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Sink(Protocol):
    def write(self, data: bytes, /) -> Any: ...


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The proof of an export. `head`: the log's head when it was made; `contiguous`: every entry from
    `first` to `last` is there, so that links are proven and not only contents. `sha256` is of all bytes
    before the proof (of the whole file, for CSV)."""

    count: int
    first: int
    last: int
    contiguous: bool
    previous: str  # the hash before `first`
    last_hash: str
    head: Head
    sha256: str


def export_jsonl(log: AuditLog, out: BinaryIO, query: Query, scope: Scope) -> Exported:
    """Write the entries that match and that `scope` may see, the oldest first, with header and proof."""
    sink = _Digest(out)
    header = {"columns": list(Entry.__struct_fields__), "format": FORMAT, "version": 1}
    sink.write(canonical(header).encode() + b"\n")
    tally = _Tally()
    head = log.head()
    for entry in _matching(log, query, scope, head):
        tally.add(entry)
        sink.write(to_json(entry).encode() + b"\n")
    proof = tally.proof(head, sink.hexdigest())
    out.write(canonical({"proof": _proof_json(proof)}).encode() + b"\n")
    return proof


def export_csv(log: AuditLog, out: BinaryIO, query: Query, scope: Scope, *, lang: str = "zh") -> Exported:
    """The same as CSV (RFC 4180, UTF-8 with a byte order mark, which Excel wants for Chinese). A cell that a
    spreadsheet would take for a formula is preceded by an apostrophe; JSON lines is the exact form."""
    sink = _Digest(out)
    sink.write(b"\xef\xbb\xbf" + _csv_line(_CSV_FIELDS))
    tally = _Tally()
    head = log.head()
    for entry in _matching(log, query, scope, head):
        tally.add(entry)
        cells = {**msgspec.structs.asdict(entry), "time": iso(entry.time), "title": title(entry.action, lang)}
        sink.write(_csv_line([_harmless(str(cells[name])) for name in _CSV_FIELDS]))
    return tally.proof(head, sink.hexdigest())


def proof_json(proof: Exported) -> str:
    """A proof as canonical JSON, to be kept beside a CSV."""
    return canonical({"proof": _proof_json(proof)})


def verify_export(file: BinaryIO, *, anchors: dict[int, str] | None = None) -> Exported:
    """Check an export in JSON lines by itself, streaming; its proof where all is well.

    `anchors`: hashes by sequence that are known from elsewhere. Raises Corrupt (`audit.export_bad`) that
    names the first bad line.
    """
    digest, tally = hashlib.sha256(), _Tally()
    pending: bytes | None = None
    number = 0
    for number, line in enumerate(file, 1):
        if pending is not None:
            digest.update(pending)
            if number > 2:
                _check_line(pending, number - 1, tally, anchors or {})
            elif f'"format":"{FORMAT}"'.encode() not in pending:
                raise Corrupt("audit.export_bad", line=1, reason="header")
        pending = line
    try:
        raw = msgspec.json.decode(pending or b"")["proof"]
        raw["head"]["time"] = int(raw["head"]["time"])
        claimed = msgspec.convert(raw, Exported)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise Corrupt("audit.export_bad", line=number, reason="proof") from None
    found = tally.proof(claimed.head, digest.hexdigest())
    beyond = found.last == claimed.head.sequence and found.last_hash != claimed.head.hash
    if (
        found != claimed
        or beyond
        or (anchors or {}).get(claimed.head.sequence, claimed.head.hash) != (claimed.head.hash)
    ):
        raise Corrupt("audit.export_bad", line=number, reason="proof")
    return claimed


def _check_line(line: bytes, number: int, tally: _Tally, anchors: dict[int, str]) -> None:
    try:
        entry = of_json(line)
    except ValueError:
        raise Corrupt("audit.export_bad", line=number, reason="entry") from None
    if to_json(entry).encode() + b"\n" != line or hash_of(entry) != entry.hash:
        raise Corrupt("audit.export_bad", line=number, reason="hash")
    if entry.sequence <= tally.last or not tally.follows(entry):
        raise Corrupt("audit.export_bad", line=number, reason="order")
    if anchors.get(entry.sequence, entry.hash) != entry.hash:
        raise Corrupt("audit.export_bad", line=number, reason="anchor")
    tally.add(entry)


class _Tally:
    """What the proof says, counted as entries pass."""

    def __init__(self) -> None:
        self.count = 0
        self.first = 0
        self.last = 0
        self.previous = GENESIS
        self.last_hash = GENESIS
        self._contiguous = True

    def follows(self, entry: Entry) -> bool:
        """False where `entry` claims the next place but not the link to the entry before."""
        return self.count == 0 or entry.sequence != self.last + 1 or entry.previous == self.last_hash

    def add(self, entry: Entry) -> None:
        if self.count == 0:
            self.first, self.previous = entry.sequence, entry.previous
        elif entry.sequence != self.last + 1:
            self._contiguous = False
        self.count += 1
        self.last, self.last_hash = entry.sequence, entry.hash

    def proof(self, head: Head, sha256: str) -> Exported:
        return Exported(
            count=self.count, first=self.first, last=self.last, contiguous=self._contiguous,
            previous=self.previous, last_hash=self.last_hash, head=head, sha256=sha256,
        )  # fmt: skip


class _Digest:
    def __init__(self, out: _Sink) -> None:
        self._out = out
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._out.write(data)

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def _matching(log: AuditLog, query: Query, scope: Scope, head: Head) -> Iterator[Entry]:
    """Oldest first, up to `head`, in batches each of its own transaction: what is appended meanwhile does
    not matter, and nothing else can change."""
    conditions = [seen_by(scope), *log.conditions(query), t.entry.c.sequence <= head.sequence]
    chosen = sa.select(*t.CONTENT).where(*conditions).order_by(t.entry.c.sequence).limit(_BATCH)
    after = 0
    while True:
        with log.records.read() as connection:
            entries = [entry_of_row(r) for r in connection.execute(chosen.where(t.entry.c.sequence > after))]
        yield from entries
        if len(entries) < _BATCH:
            return
        after = entries[-1].sequence


def _proof_json(proof: Exported) -> dict[str, Any]:
    raw: dict[str, Any] = msgspec.to_builtins(proof)
    raw["head"]["time"] = str(proof.head.time)
    return raw


def _csv_line(cells: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()


def _harmless(cell: str) -> str:
    return "'" + cell if cell.startswith(_FORMULA) else cell
