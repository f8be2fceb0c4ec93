"""Measurements of vector indexes, and the time since which a chunk has been pending."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MEASUREMENTS = """
CREATE TABLE embedding_index_measurements (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space text NOT NULL REFERENCES embedding_spaces (name) ON DELETE CASCADE,
    measured_at timestamptz NOT NULL DEFAULT now(),
    index_name text NOT NULL,
    embedded bigint NOT NULL,
    recall double precision,
    recall_low double precision,
    recall_high double precision,
    p50_ms double precision,
    p95_ms double precision,
    exact_p50_ms double precision,
    index_bytes bigint NOT NULL,
    table_bytes bigint NOT NULL,
    bloat double precision,
    details jsonb NOT NULL,
    built boolean NOT NULL,
    accepted boolean NOT NULL
);
CREATE INDEX idx_embedding_index_measurements_space ON embedding_index_measurements (space, id DESC)
"""

# The default of rows that are there already is kept once for all of them, so the table is not rewritten.
_PENDING_SINCE = "ALTER TABLE knowledge_base ADD COLUMN IF NOT EXISTS pending_since timestamptz NOT NULL DEFAULT now()"

# Called where a vector is taken away alone, by a trigger of each space's column; a further space brings its own.
_REMOVAL_FUNCTION = """
CREATE OR REPLACE FUNCTION knowledge_base_vector_removed() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    NEW.pending_since := pg_catalog.now();
    RETURN NEW;
END
$$
"""

_REMOVAL_TRIGGER = """
CREATE OR REPLACE TRIGGER {trigger} BEFORE UPDATE OF {column} ON knowledge_base FOR EACH ROW
    WHEN (OLD.{column} IS NOT NULL AND NEW.{column} IS NULL
          AND OLD.pending_since IS NOT DISTINCT FROM NEW.pending_since)
    EXECUTE FUNCTION knowledge_base_vector_removed()
"""


def upgrade() -> None:
    """Chunks that wait already count from now on."""
    op.execute(_MEASUREMENTS)
    if not op.get_context().opts["is_own"]:
        return
    op.execute(_PENDING_SINCE)
    op.execute(_REMOVAL_FUNCTION)
    names = "SELECT quote_ident(column_name), quote_ident(column_name || '_removed') FROM embedding_spaces"
    for column, trigger in op.get_bind().execute(sa.text(names)).all():
        op.execute(_REMOVAL_TRIGGER.format(column=column, trigger=trigger))
