"""Limits of a server that were learned, beside those of its account."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Nothing was learned of any server before."""
    op.execute("""
        ALTER TABLE embedding_endpoints
            ADD COLUMN inputs integer,
            ADD COLUMN in_flight integer,
            ADD COLUMN most_inputs integer,
            ADD COLUMN floats boolean,
            ADD COLUMN learned_at timestamptz
    """)
