"""Grants, the keys that sign them, what was read under them, and tables published from them."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.create_table(
        "share_key",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("org", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("public", sa.LargeBinary, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("retired", sa.BigInteger),
    )
    op.create_index("share_key_org", "share_key", ["org"])
    op.create_table(
        "share_grant",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("grantee", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("use", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("share_grant_owner", "share_grant", ["owner", "created"])
    op.create_index("share_grant_grantee", "share_grant", ["grantee", "created"])
    op.create_table(
        "share_item",
        sa.Column("grant", sa.Text, sa.ForeignKey("share_grant.id"), primary_key=True),
        sa.Column("resource", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
    )
    op.create_index("share_item_resource", "share_item", ["subject", "resource"])
    version = op.create_table(
        "share_version",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(version, [{"id": 1, "number": 0}])
    op.create_table(
        "share_read",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("grant", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("grantee", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("actor_name", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("use", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger),
        sa.Column("end", sa.BigInteger),
        sa.Column("every", sa.BigInteger),
        sa.Column("points", sa.BigInteger, nullable=False),
        sa.Column("table", sa.Text, nullable=False),
    )
    op.create_index("share_read_owner", "share_read", ["owner", "sequence"])
    op.create_index("share_read_grantee", "share_read", ["grantee", "sequence"])
    op.create_index("share_read_grant", "share_read", ["grant", "sequence"])
    op.create_table(
        "share_table",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("indicator", sa.Text, nullable=False),
        sa.Column("publisher", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("retired", sa.BigInteger),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("share_table_indicator", "share_table", ["indicator"])
    op.create_table(
        "share_edition",
        sa.Column("table", sa.Text, sa.ForeignKey("share_table.id"), primary_key=True),
        sa.Column("period", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("published", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("share_edition", "share_table", "share_read", "share_version", "share_item", "share_grant",
                  "share_key"):  # fmt: skip
        op.drop_table(table)
