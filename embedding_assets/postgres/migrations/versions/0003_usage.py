"""Costs of requests to APIs, the limits of each API, and the dollars of a run."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# No reference to embedding_spaces: what was paid stays paid when a space is gone. requests_admitted and tokens_admitted
# are the endpoint's totals as of this request.
_USAGE = """
CREATE TABLE embedding_usage (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint text NOT NULL,
    space text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    run_id text NOT NULL,
    inputs integer NOT NULL,
    tokens bigint NOT NULL,
    usd_per_million numeric,
    usd numeric NOT NULL,
    reserved_usd numeric NOT NULL,
    state text NOT NULL DEFAULT 'reserved' CHECK (state IN ('reserved', 'settled', 'presumed')),
    probe boolean NOT NULL DEFAULT false,
    requests_admitted bigint NOT NULL DEFAULT 0,
    tokens_admitted bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    settled_at timestamptz
);
CREATE INDEX idx_embedding_usage_reserved ON embedding_usage (endpoint, id) WHERE state = 'reserved'
"""

# Sums of what is no longer reserved, by UTC day, UTC month and run, so that asking for them costs the same however many
# requests there were. Rows are updated all the time: with room in its page, no index notices.
_SPENDING = """
CREATE TABLE embedding_spending (
    period text COLLATE "C" NOT NULL CHECK (period IN ('day', 'month', 'run')),
    key text COLLATE "C" NOT NULL,
    usd numeric NOT NULL,
    PRIMARY KEY (period, key)
) WITH (fillfactor = 50)
"""

# Triggers, so that the sums are those of the rows whatever writes them. Once for a statement: each update in the same
# transaction has to step over what the ones before left behind. Always in the same order: two writers cannot wait for
# each other.
_TRIGGERS = """
CREATE FUNCTION embedding_usage_spent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.embedding_spending AS spending (period, key, usd)
    SELECT period, key, TG_ARGV[0]::integer * sum(usd)
    FROM (
        SELECT created_at AT TIME ZONE 'UTC', run_id, usd FROM changed WHERE state <> 'reserved'
    ) AS closed (created, run_id, usd)
    CROSS JOIN LATERAL (
        VALUES ('day', to_char(created, 'YYYY-MM-DD')), ('month', to_char(created, 'YYYY-MM')), ('run', run_id)
    ) AS affected (period, key)
    GROUP BY period, key ORDER BY period, key
    ON CONFLICT (period, key) DO UPDATE SET usd = spending.usd + excluded.usd;
    RETURN NULL;
END
$$;
CREATE TRIGGER embedding_usage_inserted AFTER INSERT ON embedding_usage
    REFERENCING NEW TABLE AS changed EXECUTE FUNCTION embedding_usage_spent('1');
CREATE TRIGGER embedding_usage_deleted AFTER DELETE ON embedding_usage
    REFERENCING OLD TABLE AS changed EXECUTE FUNCTION embedding_usage_spent('-1');
CREATE TRIGGER embedding_usage_updated_from AFTER UPDATE ON embedding_usage
    REFERENCING OLD TABLE AS changed EXECUTE FUNCTION embedding_usage_spent('-1');
CREATE TRIGGER embedding_usage_updated_to AFTER UPDATE ON embedding_usage
    REFERENCING NEW TABLE AS changed EXECUTE FUNCTION embedding_usage_spent('1')
"""

_ENDPOINTS = """
CREATE TABLE embedding_endpoints (
    name text COLLATE "C" PRIMARY KEY,
    requests_configured bigint,
    requests_learned bigint,
    requests_available double precision,
    requests_admitted bigint NOT NULL DEFAULT 0,
    tokens_configured bigint,
    tokens_learned bigint,
    tokens_available double precision,
    tokens_admitted bigint NOT NULL DEFAULT 0,
    refilled_at timestamptz NOT NULL DEFAULT now(),
    corrected_by bigint,
    blocked_until timestamptz,
    failing_since timestamptz,
    failed_at timestamptz,
    outages integer NOT NULL DEFAULT 0,
    open_until timestamptz
) WITH (fillfactor = 20)
"""


def upgrade() -> None:
    """Runs recorded before, and by processes of the version before, cost nothing: they computed by themselves."""
    op.execute(_USAGE)
    op.execute(_SPENDING)
    schema = op.get_bind().execute(
        sa.text("""
            SELECT quote_ident(nspname) FROM pg_namespace
            WHERE oid = (SELECT relnamespace FROM pg_class WHERE oid = 'embedding_usage'::regclass)
        """)
    )
    op.execute(_TRIGGERS.format(schema=schema.scalar_one()))
    op.execute(_ENDPOINTS)
    op.execute("ALTER TABLE embedding_runs ADD COLUMN usd numeric NOT NULL DEFAULT 0")
