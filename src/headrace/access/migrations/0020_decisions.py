"""Approvals by a second person, and standing grants of automatic rules."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("payload_hash", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("requester", sa.Text, nullable=False),
        sa.Column("requested", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("decider", sa.Text),
        sa.Column("decided", sa.BigInteger),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("ended", sa.BigInteger),
        sa.Column("edition", sa.Text, nullable=False),
        sa.CheckConstraint(
            "state IN ('requested', 'approved', 'refused', 'expired', 'used')", name="approval_state"
        ),
        # the last line of defence: not even a fault in the program stores an approval of one's own request
        sa.CheckConstraint(
            "state NOT IN ('approved', 'used') OR (decider IS NOT NULL AND decider <> requester)",
            name="approval_two_persons",
        ),
    )
    op.create_index("approval_owner", "approval", ["owner", "state", "requested"])
    op.create_index("approval_requester", "approval", ["requester", "requested"])
    op.create_index("approval_expiry", "approval", ["state", "expires"])
    op.create_table(
        "standing_grant",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("rule_hash", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("approval", sa.Text, sa.ForeignKey("approval.id"), nullable=False, unique=True),
        sa.Column("requester", sa.Text, nullable=False),
        sa.Column("approver", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("revoked_by", sa.Text),
        sa.Column("revoke_reason", sa.Text, nullable=False),
    )
    op.create_index("standing_grant_rule", "standing_grant", ["rule", "rule_hash"])
    op.create_index("standing_grant_owner", "standing_grant", ["owner", "start"])
    op.create_table(
        "standing_target",
        sa.Column("standing", sa.Text, sa.ForeignKey("standing_grant.id"), primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("bounds", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("standing_target", "standing_grant", "approval"):
        op.drop_table(table)
