"""Organisations, who belongs to them, what they own, and the events by which processes hear of changes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "org",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("parent", sa.Text, sa.ForeignKey("org.id")),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("title_zh", sa.Text, nullable=False),
        sa.Column("title_en", sa.Text, nullable=False),
        sa.Column("code", sa.Text, unique=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("org_parent", "org", ["parent"])
    op.create_index("org_tenant", "org", ["tenant"])
    op.create_table(
        "org_reach",
        sa.Column("above", sa.Text, sa.ForeignKey("org.id"), primary_key=True),
        sa.Column("below", sa.Text, sa.ForeignKey("org.id"), primary_key=True),
    )
    op.create_index("org_reach_below", "org_reach", ["below"])
    op.create_table(
        "org_mandate",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("body", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
        sa.Column("basis", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("revoked_by", sa.Text),
    )
    op.create_index("org_mandate_holder", "org_mandate", ["holder"])
    op.create_index("org_mandate_body", "org_mandate", ["body"])
    op.create_table(
        "membership",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("member", sa.Text, nullable=False),
        sa.Column("org", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("revoked_by", sa.Text),
    )
    op.create_index("membership_member", "membership", ["member"])
    op.create_index("membership_org", "membership", ["org"])
    op.create_table(
        "ownership",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("resource", sa.Text, primary_key=True),
        sa.Column("org", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
    )
    op.create_index("ownership_org", "ownership", ["org", "kind"])
    op.create_table(
        "access_event",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("published", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("access_event_published", "access_event", ["published", "number"])


def downgrade() -> None:
    for table in ("access_event", "ownership", "membership", "org_mandate", "org_reach", "org"):
        op.drop_table(table)
