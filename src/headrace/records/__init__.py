"""Records: everything that has a lifecycle (alarms, writes, orders, firms …), in SQLite or PostgreSQL.

Enters: a path or a database URL, statements of SQLAlchemy Core, the names of rooms that own tables.
Leaves: connections in a transaction; HeadraceErrors with codes where the database refuses.
May import: kernel. Every room above may import this one; each owns its tables and its numbered migrations
in `headrace.<room>.migrations` (files `0001_what.py`, Alembic revisions "0001", "0002", …).
"""

from headrace.records.engine import Records, open_records

__all__ = ["Records", "open_records"]
