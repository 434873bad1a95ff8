"""The audit log: entries that no statement may change, and its head."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0020"

_TEXTS = (
    "actor", "actor_name", "actor_org", "action", "resource", "org", "outcome", "reason", "basis",
    "request", "address", "details", "previous", "hash", "search",
)  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in _TEXTS),
    )
    for name in ("time", "actor", "action", "org", "actor_org", "basis", "resource", "request"):
        op.create_index(f"audit_entry_{name}", "audit_entry", [name, "sequence"])
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("base_sequence", sa.BigInteger, nullable=False),
        sa.Column("base_hash", sa.Text, nullable=False),
        sa.Column("base_time", sa.BigInteger, nullable=False),
    )
    start = {"sequence": 0, "hash": "0" * 64, "time": 0}
    op.bulk_insert(head, [{"id": 1, **start, **{f"base_{k}": v for k, v in start.items()}}])
    for statement in _guards():
        op.execute(statement)


def _guards() -> list[str]:
    """Entries are never changed, and removed only up to the base that retention has set."""
    told = "the audit log is append-only"
    base = "(SELECT base_sequence FROM audit_head WHERE id = 1)"
    if op.get_context().dialect.name == "sqlite":
        return [
            "CREATE TRIGGER audit_entry_fixed BEFORE UPDATE ON audit_entry "
            f"BEGIN SELECT RAISE(ABORT, '{told}'); END",
            f"CREATE TRIGGER audit_entry_kept BEFORE DELETE ON audit_entry WHEN OLD.sequence > {base} "
            f"BEGIN SELECT RAISE(ABORT, '{told}'); END",
        ]
    return [
        "CREATE FUNCTION audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'DELETE' AND OLD.sequence <= {base} THEN RETURN OLD; END IF; "
        f"RAISE EXCEPTION '{told}' USING ERRCODE = 'integrity_constraint_violation'; END $$",
        "CREATE TRIGGER audit_entry_guard BEFORE UPDATE OR DELETE ON audit_entry "
        "FOR EACH ROW EXECUTE FUNCTION audit_guard()",
        "CREATE TRIGGER audit_entry_whole BEFORE TRUNCATE ON audit_entry "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_guard()",
    ]


def downgrade() -> None:
    op.drop_table("audit_entry")
    op.drop_table("audit_head")
    if op.get_context().dialect.name != "sqlite":
        op.execute("DROP FUNCTION audit_guard()")
