"""Machine identity (codes, certificates, lists) and identities proven elsewhere (flows, links)."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "pki_code",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("org", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("usage", sa.Text, nullable=False),
        sa.Column("hosts", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger),
        sa.Column("cancelled", sa.BigInteger),
    )
    op.create_index("pki_code_org", "pki_code", ["org", "created"])
    op.create_table(
        "pki_certificate",
        sa.Column("serial", sa.Text, primary_key=True),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("org", sa.Text, sa.ForeignKey("org.id"), nullable=False),
        sa.Column("usage", sa.Text, nullable=False),
        sa.Column("hosts", sa.Text, nullable=False),
        sa.Column("key_hash", sa.Text, nullable=False, unique=True),
        sa.Column("pem", sa.Text, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("issued", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("code", sa.Text, sa.ForeignKey("pki_code.id")),
        sa.Column("replaces", sa.Text, sa.ForeignKey("pki_certificate.serial"), unique=True),
        sa.Column("retire", sa.BigInteger),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("revoked_by", sa.Text),
        sa.Column("reason", sa.Text),
    )
    op.create_index("pki_certificate_gateway", "pki_certificate", ["org", "gateway"])
    op.create_index("pki_certificate_revoked", "pki_certificate", ["issuer", "revoked"])
    op.create_index("pki_certificate_retire", "pki_certificate", ["retire"])
    op.create_table(
        "pki_crl",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("this_update", sa.BigInteger, nullable=False),
        sa.Column("next_update", sa.BigInteger, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "federation_flow",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("browser", sa.Text, nullable=False),
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("verifier", sa.Text, nullable=False),
        sa.Column("return_to", sa.Text, nullable=False),
        sa.Column("account", sa.Text, sa.ForeignKey("account.id")),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("federation_flow_expires", "federation_flow", ["expires"])
    op.create_table(
        "federation_seen",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("federation_seen_expires", "federation_seen", ["expires"])
    op.create_table(
        "external_identity",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("org_code", sa.Text, nullable=False),
        sa.Column("org", sa.Text, sa.ForeignKey("org.id")),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("wish", sa.Text, sa.ForeignKey("account.id")),
        sa.Column("account", sa.Text, sa.ForeignKey("account.id")),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
        sa.Column("decided", sa.BigInteger),
        sa.Column("decided_by", sa.Text),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.UniqueConstraint("provider", "subject"),
    )
    op.create_index("external_identity_account", "external_identity", ["account"])
    op.create_index("external_identity_state", "external_identity", ["state", "last_seen"])


def downgrade() -> None:
    for table in (
        "external_identity",
        "federation_seen",
        "federation_flow",
        "pki_crl",
        "pki_certificate",
        "pki_code",
    ):
        op.drop_table(table)
