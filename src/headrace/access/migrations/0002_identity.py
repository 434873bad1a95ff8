"""Accounts and what proves them: passwords, codes, links, sessions, tokens; authorisations of handlers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("login", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("home", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("password", sa.Text),
        sa.Column("password_changed", sa.BigInteger),
        sa.Column("totp", sa.LargeBinary),
        sa.Column("totp_confirmed", sa.BigInteger),
        sa.Column("totp_step", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failed", sa.BigInteger),
        sa.Column("locked_until", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("account_home", "account", ["home"])
    op.create_table(
        "recovery_code",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger),
    )
    op.create_index("recovery_code_account", "recovery_code", ["account"])
    op.create_table(
        "sign_in_link",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger),
    )
    op.create_index("sign_in_link_account", "sign_in_link", ["account"])
    op.create_table(
        "session",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
        sa.Column("account", sa.Text, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("strength", sa.Integer, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("authenticated", sa.BigInteger, nullable=False),
        sa.Column("second_factor", sa.BigInteger),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("ended", sa.BigInteger),
        sa.Column("ended_by", sa.Text),
        sa.Column("end_reason", sa.Text),
    )
    op.create_index("session_account", "session", ["account", "ended"])
    op.create_table(
        "token",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("account", sa.Text, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("orgs", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("revoked_by", sa.Text),
    )
    op.create_index("token_account", "token", ["account"])
    op.create_table(
        "handler_authorisation",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("firm", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("representative", sa.Text, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("handler", sa.Text, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("matters", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("revoked_by", sa.Text),
        sa.Column("revoke_reason", sa.Text),
    )
    op.create_index("handler_authorisation_handler", "handler_authorisation", ["handler"])
    op.create_index("handler_authorisation_firm", "handler_authorisation", ["firm"])


def downgrade() -> None:
    for table in ("handler_authorisation", "token", "session", "sign_in_link", "recovery_code", "account"):
        op.drop_table(table)
