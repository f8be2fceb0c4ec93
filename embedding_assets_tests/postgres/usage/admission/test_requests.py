"""A request from its admission to its outcome, whatever becomes of connections and processes in between."""

import time
from decimal import Decimal

import psycopg
import pytest

from embedding_assets.config import BudgetConfig
from embedding_assets.errors import BudgetExceededError
from embedding_assets.postgres.usage import admission
from embedding_assets.postgres.usage.admission import Admitted, Wait, admit_all, presume, release, settle
from embedding_assets.postgres.usage.endpoints import RateLimits, lock_endpoint
from embedding_assets.postgres.usage.ledger import count_spending, list_costs, lock_budget
from embedding_assets_tests.support.admission import NO_BUDGET, NO_LIMITS, api_request


def count_rows(beside) -> dict[str, int]:
    return dict(beside.execute("SELECT state, count(*) FROM embedding_usage GROUP BY state").fetchall())


def test_an_answered_request_is_settled(database, enter, beside):
    reservation = enter()
    [row] = beside.execute(
        "SELECT endpoint, space, provider, model, run_id, inputs, tokens, usd_per_million, usd, reserved_usd, state, "
        "extract(epoch FROM expires_at - created_at)::float8, now() - created_at < '1 minute' FROM embedding_usage"
    ).fetchall()
    assert row[:7] == ("e", "s", "openai", "m", "r", 10, 1000)
    assert row[7:11] == (Decimal(1), Decimal("0.001"), Decimal("0.004"), "reserved")
    assert row[11:] == (pytest.approx(600), True)
    assert settle(database, reservation, tokens=1234, rates=None) == Decimal("0.001234")
    query = "SELECT state, tokens, usd, settled_at >= created_at FROM embedding_usage"
    assert beside.execute(query).fetchall() == [("settled", 1234, Decimal("0.001234"), True)]
    assert settle(database, reservation, tokens=1234, rates=None) == Decimal("0.001234"), "once"
    assert count_spending(database, "r").run == Decimal("0.001234")


def test_a_released_request_leaves_nothing(database, enter, beside):
    assert release(database, enter()) == 0
    assert count_rows(beside) == {}
    assert count_spending(database, "r").day == 0


def test_a_presumed_request_stays_at_its_likely_cost(database, enter, beside):
    presume(database, enter())
    assert count_rows(beside) == {"presumed": 1}
    assert count_spending(database, "r").day == Decimal("0.001")


def test_outcomes_of_a_reservation_that_is_gone(database, enter, beside, caplog):
    reservation = enter()
    beside.execute("DELETE FROM embedding_usage")
    assert settle(database, reservation, tokens=1234, rates=None) == 0
    assert "1234 tokens are not counted" in caplog.text
    assert release(database, reservation, outage=True) == 0
    assert presume(database, reservation) == 0


def test_without_a_price_requests_are_counted_at_nothing(database, ask):
    budget = BudgetConfig(usd_per_run=Decimal("0.0001"))
    verdict = ask(budget=budget, usd_per_million=None)
    assert (verdict.budget_share, settle(database, verdict.reservation, tokens=9, rates=None)) == (0, 0)
    [row] = list_costs(database, by="run")
    assert (row.requests, row.tokens, row.usd) == (1, 9, 0)


def test_a_connection_lost_in_the_middle_reserves_once(database, ask, beside, monkeypatch):
    """What the first attempt wrote is rolled back; the second is the only one."""
    saved = []

    def save(connection, endpoint):
        saved.append(endpoint)
        if len(saved) == 1:
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        save_endpoint(connection, endpoint)

    save_endpoint = admission.save_endpoint
    monkeypatch.setattr("embedding_assets.postgres.usage.admission.save_endpoint", save)
    verdict = ask(budget=BudgetConfig(usd_per_day=Decimal(1)))
    assert len(saved) == 2
    assert beside.execute("SELECT id FROM embedding_usage").fetchall() == [(verdict.reservation,)]
    saved.clear()
    assert settle(database, verdict.reservation, tokens=2000, rates=None) == Decimal("0.002")
    assert len(saved) == 2
    assert count_spending(database, "r").day == Decimal("0.002")


def test_a_process_that_stops_in_the_middle_holds_nobody_up_for_long(database, ask, beside, monkeypatch):
    """Its transaction is ended, and repeated should it ever go on."""
    for module in ("endpoints", "ledger"):
        monkeypatch.setattr(f"embedding_assets.postgres.usage.{module}.IDLE_TIMEOUT", "100ms")
    budget = BudgetConfig(usd_per_day=Decimal(1))
    for lock in (lock_budget, lambda connection: lock_endpoint(connection, "e")):
        with database.connect() as stopped:
            lock(stopped)
            assert isinstance(ask(budget=budget, endpoint="e"), Admitted)
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                stopped.execute("SELECT 1")
        beside.execute("DELETE FROM embedding_usage")
    judged = []

    def judge(*arguments, **options):
        judged.append(arguments)
        if len(judged) == 1:
            time.sleep(1)
        return judge_at_once(*arguments, **options)

    judge_at_once = admission._judge
    monkeypatch.setattr("embedding_assets.postgres.usage.admission._judge", judge)
    verdict = ask(budget=budget)
    assert len(judged) == 2
    assert beside.execute("SELECT id FROM embedding_usage").fetchall() == [(verdict.reservation,)]


def ask_for(database, count: int, *, limits=NO_LIMITS, budget=NO_BUDGET, **changes) -> list[Admitted | Wait]:
    requests = [api_request(**changes) for _ in range(count)]
    return admit_all(database, requests, limits, budget, lifetime_seconds=600)


def test_requests_are_admitted_together_as_far_as_the_limits_go(database, enter, beside):
    assert [type(verdict) for verdict in ask_for(database, 3)] == [Admitted, Wait], "one finds out what is left"
    beside.execute("DELETE FROM embedding_usage")
    settle(database, enter(RateLimits(24, None)), tokens=1, rates=None)
    first, second, wait = ask_for(database, 5, limits=RateLimits(24, None))
    assert first.reservation < second.reservation
    assert (wait.reason, wait.seconds > 0) == ("rate", True)
    rows = beside.execute("SELECT requests_admitted, tokens_admitted FROM embedding_usage WHERE state = 'reserved' "
                          "ORDER BY id").fetchall()  # fmt: skip
    assert rows == [(3, 3000), (4, 4000)]
    assert beside.execute("SELECT requests_admitted FROM embedding_endpoints").fetchone() == (4,)


def test_requests_are_admitted_together_as_far_as_the_dollars_go(database, enter):
    settle(database, enter(), tokens=1, rates=None)
    budget = BudgetConfig(usd_per_run=Decimal("0.009"))
    first, second, wait = ask_for(database, 4, budget=budget)
    assert (first.budget_share, second.budget_share) == (pytest.approx(1 / 9, abs=0.01), pytest.approx(2 / 9, abs=0.01))
    assert wait == Wait(0.25, "budget", 0.0)
    for verdict in (first, second):
        settle(database, verdict.reservation, tokens=2400, rates=None)
    last = ask_for(database, 4, budget=budget)
    assert [type(verdict) for verdict in last] == [Admitted], "that the next one does not fit is its own error"
    with pytest.raises(BudgetExceededError):
        ask_for(database, 4, budget=budget)
