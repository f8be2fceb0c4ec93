"""Measurements of vector indexes, and the time since which a chunk has been pending."""

import sqlalchemy as sa
from alembic import op

from embedding_assets.errors import ConfigurationError

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

# As in 0001, but for pending_since.
_TRIGGER_FUNCTION = """
CREATE OR REPLACE FUNCTION knowledge_base_text_changed() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    no_vectors jsonb;
BEGIN
    SELECT coalesce(jsonb_object_agg(column_name, NULL), '{{}}') || '{{"embedding": null}}'
        INTO no_vectors FROM {schema}.embedding_spaces;
    NEW := jsonb_populate_record(NEW, no_vectors);
    NEW.text_version := OLD.text_version + 1;
    NEW.pending_since := now();
    DELETE FROM {schema}.embedding_failures WHERE chunk_hash = OLD.chunk_hash;
    RETURN NEW;
END
$$
"""

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
    bind = op.get_bind()
    schema = bind.execute(
        sa.text("SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'knowledge_base'::regclass")
    ).scalar_one()
    op.execute(_PENDING_SINCE)
    kind = bind.execute(
        sa.text("""
            SELECT format_type(atttypid, NULL) FROM pg_attribute
            WHERE attrelid = 'knowledge_base'::regclass AND attname = 'pending_since'
        """)
    ).scalar_one()
    if kind != "timestamp with time zone":
        raise ConfigurationError(
            f"the existing table knowledge_base cannot be adopted: column pending_since is {kind}, "
            "not timestamp with time zone"
        )
    op.execute(_MEASUREMENTS)
    op.execute(_TRIGGER_FUNCTION.format(schema=schema))
    op.execute(_REMOVAL_FUNCTION)
    names = "SELECT quote_ident(column_name), quote_ident(column_name || '_removed') FROM embedding_spaces"
    for column, trigger in bind.execute(sa.text(names)).all():
        op.execute(_REMOVAL_TRIGGER.format(column=column, trigger=trigger))
