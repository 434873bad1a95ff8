"""Every kind of tampering is found, and the first bad entry named."""

import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.access.audit import Act, AnchorFile, AuditLog, Head, verify
from headrace.access.audit.record import Entry, hash_of, search_text
from headrace.kernel.errors import Corrupt
from headrace.records import Records, open_records

Attack = Callable[..., None]
COLUMNS = [name for name in Entry.__struct_fields__ if name != "sequence"]


def _fault(records: Records, *anchors: Head) -> tuple[str, int]:
    verdict = verify(records, anchors=anchors)
    assert verdict.fault is not None and not verdict.ok
    assert str(verdict.fault.sequence) in verdict.text("zh") and verdict.text("en")
    return verdict.fault.kind.value, verdict.fault.sequence


def _rehash(records: Records, start: int, end: int) -> list[str]:
    """Statements that make entries of a tampered log right again, as a careful forger would."""
    raw = sqlite3.connect(records.name)
    raw.row_factory = sqlite3.Row
    previous = raw.execute("SELECT hash FROM audit_entry WHERE sequence = ?", [start - 1]).fetchone()
    link = previous["hash"] if previous else "0" * 64
    out = []
    for row in raw.execute("SELECT * FROM audit_entry WHERE sequence BETWEEN ? AND ? ORDER BY sequence",
                           [start, end]).fetchall():  # fmt: skip
        fields = {k: row[k] for k in row.keys() if k != "search"}  # noqa: SIM118
        entry = Entry(**{**fields, "previous": link})
        link = hash_of(entry)
        out.append(
            f"UPDATE audit_entry SET previous = '{entry.previous}', hash = '{link}', "
            f"search = '{search_text(entry)}' WHERE sequence = {entry.sequence}"
        )
    raw.close()
    return out


def test_an_intact_log_says_so_in_both_languages(filled: AuditLog, records: Records) -> None:
    verdict = verify(records, anchors=[filled.head()])
    assert verdict.ok and (verdict.checked, verdict.first, verdict.last, verdict.anchors) == (10, 1, 10, 1)
    assert "完好" in verdict.text("zh") and "intact" in verdict.text("en")


def test_an_empty_log_is_intact(records: Records) -> None:
    assert verify(records).ok


@pytest.mark.parametrize("column", COLUMNS)
def test_a_change_in_any_column_is_found(
    filled: AuditLog, records: Records, attack: Attack, column: str
) -> None:
    value = "12345" if column == "time" else "'{\"a\":1}'" if column == "details" else "'forged'"
    attack(f"UPDATE audit_entry SET {column} = {value} WHERE sequence = 4")
    kind = "moved" if column == "previous" else "changed"
    assert _fault(records) == (kind, 4)


def test_a_changed_search_text_is_found(filled: AuditLog, records: Records, attack: Attack) -> None:
    attack("UPDATE audit_entry SET search = '' WHERE sequence = 4")
    assert _fault(records) == ("unindexed", 4)


def test_a_removed_entry_is_found(filled: AuditLog, records: Records, attack: Attack) -> None:
    attack("DELETE FROM audit_entry WHERE sequence = 4")
    assert _fault(records) == ("removed", 4)


def test_a_removed_entry_is_found_though_the_rest_was_renumbered(
    filled: AuditLog, records: Records, attack: Attack
) -> None:
    attack("DELETE FROM audit_entry WHERE sequence = 4",
           *(f"UPDATE audit_entry SET sequence = {n - 1} WHERE sequence = {n}" for n in range(5, 11)),
           "UPDATE audit_head SET sequence = 9")  # fmt: skip
    assert _fault(records) == ("moved", 4)


def test_removed_from_the_beginning(filled: AuditLog, records: Records, attack: Attack) -> None:
    attack("DELETE FROM audit_entry WHERE sequence <= 3")
    assert _fault(records) == ("removed", 1)
    attack("UPDATE audit_head SET base_sequence = 3, base_hash = "
           "(SELECT previous FROM audit_entry WHERE sequence = 4)")  # fmt: skip
    assert _fault(records) == ("base", 4)


def test_reordered_entries_are_found(filled: AuditLog, records: Records, attack: Attack) -> None:
    attack("UPDATE audit_entry SET sequence = -1 WHERE sequence = 4",
           "UPDATE audit_entry SET sequence = 4 WHERE sequence = 6",
           "UPDATE audit_entry SET sequence = 6 WHERE sequence = -1")  # fmt: skip
    assert _fault(records) == ("moved", 4)


def test_an_inserted_entry_is_found(filled: AuditLog, records: Records, attack: Attack) -> None:
    columns = ", ".join(c for c in [*COLUMNS, "search"])
    attack(*(f"UPDATE audit_entry SET sequence = {n + 1} WHERE sequence = {n}" for n in range(10, 3, -1)),
           f"INSERT INTO audit_entry (sequence, {columns}) SELECT 4, {columns} FROM audit_entry "
           "WHERE sequence = 2", "UPDATE audit_head SET sequence = 11")  # fmt: skip
    attack(*_rehash(records, 4, 4))  # the new one is made to fit; the next one betrays it
    assert _fault(records) == ("moved", 5)
    attack(*_rehash(records, 6, 6))
    assert _fault(records) == ("moved", 5)


def test_an_entry_rehashed_alone_breaks_the_link(filled: AuditLog, records: Records, attack: Attack) -> None:
    attack("UPDATE audit_entry SET reason = 'forged' WHERE sequence = 4")
    attack(*_rehash(records, 4, 4))
    assert _fault(records) == ("inserted", 5)


def test_a_cut_end_is_found(filled: AuditLog, records: Records, attack: Attack) -> None:
    head = filled.head()
    attack("DELETE FROM audit_entry WHERE sequence > 7")
    assert _fault(records) == ("truncated", 8)
    attack("UPDATE audit_head SET sequence = 7, hash = (SELECT hash FROM audit_entry WHERE sequence = 7)")
    assert verify(records).ok  # the chain alone cannot know
    assert _fault(records, head) == ("truncated", 8)
    filled.append([Act(actor="new", action="x")] * 5)
    assert _fault(records, head) == ("rewritten", 10)


def test_a_rewritten_end_shows_against_an_anchor(filled: AuditLog, records: Records, attack: Attack) -> None:
    early, head = Head(2, filled.get(2, _node()).hash, 0), filled.head()
    attack("UPDATE audit_entry SET reason = 'forged' WHERE sequence = 4")
    attack(*_rehash(records, 4, 10),
           "UPDATE audit_head SET hash = (SELECT hash FROM audit_entry WHERE sequence = 10)")  # fmt: skip
    assert verify(records, anchors=[early]).ok
    verdict = verify(records, anchors=[head, early])
    assert verdict.fault is not None
    assert (verdict.fault.kind, verdict.fault.sequence, verdict.fault.since) == ("rewritten", 10, 2)


def test_entries_that_no_writer_committed(filled: AuditLog, records: Records, attack: Attack) -> None:
    attack("UPDATE audit_head SET sequence = 8, hash = (SELECT hash FROM audit_entry WHERE sequence = 8)")
    assert _fault(records) == ("inserted", 9)
    attack("DELETE FROM audit_head")
    assert _fault(records)[0] == "truncated"
    with pytest.raises(Corrupt):
        filled.append([Act(actor="x", action="y")])


def test_a_check_from_a_known_head_looks_only_behind_it(
    filled: AuditLog, records: Records, attack: Attack
) -> None:
    head = filled.head()
    filled.append([Act(actor="new", action="x")] * 3)
    verdict = verify(records, after=head)
    assert verdict.ok and (verdict.checked, verdict.first) == (3, 11)
    attack("UPDATE audit_entry SET reason = 'forged' WHERE sequence = 12")
    later = verify(records, after=head)
    assert later.fault is not None and later.fault.sequence == 12


def _node():
    from headrace.access.tenancy import Scope

    return Scope.whole_node()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_single_byte_changed_anywhere_is_found(filled: AuditLog, records: Records, data) -> None:
    """On a copy: one character of one column of one entry."""
    copy = Path(records.name).with_name("copy.sqlite")
    for path in copy.parent.glob("copy.sqlite*"):
        path.unlink()
    source = sqlite3.connect(records.name)
    target = sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.execute("DROP TRIGGER audit_entry_fixed")
    sequence = data.draw(st.integers(1, 10))
    column = data.draw(st.sampled_from([*COLUMNS, "search"]))
    old = target.execute(f"SELECT {column} FROM audit_entry WHERE sequence = ?", [sequence]).fetchone()[0]
    if column == "time":
        new = old ^ (1 << data.draw(st.integers(0, 62)))
    else:
        at = data.draw(st.integers(0, len(old)))
        new = old[:at] + data.draw(st.characters(exclude_categories=["Cs"])) + old[at + 1 :]
    if new == old:
        target.close()
        return
    target.execute(f"UPDATE audit_entry SET {column} = ? WHERE sequence = ?", [new, sequence])
    target.commit()
    target.close()
    opened = open_records(copy)
    verdict = verify(opened)
    opened.close()
    assert verdict.fault is not None and verdict.fault.sequence == sequence


def test_anchors_are_kept_in_a_file(filled: AuditLog, records: Records, tmp_path: Path) -> None:
    anchors = AnchorFile(tmp_path / "heads.jsonl")
    assert anchors.heads() == []
    assert anchors.add(filled.head()) and not anchors.add(filled.head())
    assert (tmp_path / "heads.jsonl").stat().st_mode & 0o777 == 0o600
    with anchors.path.open("ab") as file:
        file.write(b'{"sequence":11,"ha')  # a crash while writing
    assert [h.sequence for h in anchors.heads()] == [10]
    filled.append([Act(actor="a", action="b")])
    assert anchors.add(filled.head())
    assert [h.sequence for h in anchors.heads()] == [10, 11]
    assert verify(records, anchors=anchors.heads()).anchors == 2
    anchors.path.write_bytes(b"nonsense\n")
    with pytest.raises(Corrupt, match="line 1"):
        anchors.heads()


def _many(log: AuditLog, count: int) -> None:
    for start in range(0, count, 5000):
        log.append([Act(actor=f"u{n % 97}", actor_name="王芳", action="history.read", org="o",
                        resource=f"tag:oven/zone{n % 8}/temperature", details={"points": n})
                    for n in range(start, min(start + 5000, count))])  # fmt: skip


def _bounded(log: AuditLog, records: Records, count: int) -> None:
    _many(log, count)
    tracemalloc.start()
    verdict = verify(records)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert verdict.ok and verdict.checked == count
    assert peak < 20_000_000, f"{peak} bytes"


def test_verify_streams_in_bounded_memory(log: AuditLog, records: Records) -> None:
    _bounded(log, records, 30_000)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_verify_streams_a_million(log: AuditLog, records: Records, attack: Attack) -> None:
    _bounded(log, records, 1_000_000)
    attack("UPDATE audit_entry SET details = '{\"points\":0}' WHERE sequence = 777777")
    assert _fault(records) == ("changed", 777_777)
