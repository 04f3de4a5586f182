"""Model versions, aliases with their history, deployments and leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "spt_model_version",
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
    op.create_table(
        "spt_alias",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["spt_model_version.name", "spt_model_version.version"],
            name="spt_alias_version",
        ),
    )
    op.create_table(
        "spt_alias_change",
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
    op.create_table(
        "spt_deployment",
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
    op.create_table(
        "spt_lease",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("since_s", sa.Double, nullable=False),
        sa.Column("expires_s", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("spt_lease")
    op.drop_table("spt_deployment")
    op.drop_table("spt_alias_change")
    op.drop_table("spt_alias")
    op.drop_table("spt_model_version")
