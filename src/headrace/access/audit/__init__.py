"""Audit: what was done, by whom, on what and with what outcome, in a log that shows any tampering.

Enters: acts (batches from every process of the node), events of access. Leaves: entries found by text and
filter, verdicts on the chain, exports that prove themselves, reports, the level-3 control table.
May import: access.ids, access.events, access.tenancy (Scope), records, kernel; `controls` alone looks at the
other parts. It stands below the parts that write to it, sharing among them.

`record` says what is hashed and how, `log` appends and finds, `verify` checks, `anchors` keeps heads outside
the database, `retention` removes what is older than the rule, `export`, `report` and `controls` tell.
"""

from headrace.access.audit.anchors import AnchorFile
from headrace.access.audit.export import Exported, export_csv, export_jsonl, verify_export
from headrace.access.audit.log import AuditLog, Page, Query
from headrace.access.audit.record import MAX_INTEGER, MIN_RETENTION_DAYS, Act, Entry, Head, Outcome, canonical
from headrace.access.audit.report import AuditReport, audit_report
from headrace.access.audit.retention import AuditRetention, Removed, prune
from headrace.access.audit.verify import Fault, Verdict, verify

__all__ = [
    "MAX_INTEGER",
    "MIN_RETENTION_DAYS",
    "Act",
    "AnchorFile",
    "AuditLog",
    "AuditReport",
    "AuditRetention",
    "Entry",
    "Exported",
    "Fault",
    "Head",
    "Outcome",
    "Page",
    "Query",
    "Removed",
    "Verdict",
    "audit_report",
    "canonical",
    "export_csv",
    "export_jsonl",
    "prune",
    "verify",
    "verify_export",
]
