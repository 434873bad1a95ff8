"""The tables of machine identity, as migration 0010 made them."""

from __future__ import annotations

import sqlalchemy as sa

_meta = sa.MetaData()
code = sa.Table(
    "pki_code",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text),
    sa.Column("gateway", sa.Text),
    sa.Column("org", sa.Text),
    sa.Column("usage", sa.Text),
    sa.Column("hosts", sa.Text),
    sa.Column("created", sa.BigInteger),
    sa.Column("by", sa.Text),
    sa.Column("expires", sa.BigInteger),
    sa.Column("used", sa.BigInteger),
    sa.Column("cancelled", sa.BigInteger),
)
certificate = sa.Table(
    "pki_certificate",
    _meta,
    sa.Column("serial", sa.Text, primary_key=True),
    sa.Column("issuer", sa.Text),
    sa.Column("gateway", sa.Text),
    sa.Column("org", sa.Text),
    sa.Column("usage", sa.Text),
    sa.Column("hosts", sa.Text),
    sa.Column("key_hash", sa.Text),
    sa.Column("pem", sa.Text),
    sa.Column("not_before", sa.BigInteger),
    sa.Column("not_after", sa.BigInteger),
    sa.Column("issued", sa.BigInteger),
    sa.Column("by", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("replaces", sa.Text),
    sa.Column("retire", sa.BigInteger),
    sa.Column("revoked", sa.BigInteger),
    sa.Column("revoked_by", sa.Text),
    sa.Column("reason", sa.Text),
)
crl = sa.Table(
    "pki_crl",
    _meta,
    sa.Column("issuer", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger),
    sa.Column("this_update", sa.BigInteger),
    sa.Column("next_update", sa.BigInteger),
    sa.Column("der", sa.LargeBinary),
    sa.Column("certificate", sa.LargeBinary),
)
