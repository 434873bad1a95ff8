"""How fast the audit log takes entries, is verified and searched, and how much memory verifying needs.

    python bench/audit.py [--quick] [--json] [--entries N]

The limit in the same run is SQLite itself: the same rows in the same batches, without a chain.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _report import report
from headrace.access.audit import Act, AuditLog, Query, verify
from headrace.access.tenancy import Scope
from headrace.kernel.clock import SystemClock
from headrace.records import open_records

BATCH = 5000
SINGLES = 200


def acts(start: int, end: int) -> list[Act]:
    """Reads of tags by 97 people, as a plant's API would note them."""
    return [
        Act(
            actor=f"u{n % 97}",
            actor_name="王芳",
            action="history.read",
            org="o",
            resource=f"tag:oven/zone{n % 8}/temperature",
            details={"points": n},
        )
        for n in range(start, end)
    ]


def per_cpu_second(work: Callable[[], object], count: int) -> float:
    used = time.process_time()
    work()
    return count / (time.process_time() - used)


def append_all(log: AuditLog, count: int) -> None:
    for start in range(0, count, BATCH):
        log.append(acts(start, min(start + BATCH, count)))


def append_singles(log: AuditLog) -> None:
    for _ in range(SINGLES):
        log.append([Act(actor="a", action="b")])


def plain_sqlite(path: Path, count: int) -> None:
    """The rows of the log without hashes, chain or lock, with the same durability."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE entry (actor, name, action, org, resource, details)")
        for start in range(0, count, BATCH):
            rows = [
                (a.actor, a.actor_name, a.action, a.org, a.resource, str(a.details))
                for a in acts(start, min(start + BATCH, count))
            ]
            db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", rows)
            db.commit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20,000 entries")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--entries", type=int, default=200_000)
    options = parser.parse_args()
    count = 20_000 if options.quick else options.entries
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        records = open_records(folder / "records.sqlite")
        records.migrate(["access"])
        log = AuditLog(records, SystemClock())
        figures = {"append_per_cpu_s": per_cpu_second(lambda: append_all(log, count), count)}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures["verify_per_cpu_s"] = per_cpu_second(lambda: verify(records), count)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        figures["verify_memory_mib"] = grown / 1024
        began = time.perf_counter()
        found = log.search(Query(text=f"王芳 {count // 2}"), Scope.whole_node()).items
        figures["search_s"] = time.perf_counter() - began
        figures["search_found"] = len(found)
        figures["append_single_per_cpu_s"] = per_cpu_second(lambda: append_singles(log), SINGLES)
        intact = verify(records).ok
        records.close()
        limit = per_cpu_second(lambda: plain_sqlite(folder / "plain.sqlite", count), count)
    if not intact:
        raise SystemExit("bench/audit.py: the log is not intact")
    report(
        "audit",
        figures,
        as_json=options.json,
        peers={"sqlite_plain_per_cpu_s": limit},
        ratios={"append_over_sqlite_plain": figures["append_per_cpu_s"] / limit},
        details={"entries": count},
        packages=("sqlalchemy",),
    )


if __name__ == "__main__":
    main()
