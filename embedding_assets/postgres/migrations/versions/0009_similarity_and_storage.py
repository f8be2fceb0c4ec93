"""What a space ranks by and how its vectors are stored, beside the space; a space can take another name."""

from alembic import op

revision = "0009"
down_revision = "0006"

# Both as they were: the operator class was a setting, and its index shows what it was set to.
_COLUMNS = """
ALTER TABLE embedding_spaces
    ADD COLUMN IF NOT EXISTS similarity text NOT NULL DEFAULT 'cosine',
    ADD COLUMN IF NOT EXISTS storage text NOT NULL DEFAULT 'vector';
UPDATE embedding_spaces SET similarity = CASE opcname WHEN 'vector_ip_ops' THEN 'dot' ELSE 'euclidean' END
FROM pg_index JOIN pg_opclass ON pg_opclass.oid = indclass[0]
WHERE indexrelid = to_regclass(quote_ident(index_name)) AND opcname IN ('vector_ip_ops', 'vector_l2_ops')
"""

_REFERENCE = """
ALTER TABLE {table}
    DROP CONSTRAINT {table}_space_fkey,
    ADD CONSTRAINT {table}_space_fkey FOREIGN KEY (space) REFERENCES embedding_spaces (name)
        ON DELETE CASCADE ON UPDATE CASCADE
"""


def upgrade() -> None:
    """Add the columns; what refers to a space follows its name."""
    op.execute(_COLUMNS)
    for table in ("embedding_failures", "embedding_runs", "embedding_index_measurements"):
        op.execute(_REFERENCE.format(table=table))
