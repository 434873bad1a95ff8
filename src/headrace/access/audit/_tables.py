"""The tables of the audit log, as migration 0030 made them."""

from __future__ import annotations

import sqlalchemy as sa

_meta = sa.MetaData()
entry = sa.Table(
    "audit_entry",
    _meta,
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("time", sa.BigInteger),
    sa.Column("actor", sa.Text),
    sa.Column("actor_name", sa.Text),
    sa.Column("actor_org", sa.Text),
    sa.Column("action", sa.Text),
    sa.Column("resource", sa.Text),
    sa.Column("org", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("basis", sa.Text),
    sa.Column("request", sa.Text),
    sa.Column("address", sa.Text),
    sa.Column("details", sa.Text),
    sa.Column("previous", sa.Text),
    sa.Column("hash", sa.Text),
    sa.Column("search", sa.Text),
)
CONTENT = [c for c in entry.c if c.name != "search"]
"""The columns of an Entry, in its order."""

head = sa.Table(  # one row, id 1
    "audit_head",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("hash", sa.Text),
    sa.Column("time", sa.BigInteger),
    sa.Column("base_sequence", sa.BigInteger),  # the last entry that retention removed, 0 for none
    sa.Column("base_hash", sa.Text),
    sa.Column("base_time", sa.BigInteger),
)
