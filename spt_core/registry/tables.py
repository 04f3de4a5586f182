"""The tables as this version of the project knows them; migrations/ brings a database to this.

JSON is kept as text, so that both databases give back the very bytes that were hashed. The prefix
keeps clear of other tools (MLflow has `model_versions`) in a shared Postgres database.
"""

from __future__ import annotations

import sqlalchemy as sa

REVISION_TABLE = "spt_revision"
METADATA = sa.MetaData()

MODEL_VERSION = sa.Table(
    "spt_model_version",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("exported", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("report", sa.Text, nullable=False),
    sa.Column("report_uri", sa.Text, nullable=False),
    sa.Column("licences", sa.Text, nullable=False),
    sa.Column("lineage", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.UniqueConstraint("name", "identity", name="spt_model_version_identity"),
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
