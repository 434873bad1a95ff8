"""The tag catalogue. `id` is AUTOINCREMENT, so that the id of a deleted row is never given out again."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "tag",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("title_zh", sa.Text),
        sa.Column("title_en", sa.Text),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("writable", sa.Boolean, nullable=False),
        sa.Column("low", sa.Float(53)),
        sa.Column("high", sa.Float(53)),
        sa.Column("search", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("tag_machine", "tag", ["machine", "name"])


def downgrade() -> None:
    op.drop_table("tag")
