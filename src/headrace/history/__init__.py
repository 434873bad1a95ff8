"""History: every value with its time and quality, for years, exact, and readable by any process.

Enters: batches with their headers and stream sequences (from ingest), queries. Leaves: series, buckets,
gaps, last values, files. May import: records (the tag catalogue), kernel.

One process writes (Store): messages go to an Arrow log that is durable before `append` returns, the log is
sealed into Parquet segments sorted by tag and time, segments are merged into larger ones. Any process reads
(Reader). docs/history.md tells what stands in which file and why no crash can lose or double a value.
"""

from headrace.history.catalog import TagCatalog, TagSpec
from headrace.history.export import Exported, export
from headrace.history.fsck import Finding, Report, fsck
from headrace.history.lastvalues import LastValues
from headrace.history.query import AGGREGATES, Buckets, Gap, Series
from headrace.history.reader import LevelStats, Reader, Stats
from headrace.history.settings import HISTORY, HistorySettings
from headrace.history.store import Appended, Store, StoreState, check_tags, compact

__all__ = [
    "AGGREGATES",
    "HISTORY",
    "Appended",
    "Buckets",
    "Exported",
    "Finding",
    "Gap",
    "HistorySettings",
    "LastValues",
    "LevelStats",
    "Reader",
    "Report",
    "Series",
    "Stats",
    "Store",
    "StoreState",
    "TagCatalog",
    "TagSpec",
    "check_tags",
    "compact",
    "export",
    "fsck",
]
