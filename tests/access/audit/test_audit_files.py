"""Exports that prove themselves, retention that keeps six months, reports."""

import csv
import io
import json
from pathlib import Path

import msgspec
import pytest

from headrace.access.audit import (
    MIN_RETENTION_DAYS,
    Act,
    AuditLog,
    AuditRetention,
    Head,
    Outcome,
    Query,
    audit_report,
    export_csv,
    export_jsonl,
    prune,
    verify,
    verify_export,
)
from headrace.access.events import Events
from headrace.access.tenancy import Scope
from headrace.kernel.clock import NS_PER_S, ManualClock
from headrace.kernel.errors import Corrupt, InputError
from headrace.records import Records

NODE = Scope.whole_node()
DAY = 86_400.0


def _export(log: AuditLog, query: Query) -> bytes:
    out = io.BytesIO()
    export_jsonl(log, out, query, NODE)
    return out.getvalue()


def test_an_export_proves_itself(filled: AuditLog) -> None:
    raw = _export(filled, Query())
    proof = verify_export(io.BytesIO(raw))
    assert (proof.count, proof.first, proof.last, proof.contiguous) == (10, 1, 10, True)
    assert proof.head == filled.head() and proof.last_hash == filled.head().hash
    lines = raw.decode().splitlines()
    assert len(lines) == 12 and json.loads(lines[1])["actor"] == "u1"
    some = verify_export(io.BytesIO(_export(filled, Query(resource="tag:t1*"))))
    assert (some.count, some.first, some.last, some.contiguous) == (2, 1, 10, False)
    none = verify_export(io.BytesIO(_export(filled, Query(actor="nobody"))))
    assert none.count == 0


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [(3, '"actor":"u3"', '"actor":"u4"'), (3, '"previous":"', '"previous":"0'), (0, "headrace", "other"),
     (11, '"count":10', '"count":9'), (5, '"time":"', '"time":"1')],
)  # fmt: skip
def test_a_tampered_export_is_refused(filled: AuditLog, line: int, old: str, new: str) -> None:
    lines = _export(filled, Query()).decode().splitlines(keepends=True)
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new)
    with pytest.raises(Corrupt) as caught:
        verify_export(io.BytesIO("".join(lines).encode()))
    assert caught.value.params["line"] == (line + 1 if line else 1)


def test_lines_left_out_doubled_or_swapped_are_found(filled: AuditLog) -> None:
    lines = _export(filled, Query()).splitlines(keepends=True)
    for bad in (
        lines[:4] + lines[5:], lines[:5] + lines[4:], [*lines[:4], lines[5], lines[4], *lines[6:]],
        lines[:-1], lines[1:], [], [b"\xff\xfe\n"],
    ):  # fmt: skip
        with pytest.raises(Corrupt):
            verify_export(io.BytesIO(b"".join(bad)))


def test_an_export_is_compared_with_an_anchor(filled: AuditLog) -> None:
    raw = _export(filled, Query())
    head = filled.head()
    verify_export(io.BytesIO(raw), anchors={head.sequence: head.hash})
    with pytest.raises(Corrupt):
        verify_export(io.BytesIO(raw), anchors={4: "0" * 64})
    with pytest.raises(Corrupt):
        verify_export(io.BytesIO(raw), anchors={10: "0" * 64})


def test_csv_for_spreadsheets(log: AuditLog) -> None:
    log.append([Act(actor="u1", actor_name="王芳", action="share.revoked", reason='=cmd|"x"', org="甲,乙")])
    out = io.BytesIO()
    proof = export_csv(log, out, Query(), NODE, lang="zh")
    raw = out.getvalue()
    assert raw.startswith(b"\xef\xbb\xbf") and proof.count == 1
    (row,) = csv.DictReader(io.StringIO(raw.decode("utf-8-sig")))
    assert row["actor_name"] == "王芳" and row["title"] == "撤销数据授权"
    assert row["reason"] == '\'=cmd|"x"' and row["org"] == "甲,乙"
    assert row["time"].endswith("Z") and row["hash"] == log.head().hash


def test_retention_below_six_months_is_refused_everywhere(log: AuditLog, tmp_path: Path) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"days": MIN_RETENTION_DAYS - 1}, AuditRetention)
    with pytest.raises(InputError, match="184"):
        prune(log, AuditRetention(days=30), tmp_path, by="u")


def test_old_entries_go_to_an_archive_and_the_chain_still_holds(
    log: AuditLog, records: Records, clock: ManualClock, tmp_path: Path
) -> None:
    retention = AuditRetention(days=200)
    log.append([Act(actor=f"old{n}", action="x") for n in range(5)])
    anchor = log.head()
    clock.advance(150 * DAY)
    log.append([Act(actor="mid", action="x")] * 3)
    assert prune(log, retention, tmp_path, by="admin") is None
    clock.advance(100 * DAY)
    log.append([Act(actor="new", action="x")])
    removed = prune(log, retention, tmp_path, by="admin")
    assert removed is not None and (removed.first, removed.last) == (1, 5)
    with removed.archive.open("rb") as file:
        archived = verify_export(file, anchors={5: anchor.hash})
    assert archived.count == 5 and archived.contiguous
    verdict = verify(records, anchors=[anchor])
    assert verdict.ok, verdict.text()
    assert (verdict.first, verdict.last, verdict.removed_before, verdict.anchors) == (6, 10, 5, 1)
    told = log.search(Query(action="audit.pruned"), NODE).items[0]
    assert told.actor == "admin" and removed.exported.sha256 in told.details
    assert prune(log, retention, tmp_path, by="admin") is None
    clock.advance(400 * DAY)
    log.append([Act(actor="late", action="x")])
    again = prune(log, retention, tmp_path, by="admin")
    assert again is not None and (again.first, again.last) == (6, 10)
    assert verify(records).ok


def test_a_clock_that_jumps_ahead_removes_nothing(
    filled: AuditLog, clock: ManualClock, tmp_path: Path
) -> None:
    clock.advance(4000 * DAY)
    assert prune(filled, AuditRetention(), tmp_path, by="u") is None


def test_a_removal_that_retention_does_not_allow_is_found(
    log: AuditLog, records: Records, clock: ManualClock, tmp_path: Path
) -> None:
    """Somebody sets the clock ahead, writes an entry and prunes: an anchor shows how young it was."""
    log.append([Act(actor="a", action="x")])
    clock.advance(10 * DAY)
    log.append([Act(actor="a", action="x")])
    anchor = Head(log.head().sequence, log.head().hash, clock.now() + 600 * NS_PER_S * 86_400)
    clock.advance(700 * DAY)
    log.append([Act(actor="a", action="x")])
    assert prune(log, AuditRetention(), tmp_path, by="a") is not None
    assert verify(records).ok
    verdict = verify(records, anchors=[anchor])
    assert verdict.fault is not None and verdict.fault.kind == "base"


def test_the_report_of_a_period(log: AuditLog, records: Records, clock: ManualClock) -> None:
    start = clock.now()
    log.append([Act(actor="u1", actor_name="王芳", action="session.started")] * 3)
    log.append([Act(actor="u2", action="session.refused", outcome=Outcome.DENIED, reason="a|b")])
    clock.advance(3 * DAY)
    log.append([Act(actor="u1", actor_name="王芳", action="role.assign", resource="account:u2")])
    report = audit_report(log, start, clock.now() + 1, NODE, verdict=verify(records))
    assert report.total == 5
    assert next((a.action, a.count) for a in report.actions) == ("session.started", 3)
    assert [(a.actor, a.count, a.not_done) for a in report.actors] == [("u1", 4, 0), ("u2", 1, 1)]
    assert [e.action for e in report.refused] == ["session.refused"]
    assert [e.action for e in report.notable] == ["role.assign"]
    assert [(s.end - s.start) // NS_PER_S for s in report.silences] == [3 * 86_400]
    assert report.days_kept == 3
    for lang, words in (("zh", ["审计报告", "登录", "完好", "分配角色"]), ("en", ["Audit report", "intact"])):
        text = report.render(lang)
        assert all(word in text for word in words) and "a\\|b" in text
    with pytest.raises(InputError):
        audit_report(log, start, start, NODE)
    empty = audit_report(log, 0, 1, Scope.of([]))
    assert empty.total == 0 and empty.actors == []


def test_changes_of_access_are_recorded_in_their_own_transaction(
    log: AuditLog, records: Records, clock: ManualClock
) -> None:
    events = Events(records, clock, recorders=[log.record_event])
    with events.begin() as change:
        change.note("org.renamed", "org-1", by="u1", detail={"reason": "改名", "title": "新名"})
    (entry,) = log.search(Query(text="改名"), NODE).items
    assert (entry.actor, entry.action, entry.resource, entry.reason) == ("u1", "org.renamed", "org-1", "改名")
    with pytest.raises(RuntimeError), events.begin() as change:
        change.note("org.renamed", "org-2", by="u1")
        raise RuntimeError
    assert log.head().sequence == 1
