"""How fast the audit log takes entries and is verified, and how much memory that needs.

python bench/audit.py [ENTRIES]        default 200000
"""

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from headrace.access.audit import Act, AuditLog, Query, verify
from headrace.access.tenancy import Scope
from headrace.kernel.clock import SystemClock
from headrace.records import open_records

BATCH = 5000


def main(count: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    records = open_records(folder / "records.sqlite")
    records.migrate(["access"])
    log = AuditLog(records, SystemClock())
    began, cpu = time.perf_counter(), time.process_time()
    for start in range(0, count, BATCH):
        log.append(
            [
                Act(actor=f"u{n % 97}", actor_name="王芳", action="history.read", org="o",
                    resource=f"tag:oven/zone{n % 8}/temperature", details={"points": n})
                for n in range(start, min(start + BATCH, count))
            ]
        )  # fmt: skip
    _say("append in batches", count, began, cpu)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    verdict = verify(records)
    _say("verify", verdict.checked, began, cpu)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"verify: {'intact' if verdict.ok else 'NOT INTACT'}, memory grew by {grown / 1024:.1f} MiB")
    for text in ("王芳 77777", "不存在的词"):
        began = time.perf_counter()
        found = log.search(Query(text=text), Scope.whole_node()).items
        print(f"search {text!r}: {len(found)} found in {time.perf_counter() - began:.2f} s")
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(200):
        log.append([Act(actor="a", action="b")])
    _say("append one by one", 200, began, cpu)
    records.close()
    shutil.rmtree(folder)


def _say(what: str, count: int, began: float, cpu: float) -> None:
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    print(f"{what}: {count} in {wall:.1f} s ({count / wall:.0f}/s; {count / used:.0f} per CPU-second)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
