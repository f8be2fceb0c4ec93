"""In which number format a run's model computed."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Runs recorded before, and by processes of the version before, computed in float32, whatever the machine."""
    op.execute("ALTER TABLE embedding_runs ADD COLUMN precision text NOT NULL DEFAULT 'float32'")
