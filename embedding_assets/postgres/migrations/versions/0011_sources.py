"""Sources: tables and queries whose rows are documents, and notes on the rows that changed."""

from alembic import op

revision = "0011"
down_revision = "0010"

# Without foreign keys: what writes to a source notes a change without a lock that anything could wait for. The primary
# key's order is the one in which the notes of a source are read.
_TABLES = """
CREATE TABLE synced_sources (
    name text PRIMARY KEY,
    definition jsonb NOT NULL,
    is_watched boolean NOT NULL DEFAULT false,
    compared_oid bigint,
    compared_manner text,
    compared_at timestamptz,
    synced_at timestamptz,
    registered_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE synced_changes (
    source text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    key text[],
    PRIMARY KEY (source, id)
);
CREATE INDEX idx_loaded_documents_origin ON loaded_documents (origin COLLATE "C")
"""


def upgrade() -> None:
    """Only beside ``knowledge_base``: nothing is synced into a table of the user's."""
    if op.get_context().opts["is_own"]:
        op.execute(_TABLES)
