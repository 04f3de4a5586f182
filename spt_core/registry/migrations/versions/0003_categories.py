"""What a source files each item under: agency, docket, part of the code."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; items of before have no categories."""
    column = sa.Column("categories", sa.Text, nullable=False, server_default="")
    op.add_column("spt_item", column)


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("spt_item", "categories")
