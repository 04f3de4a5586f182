"""The tables as this version of the project knows them; migrations/ brings a database to this.

JSON is kept as text, so that both databases give back the very bytes that were hashed. The prefix
keeps clear of other tools (MLflow has `model_versions`) in a shared Postgres database.
"""

from __future__ import annotations

import sqlalchemy as sa

REVISION_TABLE = "spt_revision"
METADATA = sa.MetaData()


def _of_a_model() -> list[sa.Column[str]]:
    """What a version and its variants hold alike."""
    names = ("identity", "exported", "policy", "report", "report_uri", "licences", "lineage")
    return [
        sa.Column(name, sa.Text, nullable=False) for name in (*names, "created_at", "created_by")
    ]


MODEL_VERSION = sa.Table(
    "spt_model_version",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    *_of_a_model(),
    sa.UniqueConstraint("name", "identity", name="spt_model_version_identity"),
)

VARIANT = sa.Table(
    "spt_variant",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("variant", sa.Text, primary_key=True),
    *_of_a_model(),
    sa.ForeignKeyConstraint(
        ["name", "version"],
        ["spt_model_version.name", "spt_model_version.version"],
        name="spt_variant_version",
    ),
)

ALIAS = sa.Table(
    "spt_alias",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(
        ["name", "version"],
        ["spt_model_version.name", "spt_model_version.version"],
        name="spt_alias_version",
    ),
)

ALIAS_CHANGE = sa.Table(
    "spt_alias_change",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("alias", sa.Text, nullable=False),
    sa.Column("from_version", sa.Integer, nullable=True),
    sa.Column("to_version", sa.Integer, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["name", "to_version"],
        ["spt_model_version.name", "spt_model_version.version"],
        name="spt_alias_change_version",
    ),
)

DEPLOYMENT = sa.Table(
    "spt_deployment",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("traffic_share", sa.Double, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("previous_version", sa.Integer, nullable=True),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("variant", sa.Text, nullable=False, server_default=""),
    sa.ForeignKeyConstraint(
        ["name", "version"],
        ["spt_model_version.name", "spt_model_version.version"],
        name="spt_deployment_version",
    ),
)

LEASE = sa.Table(
    "spt_lease",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("since_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double, nullable=False),
)

# The ledger of continuous training (spt_core/continuous/ledger). Moments are seconds since 1970.

SOURCE = sa.Table(
    "spt_source",
    METADATA,
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
    sa.Column("cursor", sa.Text, nullable=False, server_default=""),
    sa.Column("hints", sa.Text, nullable=False, server_default=""),
    sa.Column("checked_at", sa.Double, nullable=False, server_default="0"),
    sa.Column("redirect_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("trouble", sa.Text, nullable=False, server_default=""),
)

ITEM = sa.Table(
    "spt_item",
    METADATA,
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
    sa.Column("categories", sa.Text, nullable=False, server_default=""),
    sa.Column("explanation", sa.Text, nullable=False, server_default=""),
    sa.Index("spt_item_trigger", "trigger_id", "bucket"),
    sa.Index("spt_item_detected", "source_id", "detected_at"),
)

RETRAIN = sa.Table(
    "spt_retrain",
    METADATA,
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

TRANSITION = sa.Table(
    "spt_transition",
    METADATA,
    sa.Column("retrain_id", sa.Text, sa.ForeignKey("spt_retrain.retrain_id"), primary_key=True),
    sa.Column("to_state", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("audit_seq", sa.Integer, nullable=False),
)

FROZEN_BUCKET = sa.Table(
    "spt_frozen_bucket",
    METADATA,
    sa.Column("bucket", sa.Text, primary_key=True),
    sa.Column("retrain_id", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

OUTBOX = sa.Table(
    "spt_outbox",
    METADATA,
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
    sa.Index("spt_outbox_open", "done_at"),
)

RUN_CLAIM = sa.Table(
    "spt_run_claim",
    METADATA,
    sa.Column("submission_id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("heartbeat", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
    sa.Column("result_uri", sa.Text, nullable=False),
    sa.Column("artifact_sha", sa.Text, nullable=False),
)

REVIEW = sa.Table(
    "spt_review",
    METADATA,
    sa.Column("retrain_id", sa.Text, sa.ForeignKey("spt_retrain.retrain_id"), primary_key=True),
    sa.Column("candidate_sha", sa.Text, primary_key=True),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)

INVOLVEMENT = sa.Table(
    "spt_involvement",
    METADATA,
    sa.Column("audit_seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("part", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Index("spt_involvement_actor", "actor"),
)

PRINCIPAL = sa.Table(
    "spt_principal",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("roles", sa.Text, nullable=False),
)

API_KEY = sa.Table(
    "spt_api_key",
    METADATA,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("tasks", sa.Text, nullable=False),
    sa.Column("requests_per_s", sa.Double, nullable=True),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double, nullable=True),
    sa.Column("revoked_s", sa.Double, nullable=True),
    sa.UniqueConstraint("digest", name="spt_api_key_digest"),
)

# Rows are added, never changed: the migration makes triggers that refuse the rest.
AUDIT = sa.Table(
    "spt_audit",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
