"""The tables of tenancy, as migration 0001 made them."""

from __future__ import annotations

import sqlalchemy as sa

_meta = sa.MetaData()
org = sa.Table(
    "org",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text),
    sa.Column("parent", sa.Text),
    sa.Column("tenant", sa.Text),
    sa.Column("title_zh", sa.Text),
    sa.Column("title_en", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("created", sa.BigInteger),
    sa.Column("changed", sa.BigInteger),
    sa.Column("version", sa.Integer),
)
reach = sa.Table(
    "org_reach",
    _meta,
    sa.Column("above", sa.Text, primary_key=True),
    sa.Column("below", sa.Text, primary_key=True),
)
mandate = sa.Table(
    "org_mandate",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text),
    sa.Column("holder", sa.Text),
    sa.Column("body", sa.Text),
    sa.Column("roles", sa.Text),
    sa.Column("since", sa.BigInteger),
    sa.Column("until", sa.BigInteger),
    sa.Column("basis", sa.Text),
    sa.Column("by", sa.Text),
    sa.Column("revoked", sa.BigInteger),
    sa.Column("revoked_by", sa.Text),
)
membership = sa.Table(
    "membership",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("member", sa.Text),
    sa.Column("org", sa.Text),
    sa.Column("role", sa.Text),
    sa.Column("since", sa.BigInteger),
    sa.Column("until", sa.BigInteger),
    sa.Column("by", sa.Text),
    sa.Column("revoked", sa.BigInteger),
    sa.Column("revoked_by", sa.Text),
)
ownership = sa.Table(
    "ownership",
    _meta,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("resource", sa.Text, primary_key=True),
    sa.Column("org", sa.Text),
    sa.Column("since", sa.BigInteger),
    sa.Column("by", sa.Text),
)


def in_force(table: sa.FromClause, now: int | sa.BindParameter[int]) -> sa.ColumnElement[bool]:
    """Rows of `table` whose period [since, until) holds `now` and that are not revoked."""
    return sa.and_(
        table.c.since <= now,
        sa.or_(table.c.until.is_(None), table.c.until > now),
        table.c.revoked.is_(None),
    )
