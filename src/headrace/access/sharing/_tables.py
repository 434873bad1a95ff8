"""The tables of sharing, as migration 0031 made them."""

from __future__ import annotations

import sqlalchemy as sa

_meta = sa.MetaData()
key = sa.Table(
    "share_key",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("org", sa.Text),
    sa.Column("algorithm", sa.Text),
    sa.Column("public", sa.LargeBinary),
    sa.Column("since", sa.BigInteger),
    sa.Column("retired", sa.BigInteger),
)
grant = sa.Table(
    "share_grant",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text),
    sa.Column("grantee", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("use", sa.Text),
    sa.Column("start", sa.BigInteger),
    sa.Column("end", sa.BigInteger),
    sa.Column("created", sa.BigInteger),
    sa.Column("revoked", sa.BigInteger),
    sa.Column("body", sa.Text),  # the Grant as JSON
)
item = sa.Table(
    "share_item",
    _meta,
    sa.Column("grant", sa.Text, primary_key=True),
    sa.Column("resource", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text),
)
version = sa.Table(  # one row, id 1: moves with every grant given or revoked
    "share_version",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("number", sa.BigInteger),
)
read = sa.Table(
    "share_read",
    _meta,
    sa.Column("sequence", sa.BigInteger, primary_key=True),  # of the audit entry that vouches for it
    sa.Column("time", sa.BigInteger),
    sa.Column("grant", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("grantee", sa.Text),
    sa.Column("actor", sa.Text),
    sa.Column("actor_name", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("resource", sa.Text),
    sa.Column("use", sa.Text),
    sa.Column("purpose", sa.Text),
    sa.Column("start", sa.BigInteger),
    sa.Column("end", sa.BigInteger),
    sa.Column("every", sa.BigInteger),
    sa.Column("points", sa.BigInteger),
    sa.Column("table", sa.Text),
)
table = sa.Table(
    "share_table",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("indicator", sa.Text),
    sa.Column("publisher", sa.Text),
    sa.Column("created", sa.BigInteger),
    sa.Column("retired", sa.BigInteger),
    sa.Column("body", sa.Text),  # the definition as JSON
)
edition = sa.Table(
    "share_edition",
    _meta,
    sa.Column("table", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("published", sa.BigInteger),
    sa.Column("by", sa.Text),
    sa.Column("body", sa.Text),  # the published cells as JSON
)
