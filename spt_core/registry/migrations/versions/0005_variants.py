"""Variants of a version, one for each deployment target, and which of them is deployed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; deployments of before are of the version itself."""
    op.create_table(
        "spt_variant",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("variant", sa.Text, primary_key=True),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("exported", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("report_uri", sa.Text, nullable=False),
        sa.Column("licences", sa.Text, nullable=False),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["spt_model_version.name", "spt_model_version.version"],
            name="spt_variant_version",
        ),
    )
    op.add_column(
        "spt_deployment", sa.Column("variant", sa.Text, nullable=False, server_default="")
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_column("spt_deployment", "variant")
    op.drop_table("spt_variant")
