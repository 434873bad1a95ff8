"""Appending from many places at once, and finding entries again."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from headrace.access.audit import Act, AuditLog, Outcome, Query, verify
from headrace.access.tenancy import Scope
from headrace.kernel.clock import ManualClock, SystemClock
from headrace.kernel.errors import InputError, NotFound
from headrace.records import Records, open_records

NODE = Scope.whole_node()


def _sequences(log: AuditLog, scope: Scope = NODE, **query: object) -> list[int]:
    return [e.sequence for e in log.search(Query(**query), scope).items]


def test_entries_are_numbered_and_chained(log: AuditLog) -> None:
    first = log.append([Act(actor="a", action="x"), Act(actor="b", action="y")])
    second = log.append([Act(actor="c", action="z")])
    assert [e.sequence for e in first + second] == [1, 2, 3]
    assert first[0].previous == "0" * 64
    assert first[1].previous == first[0].hash and second[0].previous == first[1].hash
    assert log.head().sequence == 3 and log.head().hash == second[0].hash
    assert log.append([]) == []


def test_an_entry_commits_with_its_act_or_not_at_all(log: AuditLog, records: Records) -> None:
    with pytest.raises(RuntimeError), records.begin() as connection:
        log.append_in(connection, [Act(actor="a", action="x")])
        raise RuntimeError
    assert log.head().sequence == 0
    assert verify(records).ok


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_entry SET reason = 'x' WHERE sequence = 3", "DELETE FROM audit_entry WHERE sequence = 10",
     "DELETE FROM audit_entry"],
)  # fmt: skip
def test_the_database_itself_refuses_changes(filled: AuditLog, records: Records, statement: str) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), records.begin() as connection:
        connection.execute(sa.text(statement))
    assert verify(records).checked == 10


def test_search_by_field_text_and_language(log: AuditLog, clock: ManualClock) -> None:
    log.append([Act(actor="u1", actor_name="王芳", action="machine.write", resource="tag:oven/z1/sp",
                    reason="换型，提高固化温度", request="r1", basis="approval:7")])  # fmt: skip
    clock.advance(60)
    log.append(
        [
            Act(actor="u2", actor_name="Li Wei", action="share.revoked", resource="grant:9"),
            Act(actor="u2", action="session.refused", outcome=Outcome.DENIED, address="10.0.0.9"),
        ]
    )
    start = clock.now()
    assert _sequences(log, text="固化") == [1]
    assert _sequences(log, text="王芳 换型") == [1]
    assert _sequences(log, text="撤销") == [2]  # by the Chinese title of the action
    assert _sequences(log, text="REVOKED") == [2]
    assert _sequences(log, text="拒绝") == [3]
    assert _sequences(log, text="ＬＩ wei") == [2]
    assert _sequences(log, text="100%") == []
    assert _sequences(log, actor="u2") == [3, 2]
    assert _sequences(log, action="session.*") == [3]
    assert _sequences(log, resource="tag:oven/*") == [1]
    assert _sequences(log, basis="approval:7") == [1]
    assert _sequences(log, request="r1") == [1]
    assert _sequences(log, outcome="denied") == [3]
    assert _sequences(log, end=start) == [1]
    assert _sequences(log, start=start) == [3, 2]
    with pytest.raises(InputError, match="outcome"):
        log.search(Query(outcome="maybe"), NODE)


def test_pages_follow_each_other(filled: AuditLog) -> None:
    page = filled.search(Query(), NODE, limit=4)
    assert [e.sequence for e in page.items] == [10, 9, 8, 7]
    page = filled.search(Query(before=page.next), NODE, limit=4)
    assert [e.sequence for e in page.items] == [6, 5, 4, 3]
    page = filled.search(Query(before=page.next), NODE, limit=4)
    assert [e.sequence for e in page.items] == [2, 1] and page.next is None


def test_a_scope_sees_what_concerns_it_and_nothing_else(log: AuditLog, records: Records) -> None:
    with records.begin() as connection:
        for name in ("firm-a", "firm-b", "plant-a"):
            connection.execute(
                sa.text(
                    "INSERT INTO org (id, kind, tenant, title_zh, title_en, state, created, changed, version)"
                    " VALUES (:id, 'firm', 't', '', '', 'active', 0, 0, 1)"
                ),
                {"id": name},
            )
        for above, below in (("firm-a", "firm-a"), ("firm-a", "plant-a"), ("firm-b", "firm-b")):
            connection.execute(
                sa.text("INSERT INTO org_reach (above, below) VALUES (:a, :b)"), {"a": above, "b": below}
            )
    log.append([
        Act(actor="x", action="tag.read", org="plant-a"),
        Act(actor="x", action="tag.read", org="firm-b"),
        Act(actor="x", action="share.read", org="firm-b", actor_org="firm-a"),
        Act(actor="x", action="backup.manage"),
    ])  # fmt: skip
    assert _sequences(log, Scope.of(["firm-a"])) == [3, 1]
    assert _sequences(log, Scope.of(["firm-b"])) == [3, 2]
    assert _sequences(log, Scope.of([])) == []
    assert _sequences(log) == [4, 3, 2, 1]
    assert log.get(3, Scope.of(["firm-a"])).action == "share.read"
    with pytest.raises(NotFound):
        log.get(2, Scope.of(["firm-a"]))
    with pytest.raises(NotFound):
        log.get(99, NODE)


def _write(path: str, name: str, batches: int, size: int) -> None:
    with_records = open_records(path, busy_timeout_s=60)
    log = AuditLog(with_records, SystemClock())
    for batch in range(batches):
        log.append([Act(actor=name, action="tag.read", resource=f"{batch}:{i}") for i in range(size)])
    with_records.close()


def test_writers_in_several_processes_take_turns(records: Records, log: AuditLog) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(records.name, f"p{n}", 20, 5)) for n in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
        assert process.exitcode == 0
    verdict = verify(records)
    assert verdict.ok and verdict.checked == 300
    for n in range(3):
        found = list(reversed(log.search(Query(actor=f"p{n}"), NODE, limit=1000).items))
        assert [e.resource for e in found] == [f"{b}:{i}" for b in range(20) for i in range(5)]


@pytest.mark.fault
def test_kill_9_leaves_whole_batches_and_an_intact_chain(records: Records, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = AuditLog(records, SystemClock())
    for kill in range(3):
        before = log.head().sequence
        process = context.Process(target=_write, args=(records.name, f"k{kill}", 100_000, 7))
        process.start()
        deadline = time.monotonic() + 30
        while log.head().sequence < before + 70 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        verdict = verify(records)
        assert verdict.ok, verdict.text()
        assert verdict.checked % 7 == 0 and verdict.checked >= before + 70
    log.append([Act(actor="after", action="x")])
    assert verify(records).ok
