"""The tables of approvals and standing grants, as migration 0020 made them."""

from __future__ import annotations

import sqlalchemy as sa

_meta = sa.MetaData()
approval = sa.Table(
    "approval",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text),
    sa.Column("action", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("resource", sa.Text),
    sa.Column("machine", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("payload", sa.Text),
    sa.Column("payload_hash", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("requester", sa.Text),
    sa.Column("requested", sa.BigInteger),
    sa.Column("expires", sa.BigInteger),
    sa.Column("decider", sa.Text),
    sa.Column("decided", sa.BigInteger),
    sa.Column("note", sa.Text),
    sa.Column("ended", sa.BigInteger),
    sa.Column("edition", sa.Text),
)
standing = sa.Table(
    "standing_grant",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text),
    sa.Column("rule_hash", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("service", sa.Text),
    sa.Column("approval", sa.Text),
    sa.Column("requester", sa.Text),
    sa.Column("approver", sa.Text),
    sa.Column("start", sa.BigInteger),
    sa.Column("end", sa.BigInteger),
    sa.Column("revoked", sa.BigInteger),
    sa.Column("revoked_by", sa.Text),
    sa.Column("revoke_reason", sa.Text),
)
target = sa.Table(
    "standing_target",
    _meta,
    sa.Column("standing", sa.Text, primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Column("bounds", sa.Text),
)
