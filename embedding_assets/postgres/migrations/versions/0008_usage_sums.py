"""Old requests of the ledger as sums by day."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """NULL: a single request. Only sums are in the index, so that nothing is slower for the others."""
    op.execute("ALTER TABLE embedding_usage ADD COLUMN requests integer")
    op.execute("CREATE INDEX idx_embedding_usage_sums ON embedding_usage (created_at) WHERE requests IS NOT NULL")
