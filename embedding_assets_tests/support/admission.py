"""Requests to an API that does not exist, as they are asked admission for."""

from decimal import Decimal

from embedding_assets.config import BudgetConfig
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.admission import Admitted, Wait, admit_all
from embedding_assets.postgres.usage.endpoints import RateHeaders, RateLimits
from embedding_assets.postgres.usage.ledger import ApiRequest

NO_LIMITS = RateLimits(None, None)


NO_BUDGET = BudgetConfig(usd_per_run=None, usd_per_day=None, usd_per_month=None, alert_share=0.8)


def api_request(**changes) -> ApiRequest:
    """Likely a tenth of a cent, at most four."""
    values = {
        "endpoint": "e", "space": "s", "provider": "openai", "model": "m", "run_id": "r", "inputs": 10,
        "tokens": 1000, "most_tokens": 4000, "usd_per_million": Decimal(1),
    }  # fmt: skip
    return ApiRequest(**values | changes)


def admit(
    database: Database, request: ApiRequest, limits: RateLimits, budget: BudgetConfig, **options
) -> Admitted | Wait:
    """Ask for a single request."""
    [verdict] = admit_all(database, [request], limits, budget, **options)
    return verdict


def headers(requests=(None, None), tokens=(None, None)) -> RateHeaders:
    """Each the limit and what remains of it."""
    return RateHeaders(*requests, *tokens)


def assert_sums_are_those_of_the_rows(beside) -> None:
    rows = """
        SELECT period, key, sum(usd) FROM embedding_usage, LATERAL (
            VALUES ('day', (created_at AT TIME ZONE 'UTC')::date::text),
                   ('month', left((created_at AT TIME ZONE 'UTC')::date::text, 7)),
                   ('run', run_id)
        ) AS affected (period, key) WHERE state <> 'reserved' GROUP BY period, key
    """
    sums = set(beside.execute("SELECT period, key, usd FROM embedding_spending WHERE usd <> 0").fetchall())
    expected = {row for row in beside.execute(rows) if row[2]}
    # Runs of long ago are forgotten.
    recent = {run for (run,) in beside.execute("SELECT DISTINCT run_id FROM embedding_usage WHERE requests IS NULL")}
    assert sums <= expected
    assert all(period == "run" and key not in recent for period, key, _ in expected - sums)
