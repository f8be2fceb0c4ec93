"""What lets a request through, makes it wait or stops it: dollars, rates, outages."""

import threading
import time
from decimal import Decimal

import psycopg
import pytest
from psycopg import sql

from embedding_assets.config import BudgetConfig
from embedding_assets.errors import BudgetExceededError
from embedding_assets.postgres import admission
from embedding_assets.postgres.admission import (
    Admitted,
    ApiRequest,
    RateHeaders,
    RateLimits,
    Wait,
    admit,
    presume,
    release,
    settle,
)
from embedding_assets.postgres.connection import open_database
from embedding_assets.postgres.endpoints import Endpoint, lock_endpoint
from embedding_assets.postgres.ledger import count_spending, list_costs, lock_budget

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


def count_rows(beside) -> dict[str, int]:
    return dict(beside.execute("SELECT state, count(*) FROM embedding_usage GROUP BY state").fetchall())


# A request from admission to its outcome


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
    monkeypatch.setattr("embedding_assets.postgres.admission.save_endpoint", save)
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
        monkeypatch.setattr(f"embedding_assets.postgres.{module}.IDLE_TIMEOUT", "100ms")
    budget = BudgetConfig(usd_per_day=Decimal(1))
    for lock in (lock_budget, lambda connection: lock_endpoint(connection, "e")):
        with database.connect() as stopped:
            lock(stopped)
            assert isinstance(ask(budget=budget, endpoint="e"), Admitted)
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                stopped.execute("SELECT 1")
        beside.execute("DELETE FROM embedding_usage")
    saved = []

    def save(connection, endpoint):
        saved.append(endpoint)
        if len(saved) == 1:
            time.sleep(1)
        save_endpoint(connection, endpoint)

    save_endpoint = admission.save_endpoint
    monkeypatch.setattr("embedding_assets.postgres.admission.save_endpoint", save)
    verdict = ask(budget=budget)
    assert len(saved) == 2
    assert beside.execute("SELECT id FROM embedding_usage").fetchall() == [(verdict.reservation,)]


# Dollars


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
    with pytest.raises(BudgetExceededError, match=r"this run costs \$0.007001"):
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
        waiter.join(10)
    assert verdicts == [Wait(0.25, "budget", 0.0)]


# Rates


def test_one_request_finds_out_what_is_left(database, ask, enter, endpoint):
    limits = RateLimits(600, 600_000)
    first = enter(limits)
    assert ask(limits) == Wait(0.1, "rate", 0.0)
    assert isinstance(ask(limits, endpoint="another"), Admitted)
    settle(database, first, tokens=1000, rates=headers((600, 400), (600_000, 90_000)))
    assert endpoint().requests.available == pytest.approx(395, abs=150)
    assert endpoint().tokens.available == pytest.approx(85_000, abs=150_000)
    assert endpoint().tokens.available >= 85_000
    for _ in range(20):
        enter(limits)


def test_without_headers_the_configured_rate_is_kept_from_a_few_seconds_worth_on(database, ask, enter, pass_time):
    limits = RateLimits(12, None)
    settle(database, enter(limits), tokens=1000, rates=None)
    settle(database, enter(limits), tokens=1000, rates=headers())
    verdict = ask(limits)
    assert (verdict.reason, 0 < verdict.seconds <= 5) == ("rate", True)
    pass_time(11)
    enter(limits), enter(limits)
    assert ask(limits).reason == "rate"


def test_without_any_limit_all_may_go_after_the_first_answer(database, ask, enter):
    first = enter()
    assert ask() == Wait(0.1, "rate", 0.0)
    settle(database, first, tokens=1000, rates=headers())
    for _ in range(30):
        enter()


def test_a_first_request_that_hangs_holds_the_others_up_for_seconds_only(database, ask, enter, pass_time):
    enter()
    assert ask() == Wait(0.1, "rate", 0.0)
    pass_time(6)
    enter()
    assert ask() == Wait(0.1, "rate", 0.0)


@pytest.mark.parametrize("outcome", ["release", "presume", "expire"])
def test_a_first_request_that_is_not_answered_is_followed_by_another(database, ask, enter, pass_time, outcome):
    first = enter(RateLimits(60, None))
    if outcome == "release":
        release(database, first, outage=True)
    elif outcome == "presume":
        presume(database, first)
    else:
        pass_time(601)
    enter(RateLimits(60, None))
    assert ask(RateLimits(60, None)).reason == "rate"


def test_a_refusal_with_headers_is_an_answer_about_the_rate(database, ask, enter, pass_time):
    release(database, enter(), rates=headers((6, 0)))
    assert ask() == Wait(5.0, "rate", 0.0), "asked again before the 10 s are over: somebody may learn more"
    pass_time(10.6)
    enter()
    assert ask().reason == "rate"


def test_the_lower_limit_counts(database, ask, enter, pass_time):
    settle(database, enter(RateLimits(6, None)), tokens=1, rates=headers((6000, 5999)))
    pass_time(10)
    enter(RateLimits(6, None))
    assert ask(RateLimits(6, None)).reason == "rate"
    ask(), pass_time(1)
    assert [type(ask()) for _ in range(9)] == [Admitted] * 9, "ours is taken away"


def test_headers_correct_in_both_directions(database, ask, enter, endpoint):
    settle(database, enter(), tokens=1, rates=headers((6, 6)))
    first, second = enter(), enter()
    settle(database, first, tokens=1, rates=headers((6, 0)))  # somebody else uses this key
    assert ask().reason == "rate"
    settle(database, second, tokens=1, rates=headers((6, 5)))  # and has stopped
    assert 4.9 < endpoint().requests.available <= 6
    for _ in range(4):
        enter()


def test_what_the_server_has_not_counted_yet_is_subtracted(database, enter, beside):
    settle(database, enter(), tokens=1, rates=headers((60, 60), (60_000, 60_000)))
    before, answered, later, lost, done = (enter(tokens=tokens) for tokens in (100, 200, 400, 800, 1600))
    presume(database, lost)
    settle(database, done, tokens=1600, rates=None)

    def left_after(reservation: int, requests: int, tokens: int) -> tuple[float, float]:
        settle(database, reservation, tokens=1, rates=headers((60, requests), (60_000, tokens)))
        return beside.execute("SELECT requests_available, tokens_available FROM embedding_endpoints").fetchone()

    # Sent earlier and still open: 1 of 100. Sent later, whatever became of them: 3 of 2,800. And half a second's worth.
    left = left_after(answered, 40, 40_000)
    assert left == (pytest.approx(40 - 4 - 0.5), pytest.approx(40_000 - 2900 - 500))
    older = left_after(before, 1, 1)
    assert older >= left, "an older answer than the last says nothing new"
    assert left_after(later, 30, 30_000) == (pytest.approx(30 - 2 - 0.5), pytest.approx(30_000 - 2400 - 500))


def test_a_request_larger_than_the_bucket_goes_when_that_is_full(database, ask, enter, pass_time, endpoint):
    settle(database, enter(tokens=1), tokens=1, rates=headers(tokens=(6000, 5000)))
    assert ask(tokens=30_000).reason == "rate"
    pass_time(60)
    enter(tokens=30_000)
    assert endpoint().tokens.available < -20_000
    assert ask(tokens=1).reason == "rate"
    pass_time(200)
    assert ask(tokens=1).reason == "rate", "the debt is paid off first"
    pass_time(50)
    enter(tokens=1)


def test_retry_after_holds_for_everybody_and_the_longest_counts(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=None)
    first, second = enter(), enter()
    assert release(database, first, retry_after_seconds=300) == 0
    assert release(database, second, retry_after_seconds=5) == 0
    verdict = ask()
    assert (verdict.reason, verdict.outage_seconds) == ("rate", 0)
    assert 200 < verdict.seconds <= 300
    assert isinstance(ask(endpoint="another"), Admitted)
    pass_time(300)
    enter()


def test_a_refusal_for_rate_that_does_not_say_what_is_left_empties_the_bucket(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=headers((6, 6)))
    release(database, enter(), retry_after_seconds=1)
    pass_time(1)
    assert ask().reason == "rate"
    pass_time(10)
    enter()


def test_a_server_that_fails_and_says_when_to_come_back_leaves_the_bucket_alone(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=headers((6, 6)))
    release(database, enter(), retry_after_seconds=1, outage=True)
    assert ask().reason == "rate"
    pass_time(1)
    enter()


def test_a_limit_that_is_configured_later_takes_effect(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=None)
    enter()
    assert ask(RateLimits(None, 6000), tokens=1000).reason == "rate", "there are five seconds' worth of 500"
    pass_time(5.5)
    enter(RateLimits(None, 6000), tokens=1000)
    assert ask(RateLimits(None, 6000), tokens=1000).reason == "rate"
    enter(tokens=10**6)


# Outages


def test_failures_in_a_row_open_the_circuit_for_everybody(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=None)
    reservations = [enter() for _ in range(6)]
    assert release(database, reservations.pop(), outage=True) == 0
    pass_time(30)
    for _ in range(3):
        assert 30 <= presume(database, reservations.pop()) < 60
    assert isinstance(ask(), Admitted)
    assert release(database, reservations.pop(), outage=True) >= 30
    verdict = ask()
    assert (verdict.reason, 0 < verdict.seconds <= 1) == ("outage", True)
    assert 30 <= verdict.outage_seconds < 60
    assert isinstance(ask(endpoint="another"), Admitted)
    # An answer to what was sent before proves that the server is up.
    settle(database, reservations.pop(), tokens=1, rates=None)
    assert isinstance(ask(), Admitted)


@pytest.mark.parametrize("outcome", ["answered", "refused", "failed", "lost", "never told"])
def test_one_probe_at_a_time_is_let_through(database, ask, enter, pass_time, outcome, endpoint):
    settle(database, enter(), tokens=1, rates=None)
    other = enter()
    for _ in range(5):
        release(database, enter(), outage=True)
    pass_time(1)
    probe = enter()
    verdict = ask()
    assert (verdict.reason, verdict.seconds) == ("outage", 1), "asked again soon: the probe may be answered any moment"
    release(database, other, outage=True)
    assert ask().reason == "outage", "what else fails does not let another one through"
    if outcome == "answered":
        settle(database, probe, tokens=1, rates=None)
    elif outcome == "refused":
        assert release(database, probe) == 0
    elif outcome == "failed":
        assert release(database, probe, outage=True) >= 1
    elif outcome == "lost":
        assert presume(database, probe) >= 1
    else:
        pass_time(600)
    if outcome in ("failed", "lost"):
        assert endpoint().outages == 6
        assert ask().reason == "outage"
        pass_time(2)
        enter()
        assert ask().reason == "outage", "again one alone"
    elif outcome == "never told":
        enter()
        assert ask().reason == "outage"
    else:
        assert endpoint().outage_seconds == 0
        enter(), enter()


@pytest.mark.parametrize("give_up", [release, presume])
def test_what_is_given_up_says_nothing_about_the_endpoint(database, ask, enter, pass_time, endpoint, give_up):
    settle(database, enter(), tokens=1, rates=None)
    for reservation in [enter() for _ in range(9)]:
        assert give_up(database, reservation, given_up=True) == 0
    assert endpoint().outages == 0
    for _ in range(5):
        release(database, enter(), outage=True)
    pass_time(1)
    probe = enter()
    assert ask().reason == "outage"
    assert give_up(database, probe, given_up=True) >= 1
    assert endpoint().outages == 5
    enter()
    assert ask().reason == "outage", "again one alone"


def test_a_wait_for_another_reason_tells_of_the_outage_too(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=headers((6, 6)))
    release(database, enter(), outage=True, retry_after_seconds=500)
    pass_time(20)
    assert 20 <= ask().outage_seconds < 60
