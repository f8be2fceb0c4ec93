"""The table of chunks, and what is kept about it."""

from alembic import op

revision = "0001"
down_revision = None

# Every row is updated once its vector is there; with room in its page the new version leaves all indexes alone.
# text_version counts edits.
_TABLE = """
CREATE TABLE knowledge_base (
    chunk_hash text COLLATE "C" PRIMARY KEY,
    chunk_text text NOT NULL,
    embedding vector(768),
    context_header text NOT NULL DEFAULT '',
    document_metadata jsonb NOT NULL DEFAULT '{}',
    chunk_index integer NOT NULL DEFAULT 0,
    total_chunks integer NOT NULL DEFAULT 1,
    token_count integer NOT NULL DEFAULT 0,
    text_version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70)
"""

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
    chunk_hash text COLLATE "C" NOT NULL,
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


def upgrade() -> None:
    """Create the tables; of a table that was adopted only those that are kept about it."""
    if not op.get_context().opts["is_own"]:
        op.execute(_TABLES)
        return
    op.execute(_TABLE)
    op.execute("CREATE INDEX idx_knowledge_origin ON knowledge_base ((document_metadata ->> 'origin'))")
    op.execute(_TABLES)
