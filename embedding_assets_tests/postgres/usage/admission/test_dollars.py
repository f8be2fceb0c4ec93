"""Dollar limits: what is reserved counts until its cost is known, and a limit that is spent is final."""

import threading
from decimal import Decimal

import psycopg
import pytest
from psycopg import sql

from embedding_assets.config import BudgetConfig
from embedding_assets.errors import BudgetExceededError
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.usage.admission import Admitted, Wait, release, settle
from embedding_assets.postgres.usage.ledger import lock_budget
from embedding_assets_tests.support.admission import NO_LIMITS, admit, api_request


def test_open_requests_are_waited_for_and_then_a_limit_is_final(database, ask, enter):
    budget = BudgetConfig(usd_per_run=Decimal("0.01"))
    settle(database, enter(budget=budget), tokens=1000, rates=None)
    first, second = enter(budget=budget), enter(budget=budget)
    assert ask(budget=budget) == Wait(0.25, "budget", 0.0)
    assert isinstance(ask(budget=budget, run_id="another"), Admitted)
    assert settle(database, first, tokens=3000, rates=None) == Decimal("0.003")
    assert ask(budget=budget) == Wait(0.25, "budget", 0.0)
    settle(database, second, tokens=2000, rates=None)
    verdict = ask(budget=budget)
    assert isinstance(verdict, Admitted)
    assert verdict.budget_share == pytest.approx(0.7)
    settle(database, verdict.reservation, tokens=1001, rates=None)
    with pytest.raises(BudgetExceededError, match=r"this run costs \$0.007 "):
        ask(budget=budget)


def test_what_a_refused_request_held_is_free_again(database, ask, enter):
    budget = BudgetConfig(usd_per_day=Decimal("0.0051"))
    settle(database, enter(), tokens=1, rates=None)
    first = enter(budget=budget)
    assert ask(budget=budget).reason == "budget"
    release(database, first)
    enter(budget=budget)


def test_a_free_request_passes_when_the_money_is_spent(database, ask, enter):
    budget = BudgetConfig(usd_per_day=Decimal("0.004"))
    settle(database, enter(budget=budget), tokens=4000, rates=None)
    with pytest.raises(BudgetExceededError):
        ask(budget=budget)
    assert isinstance(ask(budget=budget, usd_per_million=Decimal(0)), Admitted)


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_whoever_waited_for_the_budget_sees_what_was_reserved_meanwhile(database_url, settings, isolation):
    """Also where the database's default is that a transaction sees only what was there when it began."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name, level = sql.Identifier(connection.info.dbname), sql.Literal(isolation)
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = {}").format(name, level))
    verdicts = []

    def ask() -> None:
        try:
            verdicts.append(admit(database, api_request(), NO_LIMITS, budget, lifetime_seconds=60))
        except BudgetExceededError as error:
            verdicts.append(error)

    budget = BudgetConfig(usd_per_day=Decimal("0.0079"))
    with open_database(settings) as database, database.connect() as first:
        lock_budget(first)
        waiter = threading.Thread(target=ask)
        waiter.start()
        waiter.join(0.3)
        assert waiter.is_alive()
        first.execute(
            "INSERT INTO embedding_usage (endpoint, space, provider, model, run_id, inputs, tokens, usd, reserved_usd, "
            "expires_at) VALUES ('another', 's', 'p', 'm', 'another', 1, 1, 0.001, 0.004, now() + interval '1 hour')"
        )
        first.commit()
        waiter.join(180)
    assert verdicts == [Wait(0.25, "budget", 0.0)]
