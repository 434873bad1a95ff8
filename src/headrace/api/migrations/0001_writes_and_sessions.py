"""The audit of writes, and the sessions of browsers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "api_write",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("readback", sa.Text),
        sa.Column("code", sa.Text),
        sa.Column("params", sa.Text),
        sa.Column("done", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("api_write_machine", "api_write", ["machine", "id"])
    op.create_index("api_write_request", "api_write", ["request"])
    op.create_table(
        "api_session",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("api_session")
    op.drop_table("api_write")
