"""The prompt of questions beside the space that they are asked in."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """NULL: what the model's files say."""
    op.execute("ALTER TABLE embedding_spaces ADD COLUMN IF NOT EXISTS query_prompt text")
