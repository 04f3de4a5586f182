"""What alembic runs: every step that is missing, in the transaction that database.py has opened."""

from alembic import context

from spt_core.registry.tables import METADATA, REVISION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=REVISION_TABLE,
    render_as_batch=True,
)
context.run_migrations()
