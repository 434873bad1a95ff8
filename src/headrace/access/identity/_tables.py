"""The tables of identity, as migration 0002 made them."""

from __future__ import annotations

import sqlalchemy as sa

_meta = sa.MetaData()
account = sa.Table(
    "account",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text),
    sa.Column("login", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("home", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("language", sa.Text),
    sa.Column("password", sa.Text),
    sa.Column("password_changed", sa.BigInteger),
    sa.Column("totp", sa.LargeBinary),  # sealed
    sa.Column("totp_confirmed", sa.BigInteger),
    sa.Column("totp_step", sa.BigInteger),  # the last one that was used
    sa.Column("failures", sa.Integer),
    sa.Column("failed", sa.BigInteger),
    sa.Column("locked_until", sa.BigInteger),
    sa.Column("created", sa.BigInteger),
    sa.Column("created_by", sa.Text),
    sa.Column("changed", sa.BigInteger),
    sa.Column("version", sa.Integer),
)
recovery_code = sa.Table(
    "recovery_code",
    _meta,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("account", sa.Text),
    sa.Column("created", sa.BigInteger),
    sa.Column("used", sa.BigInteger),
)
link = sa.Table(
    "sign_in_link",
    _meta,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("account", sa.Text),
    sa.Column("purpose", sa.Text),
    sa.Column("created", sa.BigInteger),
    sa.Column("by", sa.Text),
    sa.Column("expires", sa.BigInteger),
    sa.Column("used", sa.BigInteger),
)
session = sa.Table(
    "session",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text),
    sa.Column("account", sa.Text),
    sa.Column("method", sa.Text),
    sa.Column("strength", sa.Integer),
    sa.Column("created", sa.BigInteger),
    sa.Column("authenticated", sa.BigInteger),
    sa.Column("second_factor", sa.BigInteger),
    sa.Column("seen", sa.BigInteger),
    sa.Column("expires", sa.BigInteger),
    sa.Column("address", sa.Text),
    sa.Column("agent", sa.Text),
    sa.Column("ended", sa.BigInteger),
    sa.Column("ended_by", sa.Text),
    sa.Column("end_reason", sa.Text),
)
token = sa.Table(
    "token",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text),
    sa.Column("account", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("scopes", sa.Text),
    sa.Column("orgs", sa.Text),
    sa.Column("created", sa.BigInteger),
    sa.Column("created_by", sa.Text),
    sa.Column("expires", sa.BigInteger),
    sa.Column("used", sa.BigInteger),
    sa.Column("revoked", sa.BigInteger),
    sa.Column("revoked_by", sa.Text),
)
authorisation = sa.Table(
    "handler_authorisation",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("firm", sa.Text),
    sa.Column("representative", sa.Text),
    sa.Column("handler", sa.Text),
    sa.Column("matters", sa.Text),
    sa.Column("document", sa.Text),
    sa.Column("since", sa.BigInteger),
    sa.Column("until", sa.BigInteger),
    sa.Column("created", sa.BigInteger),
    sa.Column("revoked", sa.BigInteger),
    sa.Column("revoked_by", sa.Text),
    sa.Column("revoke_reason", sa.Text),
)
