"""By what the file of a document is known where it is fetched from."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """No rewrite of the table: the column is empty."""
    op.execute("ALTER TABLE loaded_documents ADD COLUMN mark text")
