"""With how many threads a run's model computed, and how many batches side by side."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Not known of runs recorded before, and by processes of the version before."""
    op.execute("ALTER TABLE embedding_runs ADD COLUMN threads integer, ADD COLUMN streams integer")
