"""Collections of documents, what a document's file held, and an index that finds chunks of the same text."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_DOCUMENTS = """
ALTER TABLE loaded_documents
    ADD COLUMN collection text,
    ADD COLUMN content text,
    ADD COLUMN rejected integer NOT NULL DEFAULT 0
"""

_COLLECTIONS = """
CREATE INDEX idx_loaded_documents_content ON loaded_documents (collection, content) WHERE content IS NOT NULL;
CREATE TABLE loaded_collections (
    name text PRIMARY KEY,
    root text NOT NULL,
    is_folder boolean NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
)
"""

# What ``Table.fingerprint`` gives for a row of this table.
_SAME_TEXT = """
CREATE INDEX IF NOT EXISTS idx_embedded_text ON knowledge_base ((md5(
    CASE WHEN coalesce(context_header, '') <> '' THEN coalesce(context_header, '') || E'\\n' || coalesce(chunk_text, '')
    ELSE coalesce(chunk_text, '') END
) COLLATE "C"))
"""

_FEW_ROWS = 10_000


def upgrade() -> None:
    """The index of a large table is left to the next load, which builds it without keeping writers out."""
    op.execute(_DOCUMENTS)
    if not op.get_context().opts["is_own"]:
        return
    op.execute(_COLLECTIONS)
    rows = op.get_bind().execute(
        sa.text("SELECT count(*) FROM (SELECT 1 FROM knowledge_base LIMIT :most) k"), {"most": _FEW_ROWS}
    )
    if rows.scalar_one() < _FEW_ROWS:
        op.execute(_SAME_TEXT)
