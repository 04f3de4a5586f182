"""The ledger of continuous training: sources, items, retrains, outbox, reviews, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REFUSED = "audit entries are added, never changed or removed"
_SQLITE = (
    "CREATE TRIGGER spt_audit_update BEFORE UPDATE ON spt_audit "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
    "CREATE TRIGGER spt_audit_delete BEFORE DELETE ON spt_audit "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
    # INSERT OR REPLACE deletes without calling the trigger for it.
    "CREATE TRIGGER spt_audit_replace BEFORE INSERT ON spt_audit "
    "WHEN EXISTS (SELECT 1 FROM spt_audit WHERE seq = NEW.seq) "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
)
_POSTGRES = (
    "CREATE FUNCTION spt_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$",
    "CREATE TRIGGER spt_audit_change BEFORE UPDATE OR DELETE ON spt_audit "
    "FOR EACH ROW EXECUTE FUNCTION spt_audit_refuse()",
    "CREATE TRIGGER spt_audit_truncate BEFORE TRUNCATE ON spt_audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION spt_audit_refuse()",
)


def upgrade() -> None:
    """Make the tables, and the triggers that keep the audit log as it is."""
    op.create_table(
        "spt_source",
        sa.Column("source_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("selector", sa.Text, nullable=False),
        sa.Column("threshold", sa.Double, nullable=True),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("last_modified", sa.Text, nullable=False),
        sa.Column("body_sha", sa.Text, nullable=False),
        sa.Column("next_check", sa.Double, nullable=False),
        sa.Column("next_reason", sa.Text, nullable=False),
        sa.Column("errors", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("redirect_target", sa.Text, nullable=False),
        sa.Column("redirect_seen", sa.Double, nullable=False),
    )
    op.create_table(
        "spt_item",
        sa.Column("source_id", sa.Text, sa.ForeignKey("spt_source.source_id"), primary_key=True),
        sa.Column("item_key", sa.Text, primary_key=True),
        sa.Column("rev", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content_sha", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("published_raw", sa.Text, nullable=False),
        sa.Column("detected_at", sa.Double, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("label_source", sa.Text, nullable=False),
        sa.Column("trigger_id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("text_uri", sa.Text, nullable=False),
    )
    op.create_table(
        "spt_retrain",
        sa.Column("retrain_id", sa.Text, primary_key=True),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("submission_id", sa.Text, nullable=True),
        sa.Column("manifest_sha", sa.Text, nullable=False),
        sa.Column("result_uri", sa.Text, nullable=False),
        sa.Column("candidate_sha", sa.Text, nullable=False),
        sa.Column("candidate_version", sa.Text, nullable=False),
        sa.Column("champion_before", sa.Text, nullable=False),
        sa.Column("evaluation", sa.Text, nullable=False),
        sa.Column("risk_tier", sa.Text, nullable=False),
        sa.Column("deadline", sa.Double, nullable=True),
        sa.Column("deployment_id", sa.Text, nullable=False),
        sa.Column("triggered_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("audit_seq", sa.Integer, nullable=False),
        sa.UniqueConstraint("bucket", "seq", name="spt_retrain_bucket_seq"),
        sa.UniqueConstraint("submission_id", name="spt_retrain_submission"),
    )
    op.create_table(
        "spt_transition",
        sa.Column("retrain_id", sa.Text, sa.ForeignKey("spt_retrain.retrain_id"), primary_key=True),
        sa.Column("to_state", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("from_state", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("audit_seq", sa.Integer, nullable=False),
    )
    op.create_table(
        "spt_frozen_bucket",
        sa.Column("bucket", sa.Text, primary_key=True),
        sa.Column("retrain_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "spt_outbox",
        sa.Column("oid", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("done_at", sa.Double, nullable=True),
        sa.Column("error", sa.Text, nullable=False),
        sa.UniqueConstraint("kind", "key", name="spt_outbox_key"),
    )
    op.create_table(
        "spt_run_claim",
        sa.Column("submission_id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("heartbeat", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("result_uri", sa.Text, nullable=False),
        sa.Column("artifact_sha", sa.Text, nullable=False),
    )
    op.create_table(
        "spt_review",
        sa.Column("retrain_id", sa.Text, sa.ForeignKey("spt_retrain.retrain_id"), primary_key=True),
        sa.Column("candidate_sha", sa.Text, primary_key=True),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
    )
    op.create_table(
        "spt_involvement",
        sa.Column("audit_seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("part", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
    )
    op.create_table(
        "spt_principal",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("salt", sa.Text, nullable=False),
        sa.Column("key_hash", sa.Text, nullable=False),
    )
    op.create_table(
        "spt_audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("prev", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("spt_item_trigger", "spt_item", ["trigger_id", "bucket"])
    op.create_index("spt_outbox_open", "spt_outbox", ["done_at"])
    op.create_index("spt_involvement_actor", "spt_involvement", ["actor"])
    is_postgres = op.get_bind().dialect.name == "postgresql"
    for statement in _POSTGRES if is_postgres else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("spt_audit")
    op.drop_table("spt_principal")
    op.drop_table("spt_involvement")
    op.drop_table("spt_review")
    op.drop_table("spt_run_claim")
    op.drop_table("spt_outbox")
    op.drop_table("spt_frozen_bucket")
    op.drop_table("spt_transition")
    op.drop_table("spt_retrain")
    op.drop_table("spt_item")
    op.drop_table("spt_source")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION spt_audit_refuse()")
