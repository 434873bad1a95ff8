"""Alarms, the versions of their definitions, their transitions, and how far the rules have read the bus."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "alarm",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("retired", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("state_rank", sa.Integer, nullable=False),
        sa.Column("priority", sa.Text, nullable=False),
        sa.Column("priority_rank", sa.Integer, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("view", sa.Text, nullable=False),
    )
    op.create_index("alarm_order", "alarm", ["retired", "state_rank", "priority_rank", "since"])
    op.create_table(
        "alarm_definition",
        sa.Column("alarm", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "alarm_transition",
        sa.Column("alarm", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("published", sa.Boolean, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("alarm_transition_time", "alarm_transition", ["time"])
    op.create_index("alarm_transition_published", "alarm_transition", ["published"])
    op.create_table(
        "alarm_position",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("latest", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for table in ("alarm_position", "alarm_transition", "alarm_definition", "alarm"):
        op.drop_table(table)
