"""The audit of writes: a row before anything is done ("intent"), completed by what became of it.

A row that still says intent after a crash is a write of which nobody knows whether it was done; it is never
removed or rewritten otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.api.values import JsonValue, to_json
from headrace.api.views import AuditedWrite
from headrace.kernel import messages
from headrace.kernel.clock import iso
from headrace.records import Records

_write = sa.Table(
    "api_write",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("request", sa.Text),
    sa.Column("time", sa.BigInteger),
    sa.Column("by", sa.Text),
    sa.Column("address", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("tag", sa.Text),
    sa.Column("machine", sa.Text),
    sa.Column("value", sa.Text),
    sa.Column("before", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("readback", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("params", sa.Text),
    sa.Column("done", sa.BigInteger),
)


class Intent(msgspec.Struct, frozen=True):
    """One value that somebody wants written; `before` is the value last read."""

    tag: str
    machine: str
    value: JsonValue
    before: JsonValue


class Outcome(msgspec.Struct, frozen=True):
    """What became of it. `code` is a row of the message table where it is not `ok`."""

    ok: bool
    readback: JsonValue = None
    code: str = ""
    params: dict[str, Any] = {}


class Audit:
    """The rows in records. Threads may share it."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def intend(
        self, request: str, intents: Sequence[Intent], *, by: str, address: str, reason: str, time: int
    ) -> list[int]:
        """Durable when it returns: the ids of the rows, in order."""
        common = {"request": request, "by": by, "address": address, "reason": reason, "time": time}
        with self._records.begin() as connection:
            ids = []
            for intent in intents:
                row = {
                    "tag": intent.tag,
                    "machine": intent.machine,
                    "value": _text(intent.value),
                    "before": _text(intent.before),
                    "state": "intent",
                }
                done = connection.execute(sa.insert(_write).values(**common, **row))
                key = done.inserted_primary_key
                assert key is not None
                ids.append(int(key[0]))
        return ids

    def complete(self, ids: Sequence[int], outcomes: Sequence[Outcome], *, time: int) -> None:
        """Say what became of the intents, in their order."""
        with self._records.begin() as connection:
            for id_, outcome in zip(ids, outcomes, strict=True):
                connection.execute(
                    sa.update(_write)
                    .where(_write.c.id == id_)
                    .values(
                        state="ok" if outcome.ok else "failed",
                        readback=_text(outcome.readback),
                        code=outcome.code,
                        params=msgspec.json.encode(outcome.params, enc_hook=str).decode(),
                        done=time,
                    )
                )

    def page(
        self, *, machine: str | None = None, tag: str | None = None, limit: int, offset: int
    ) -> tuple[list[AuditedWrite], int]:
        """Newest first, and how many there are in all."""
        where = []
        if machine is not None:
            where.append(_write.c.machine == machine)
        if tag is not None:
            where.append(_write.c.tag == tag)
        with self._records.read() as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(_write).where(*where))
            rows = connection.execute(
                sa.select(_write).where(*where).order_by(_write.c.id.desc()).limit(limit).offset(offset)
            )
            return [_view(row) for row in rows], int(total.scalar_one())


def _text(value: JsonValue) -> str:
    return msgspec.json.encode(to_json(value)).decode()


def _view(row: Any) -> AuditedWrite:
    code, params = row.code or "", msgspec.json.decode(row.params or "{}")
    if row.state == "intent":
        code = "api.write_unfinished"
    return AuditedWrite(
        id=str(row.id),
        request=row.request,
        time=iso(row.time),
        by=row.by,
        reason=row.reason,
        tag=row.tag,
        machine=row.machine,
        value=msgspec.json.decode(row.value),
        before=msgspec.json.decode(row.before or "null"),
        ok=row.state == "ok",
        readback=msgspec.json.decode(row.readback or "null"),
        code=code or None,
        zh=messages.render(code, "zh", **params) if code else "",
        en=messages.render(code, "en", **params) if code else "",
    )
