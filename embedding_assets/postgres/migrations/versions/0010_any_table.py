"""Records of a table that somebody else may own: none of them refers to it, and an edit is noticed in every way."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_FAILURES = """
ALTER TABLE embedding_failures
    ADD COLUMN key text[] NOT NULL DEFAULT '{}',
    ADD COLUMN fingerprint text COLLATE "C"
"""

# What was recorded before is about the text that the chunk has now: an edit removed it.
_FAILED_TEXTS = """
UPDATE embedding_failures f SET key = ARRAY[k.chunk_hash], fingerprint = md5(
    CASE WHEN context_header <> '' THEN context_header || E'\\n' ELSE '' END || coalesce(chunk_text, '')
)
FROM knowledge_base k WHERE k.chunk_hash = f.chunk_hash
"""

_ADOPTED_TABLE = """
CREATE TABLE embedding_adopted_table (
    schema_name text NOT NULL,
    table_name text NOT NULL,
    definition jsonb NOT NULL,
    adopted_at timestamptz NOT NULL DEFAULT now(),
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only)
)
"""


def upgrade() -> None:
    """What referred to ``knowledge_base`` kept it from being truncated; who starts next puts the new trigger on it."""
    op.execute(_FAILURES)
    if not op.get_context().opts["is_own"]:
        op.execute(_ADOPTED_TABLE)
        return
    op.execute(_FAILED_TEXTS)
    names = op.get_bind().execute(
        sa.text("""
            SELECT quote_ident(conname) FROM pg_constraint
            WHERE conrelid = 'embedding_failures'::regclass AND confrelid = 'knowledge_base'::regclass
        """)
    )
    for name in names.scalars().all():
        op.execute(f"ALTER TABLE embedding_failures DROP CONSTRAINT {name}")
    op.execute("DROP TRIGGER IF EXISTS knowledge_base_text_changed ON knowledge_base")
    op.execute("DROP FUNCTION IF EXISTS knowledge_base_text_changed()")
