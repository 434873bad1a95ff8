"""The tables of federation, as migration 0010 made them."""

from __future__ import annotations

import sqlalchemy as sa

_meta = sa.MetaData()
flow = sa.Table(
    "federation_flow",
    _meta,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text),
    sa.Column("browser", sa.Text),
    sa.Column("nonce", sa.Text),
    sa.Column("verifier", sa.Text),
    sa.Column("return_to", sa.Text),
    sa.Column("account", sa.Text),
    sa.Column("created", sa.BigInteger),
    sa.Column("expires", sa.BigInteger),
)
seen = sa.Table(
    "federation_seen",
    _meta,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("expires", sa.BigInteger),
)
identity = sa.Table(
    "external_identity",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("org_code", sa.Text),
    sa.Column("org", sa.Text),
    sa.Column("role", sa.Text),
    sa.Column("rule", sa.Text),
    sa.Column("attributes", sa.Text),
    sa.Column("wish", sa.Text),
    sa.Column("account", sa.Text),
    sa.Column("first_seen", sa.BigInteger),
    sa.Column("last_seen", sa.BigInteger),
    sa.Column("decided", sa.BigInteger),
    sa.Column("decided_by", sa.Text),
    sa.Column("note", sa.Text),
    sa.Column("version", sa.Integer),
)
