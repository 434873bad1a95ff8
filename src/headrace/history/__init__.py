"""History: every value with its time and quality, for years, exact, and readable by any process.

Enters: batches with their headers and stream sequences (from ingest), queries. Leaves: series, buckets,
gaps, last values, files. May import: records (the tag catalogue), kernel.
"""

from headrace.history.catalog import TagCatalog, TagSpec

__all__ = ["TagCatalog", "TagSpec"]
