"""Which assets of Dagster define a source, so that another one of the same name does not replace it."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Not known of sources that nothing has synced since."""
    if op.get_context().opts["is_own"]:
        op.execute("ALTER TABLE synced_sources ADD COLUMN owners text[] NOT NULL DEFAULT '{}'")
