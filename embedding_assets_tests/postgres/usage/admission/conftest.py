"""Requests to an API that does not exist: asked for, let through, overtaken by time."""

from decimal import Decimal

import pytest
from psycopg import sql

from embedding_assets.config import BudgetConfig
from embedding_assets.postgres.usage.admission import Admitted, Wait, admit
from embedding_assets.postgres.usage.endpoints import Endpoint, RateHeaders, RateLimits, lock_endpoint
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


def headers(requests=(None, None), tokens=(None, None)) -> RateHeaders:
    """Each the limit and what remains of it."""
    return RateHeaders(*requests, *tokens)


@pytest.fixture
def ask(database):
    """Ask for admission of a request."""

    def ask(limits=NO_LIMITS, budget=NO_BUDGET, **changes) -> Admitted | Wait:
        return admit(database, api_request(**changes), limits, budget, lifetime_seconds=600)

    return ask


@pytest.fixture
def enter(ask):
    """Ask for admission of a request that must be admitted; returns its reservation."""

    def enter(*arguments, **changes) -> int:
        verdict = ask(*arguments, **changes)
        assert isinstance(verdict, Admitted), verdict
        return verdict.reservation

    return enter


@pytest.fixture
def pass_time(beside):
    """Let seconds go by for all that is in the tables."""

    def pass_time(seconds: float) -> None:
        for table, names in (
            ("embedding_usage", ["created_at", "expires_at"]),
            ("embedding_endpoints", ["refilled_at", "blocked_until", "failing_since", "failed_at", "open_until"]),
        ):
            changes = sql.SQL(", ").join(
                sql.SQL("{0} = {0} - {1} * interval '1 second'").format(sql.Identifier(name), sql.Literal(seconds))
                for name in names
            )
            beside.execute(sql.SQL("UPDATE {} SET {}").format(sql.Identifier(table), changes))

    return pass_time


@pytest.fixture
def endpoint(database):
    """The endpoint as it is now."""

    def read(name="e") -> Endpoint:
        return database.run(lambda connection: lock_endpoint(connection, name))

    return read
