"""Entries are kept at least six months (`record.MIN_RETENTION_DAYS`), whatever the configuration says; what
goes is archived first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
import sqlalchemy as sa

from headrace.access.audit import _tables as t
from headrace.access.audit.anchors import sync_folder
from headrace.access.audit.export import Exported, export_jsonl
from headrace.access.audit.log import AuditLog, Query
from headrace.access.audit.record import MIN_RETENTION_DAYS, PRUNED, Act
from headrace.access.tenancy.scope import Scope
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import InputError, Unavailable


class AuditRetention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long entries stay in the database. The bound is part of the type: a configuration below it is
    refused when it is read, and `prune` refuses it again."""

    days: Annotated[int, msgspec.Meta(ge=MIN_RETENTION_DAYS)] = 365


class Removed(msgspec.Struct, frozen=True):
    """What `prune` did: entries `first`..`last` are in `archive` and no longer in the database."""

    first: int
    last: int
    archive: Path
    exported: Exported


def prune(
    log: AuditLog, retention: AuditRetention, folder: Path, *, by: str, request: str = ""
) -> Removed | None:
    """Move what is older than `retention` into a proven archive file in `folder`; None where nothing is.

    Removes from the beginning only, so the chain that stays has one known base; the removal is itself an
    entry, with the hash of the last entry removed and the digest of the archive. The time is the log's own
    (that of its newest entry) where the clock is ahead of it: a clock that jumps years ahead removes nothing.
    Raises InputError (`audit.retention_short`), Unavailable (`audit.archive_unwritable`).
    """
    if retention.days < MIN_RETENTION_DAYS:
        raise InputError("audit.retention_short", days=retention.days, least=MIN_RETENTION_DAYS)
    cutoff = min(log.clock.now(), log.head().time) - retention.days * 86_400 * NS_PER_S
    with log.records.read() as connection:
        first = connection.scalar(sa.select(sa.func.min(t.entry.c.sequence)))
        kept = connection.scalar(sa.select(sa.func.min(t.entry.c.sequence)).where(t.entry.c.time >= cutoff))
        if first is None or kept is None or kept <= first:
            return None
        last = connection.execute(sa.select(*t.CONTENT).where(t.entry.c.sequence == kept - 1)).one()
    archive = folder / f"audit-{first:012d}-{last.sequence:012d}.jsonl"
    partial = archive.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            partial.chmod(0o600)
            exported = export_jsonl(log, file, Query(before=kept), Scope.whole_node())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(archive)
        sync_folder(folder)
    except OSError as error:
        raise Unavailable("audit.archive_unwritable", path=str(archive), reason=str(error)) from error
    base = {"base_sequence": last.sequence, "base_hash": last.hash, "base_time": last.time}
    act = Act(
        actor=by,
        action=PRUNED,
        resource=f"audit:{first}-{last.sequence}",
        request=request,
        details={
            "archive": archive.name,
            "archive_sha256": exported.sha256,
            "base": int(last.sequence),
            "base_hash": last.hash,
            "base_time": str(last.time),
            "days": retention.days,
        },
    )
    with log.records.begin() as connection:
        log.append_in(connection, [act])
        connection.execute(sa.update(t.head).where(t.head.c.id == 1).values(base))
        connection.execute(sa.delete(t.entry).where(t.entry.c.sequence <= last.sequence))
    return Removed(int(first), int(last.sequence), archive, exported)
