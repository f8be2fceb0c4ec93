"""What requests to APIs cost, what each API still allows, and the dollars of a run."""

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

# A trigger, so that the sums are those of the rows whoever writes them. Their order is always the same: two writers
# cannot wait for each other.
_TRIGGER = """
CREATE FUNCTION embedding_usage_spent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.embedding_spending AS spending (period, key, usd)
    SELECT period, key, sum(change.usd)
    FROM (
        SELECT OLD.created_at, OLD.run_id, -OLD.usd WHERE TG_OP <> 'INSERT' AND OLD.state <> 'reserved'
        UNION ALL
        SELECT NEW.created_at, NEW.run_id, NEW.usd WHERE TG_OP <> 'DELETE' AND NEW.state <> 'reserved'
    ) AS change (created_at, run_id, usd)
    CROSS JOIN LATERAL (SELECT created_at AT TIME ZONE 'UTC') AS utc (created)
    CROSS JOIN LATERAL (
        VALUES ('day', to_char(created, 'YYYY-MM-DD')), ('month', to_char(created, 'YYYY-MM')), ('run', run_id)
    ) AS affected (period, key)
    GROUP BY period, key ORDER BY period, key
    ON CONFLICT (period, key) DO UPDATE SET usd = spending.usd + excluded.usd;
    RETURN NULL;
END
$$;
CREATE TRIGGER embedding_usage_spent AFTER UPDATE OR DELETE ON embedding_usage FOR EACH ROW
    EXECUTE FUNCTION embedding_usage_spent();
CREATE TRIGGER embedding_usage_spent_at_once AFTER INSERT ON embedding_usage FOR EACH ROW
    WHEN (NEW.state <> 'reserved') EXECUTE FUNCTION embedding_usage_spent()
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
        sa.text(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE oid = ("
            "SELECT relnamespace FROM pg_class WHERE oid = 'embedding_usage'::regclass)"
        )
    )
    op.execute(_TRIGGER.format(schema=schema.scalar_one()))
    op.execute(_ENDPOINTS)
    op.execute("ALTER TABLE embedding_runs ADD COLUMN usd numeric NOT NULL DEFAULT 0")
