"""API keys of principals. Credentials of before end: of a scrypt hash no key can be made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; principals stay, and are given keys by an admin."""
    op.create_table(
        "spt_api_key",
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
    op.drop_column("spt_principal", "salt")
    op.drop_column("spt_principal", "key_hash")


def downgrade() -> None:
    """Drop it; principals have no credentials then."""
    for name in ("salt", "key_hash"):
        column = sa.Column(name, sa.Text, nullable=False, server_default="")
        op.add_column("spt_principal", column)
    op.drop_table("spt_api_key")
