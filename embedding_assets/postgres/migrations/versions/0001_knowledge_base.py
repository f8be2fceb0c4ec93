"""The table of chunks, created or adopted, and what is kept about it."""

import sqlalchemy as sa
from alembic import op

from embedding_assets.errors import ConfigurationError

revision = "0001"
down_revision = None

# Every row is updated once its vector is there; with room in its page the new version leaves all indexes alone.
_CREATE = """
CREATE TABLE IF NOT EXISTS knowledge_base (
    chunk_hash text COLLATE "C" PRIMARY KEY,
    chunk_text text NOT NULL,
    embedding vector(768)
) WITH (fillfactor = 70)
"""

# Columns that an adopted table may lack. text_version shows a writer that the text it embedded has since been edited.
_COLUMNS = """
ALTER TABLE knowledge_base
    ADD COLUMN IF NOT EXISTS context_header text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS document_metadata jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS chunk_index integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS total_chunks integer NOT NULL DEFAULT 1,
    ADD COLUMN IF NOT EXISTS token_count integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS embedding vector(768),
    ADD COLUMN IF NOT EXISTS text_version bigint NOT NULL DEFAULT 0
"""

# embedding_failures has the collation of the table's hashes, or a join could not use its index.
_TABLES = """
CREATE TABLE embedding_spaces (
    name text PRIMARY KEY,
    provider text NOT NULL,
    model text NOT NULL,
    revision text NOT NULL,
    dimensions integer NOT NULL,
    normalized boolean NOT NULL,
    prompt text NOT NULL,
    max_tokens integer NOT NULL,
    column_name text NOT NULL UNIQUE,
    index_name text NOT NULL UNIQUE,
    serving boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX idx_embedding_spaces_serving ON embedding_spaces (serving) WHERE serving;

CREATE TABLE embedding_failures (
    chunk_hash text COLLATE {collation} NOT NULL
        REFERENCES knowledge_base (chunk_hash) ON DELETE CASCADE ON UPDATE CASCADE,
    space text NOT NULL REFERENCES embedding_spaces (name) ON DELETE CASCADE,
    error_code text NOT NULL,
    attempts integer NOT NULL,
    first_failed_at timestamptz NOT NULL DEFAULT now(),
    last_failed_at timestamptz NOT NULL DEFAULT now(),
    retry_at timestamptz NOT NULL,
    quarantined boolean NOT NULL,
    PRIMARY KEY (chunk_hash, space)
);

CREATE TABLE loaded_documents (
    origin text PRIMARY KEY,
    digest text NOT NULL,
    chunks integer NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE embedding_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space text NOT NULL REFERENCES embedding_spaces (name) ON DELETE CASCADE,
    finished_at timestamptz NOT NULL DEFAULT now(),
    embedded integer NOT NULL,
    failed integer NOT NULL,
    skipped integer NOT NULL,
    truncated integer NOT NULL,
    tokens bigint NOT NULL,
    seconds double precision NOT NULL,
    model_load_seconds double precision NOT NULL,
    peak_memory_bytes bigint NOT NULL,
    device text NOT NULL
);
CREATE INDEX idx_embedding_runs_space ON embedding_runs (space, id DESC)
"""

# The function reads which columns hold vectors when it runs, so a new space needs no new trigger. A role that edits a
# chunk may have another search_path, and rights on knowledge_base alone.
_TRIGGER = """
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
    DELETE FROM {schema}.embedding_failures WHERE chunk_hash = OLD.chunk_hash;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER knowledge_base_text_changed
    BEFORE UPDATE OF chunk_text, context_header ON knowledge_base FOR EACH ROW
    WHEN ((OLD.chunk_text, OLD.context_header) IS DISTINCT FROM (NEW.chunk_text, NEW.context_header))
    EXECUTE FUNCTION knowledge_base_text_changed()
"""


def upgrade() -> None:
    """Create what is missing; refuse a table whose columns mean something else."""
    op.execute(_CREATE)
    _check_adopted_columns()
    op.execute(_COLUMNS)
    if not _has_unique_hash():
        op.execute("CREATE UNIQUE INDEX idx_knowledge_chunk_hash ON knowledge_base (chunk_hash)")
    op.execute("CREATE INDEX IF NOT EXISTS idx_knowledge_origin ON knowledge_base ((document_metadata ->> 'origin'))")
    schema, collation = _schema_and_collation()
    op.execute(_TABLES.format(collation=collation))
    op.execute(_TRIGGER.format(schema=schema))


def _schema_and_collation() -> tuple[str, str]:
    """As SQL identifiers: where the table is, and how its hashes are compared."""
    query = """
        SELECT c.relnamespace::regnamespace::text, attcollation::regcollation::text
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE attrelid = 'knowledge_base'::regclass AND attname = 'chunk_hash'
    """
    schema, collation = op.get_bind().execute(sa.text(query)).one()
    return schema, collation


def _check_adopted_columns() -> None:
    rows = op.get_bind().execute(
        sa.text("""
            SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
            WHERE attrelid = 'knowledge_base'::regclass AND attnum > 0 AND NOT attisdropped
        """)
    )
    found: dict[str, str] = {name: kind for name, kind in rows}  # noqa: C416 (rows are not tuples to a type checker)
    expected = {
        "chunk_hash": {"text", "character varying"},
        "chunk_text": {"text", "character varying"},
        "context_header": {"text", "character varying"},
        "document_metadata": {"jsonb"},
        "chunk_index": {"integer", "bigint", "smallint"},
        "total_chunks": {"integer", "bigint", "smallint"},
        "token_count": {"integer", "bigint", "smallint"},
        "embedding": {"vector", "halfvec"},
        "text_version": {"bigint", "integer"},
    }
    kind = (
        op.get_bind().execute(sa.text("SELECT relkind FROM pg_class WHERE oid = 'knowledge_base'::regclass")).scalar()
    )
    problems = [] if kind == "r" else ["it is not an ordinary table"]
    problems += [f"it has no column {name}" for name in ("chunk_hash", "chunk_text") if name not in found]
    problems += [
        f"column {name} is {found[name]}, not {' or '.join(sorted(types))}"
        for name, types in expected.items()
        if name in found and found[name] not in types
    ]
    if _has_unique_hash(immediate=False):
        problems.append("its unique constraint on chunk_hash is deferrable")
    if problems:
        raise ConfigurationError(f"the existing table knowledge_base cannot be adopted: {'; '.join(problems)}")


def _has_unique_hash(*, immediate: bool = True) -> bool:
    query = """
        SELECT 1 FROM pg_index JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = indkey[0]
        WHERE indrelid = 'knowledge_base'::regclass AND indisunique AND indisvalid AND indnatts = 1
          AND indimmediate = :immediate AND indpred IS NULL AND a.attname = 'chunk_hash'
    """
    return op.get_bind().execute(sa.text(query), {"immediate": immediate}).first() is not None
