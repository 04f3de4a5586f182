"""What a watcher must remember of a source, and why an item is relevant."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; sources of before are asked again, items of before have no explanation."""
    for column in _of_sources():
        op.add_column("spt_source", column)
    op.add_column("spt_item", sa.Column("explanation", sa.Text, nullable=False, server_default=""))
    op.create_index("spt_item_detected", "spt_item", ["source_id", "detected_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("spt_item_detected", "spt_item")
    op.drop_column("spt_item", "explanation")
    for column in reversed(_of_sources()):
        op.drop_column("spt_source", column.name)


def _of_sources() -> list[sa.Column[Any]]:
    return [
        sa.Column("cursor", sa.Text, nullable=False, server_default=""),
        sa.Column("hints", sa.Text, nullable=False, server_default=""),
        sa.Column("checked_at", sa.Double, nullable=False, server_default="0"),
        sa.Column("redirect_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("trouble", sa.Text, nullable=False, server_default=""),
    ]
