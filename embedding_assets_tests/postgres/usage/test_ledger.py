"""Dollars: what is reserved, billed, presumed and expired adds up exactly, by UTC day, UTC month and run."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from psycopg import sql

from embedding_assets.config import BudgetConfig
from embedding_assets.errors import BudgetExceededError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.endpoints import lock_endpoint
from embedding_assets.postgres.usage.ledger import (
    CostRow,
    Spending,
    check_budget,
    close_reservation,
    count_open,
    count_spending,
    list_costs,
    reserve,
    total_costs,
    usd_of,
)
from embedding_assets_tests.support.admission import api_request, assert_sums_are_those_of_the_rows

NOW = datetime(2024, 3, 1, 0, 0, 0, tzinfo=UTC)
"""The first moment of a day and of a month."""


@pytest.fixture
def enter(beside):
    """Enter a request as it would be in the table."""

    def enter(state="settled", usd="1", *, created=NOW, expires=timedelta(minutes=1), **fields):
        values = {
            "endpoint": "e", "space": "s", "provider": "openai", "model": "m", "run_id": "r", "inputs": 10,
            "tokens": 1000, "usd": Decimal(usd), "reserved_usd": 4 * Decimal(usd), "state": state,
            "created_at": created, "expires_at": created + expires,
        } | fields  # fmt: skip
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        marks = sql.SQL(", ").join(sql.Placeholder() * len(values))
        query = sql.SQL("INSERT INTO embedding_usage ({}) VALUES ({}) RETURNING id").format(names, marks)
        return beside.execute(query, list(values.values())).fetchone()[0]

    return enter


@pytest.fixture
def check(database):
    """Whether a request may be sent at a moment: its share of the limits, None to wait."""

    def check(moment=NOW, *, tokens=1000, most_tokens=4000, run_id="r", price="1", **limits):
        request = api_request(tokens=tokens, most_tokens=most_tokens, run_id=run_id, usd_per_million=Decimal(price))
        budget = BudgetConfig(**{f"usd_per_{period}": Decimal(limit) for period, limit in limits.items()})
        return database.run(lambda connection: check_budget(connection, request, budget, moment.timestamp()))

    return check


# What counts


def test_each_state_counts_as_what_it_may_cost(enter, check):
    enter("settled", "0.10")
    enter("presumed", "0.20")
    enter("reserved", "0.30", expires=timedelta(0))  # its outcome was not recorded in time
    assert check(run="0.604") == pytest.approx((0.6 + 0.001) / 0.604)
    with pytest.raises(BudgetExceededError):
        check(run="0.603999")
    enter("reserved", "0.01")  # in flight; up to 0.04
    assert check(run="0.644") == pytest.approx((0.61 + 0.001) / 0.644)
    assert check(run="0.643999") is None, "it fits once the other turns out to be cheap"
    assert check(run="0.614") is None
    with pytest.raises(BudgetExceededError):
        check(run="0.613999")


def test_every_limit_holds_and_the_one_that_lasts_longest_is_named(enter, check):
    enter(usd="1")
    enter(usd="2", created=NOW + timedelta(days=3))
    assert check(run="4", day="4", month="4") == pytest.approx(3.001 / 4)
    assert check(day="1.004") == pytest.approx(1.001 / 1.004), "the day's share alone"
    for period, spent, goes_on in (
        ("day", 1, "work goes on at 00:00 UTC on 2024-03-02"),
        ("month", 3, "work goes on at 00:00 UTC on 2024-04-01"),
        ("run", 3, "start a new run"),
    ):
        with pytest.raises(BudgetExceededError) as exceeded:
            check(**{"day": "4", "run": "4", "month": "4", period: spent})
        assert str(exceeded.value) == (
            f"this {period} costs ${spent}.00 with what is in flight, the next request may cost $0.004, and the limit "
            f"is ${spent}.00 (EMBEDDING_BUDGET_USD_PER_{period.upper()}); {goes_on}, or raise the limit"
        )
    with pytest.raises(BudgetExceededError, match="USD_PER_MONTH"):
        check(day="1", run="1", month="1")


@pytest.mark.parametrize(("moment", "next_month"), [("2024-12-31", "2025-01-01"), ("2024-01-31", "2024-02-01")])
def test_the_next_month_is_the_next(enter, check, moment, next_month):
    moment = datetime.fromisoformat(f"{moment}T23:59:59+00:00")
    enter(usd="1", created=moment)
    with pytest.raises(BudgetExceededError, match=f"on {next_month}"):
        check(moment, month="1")


def test_a_limit_below_a_single_request_says_so(check):
    with pytest.raises(BudgetExceededError, match=r"; raise the limit$"):
        check(day="0.0039")
    assert check(day="0.004") == pytest.approx(0.25)


def test_shares_go_by_what_is_likely(enter, check):
    enter("reserved", "0.10")
    assert check(day="1") == pytest.approx(0.101)
    assert check(day="10", run="1", month="100") == pytest.approx(0.101), "the highest of them"


def test_runs_do_not_mix(enter, check):
    enter(usd="1", run_id="another")
    enter("reserved", "1", run_id="another")
    assert check(run="0.004") == pytest.approx(0.25)
    assert check(run="2.004", run_id="another") is None
    with pytest.raises(BudgetExceededError):
        check(run="2.003", run_id="another")


BOUNDARIES = {
    # Created, and whether that counts for the day and the month that begin with NOW.
    "a moment before": (NOW - timedelta(microseconds=1), False, False),
    "the first moment": (NOW, True, True),
    "the last moment of the day": (NOW + timedelta(days=1, microseconds=-1), True, True),
    "the next day": (NOW + timedelta(days=1), False, True),
    "the last moment of the month": (NOW + timedelta(days=31, microseconds=-1), False, True),
    "the next month": (NOW + timedelta(days=31), False, False),
}


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati"])
@pytest.mark.parametrize(("created", "in_day", "in_month"), BOUNDARIES.values(), ids=BOUNDARIES)
def test_days_and_months_are_those_of_utc(enter, check, database, beside, created, in_day, in_month, zone):
    name, setting = sql.Identifier(beside.info.dbname), sql.Literal(zone)
    beside.execute(sql.SQL("ALTER DATABASE {} SET TimeZone = {}").format(name, setting))
    beside.execute(sql.SQL("SET TimeZone = {}").format(setting))
    # Whatever the database's is, ours is UTC; what others enter is in theirs.
    assert database.run(lambda connection: connection.execute("SHOW TimeZone").fetchone()) == ("UTC",)
    assert beside.execute("SHOW TimeZone").fetchone() == (zone,)
    moment = NOW + timedelta(hours=12)
    for state, used in (("settled", "1"), ("presumed", "1"), ("reserved", "4")):
        enter(state, "1", created=created, expires=timedelta(days=99))
        for counts, period in ((in_day, "day"), (in_month, "month")):
            assert check(moment, **{period: 5}) == pytest.approx((counts + 0.001) / 5)
            assert is_allowed(check, moment, **{period: used}) is not counts
        beside.execute("DELETE FROM embedding_usage")


def is_allowed(check, moment, **limits) -> bool:
    try:
        return check(moment, **limits) is not None
    except BudgetExceededError:
        return False


def test_a_request_counts_for_the_day_it_was_sent_on(enter, check, beside):
    sent = NOW - timedelta(seconds=1)
    reservation = enter("reserved", "1", created=sent, expires=timedelta(hours=1), usd_per_million=Decimal(1000))
    beside.execute("UPDATE embedding_usage SET state = 'settled', usd = 3, settled_at = %s WHERE id = %s",
                   [NOW + timedelta(seconds=1), reservation])  # fmt: skip
    assert check(day="0.004") == pytest.approx(0.25)
    assert check(sent, day="6.004") == pytest.approx(3.001 / 6.004)


# Exactness


@pytest.mark.parametrize("price", ["0.02", "0.13", "0.1", "0.000001", "12345.678901"])
def test_dollars_are_exact(database, beside, price):
    price, total, reserved, generator = Decimal(price), Decimal(0), Decimal(0), random.Random(7)

    def work(connection) -> Decimal:
        endpoint = lock_endpoint(connection, "e")
        request = api_request(usd_per_million=price, tokens=tokens, most_tokens=4 * tokens)
        reservation = reserve(connection, request, endpoint, probe=False, expires=endpoint.now + 60)()
        closed = close_reservation(connection, reservation, "settled", tokens=billed)()
        assert closed
        return closed.usd

    for _ in range(30):
        tokens, billed = generator.randrange(1, 300_000), generator.randrange(1, 300_000)
        usd = database.run(work)
        assert usd == billed * price / 1_000_000
        total += usd
        reserved += 4 * tokens * price / 1_000_000
    assert total == count_spending(database, "r").run
    assert {usd for [usd] in beside.execute("SELECT usd FROM embedding_spending")} == {total}
    assert beside.execute("SELECT sum(reserved_usd) FROM embedding_usage").fetchone() == (reserved,)


def test_what_has_no_price_costs_nothing():
    assert usd_of(10**9, None) == 0
    assert usd_of(1, Decimal("0.02")) == Decimal("0.00000002")


def test_a_limit_is_met_to_the_last_digit(enter, check):
    enter(usd="0.99600000")
    assert check(day="1.00") == pytest.approx(0.997)
    with pytest.raises(BudgetExceededError):
        check(day="1.00", most_tokens=4001)
    enter(usd="0.0000000001")
    with pytest.raises(BudgetExceededError):
        check(day="1.00")


# The sums


def test_the_sums_follow_the_rows_whoever_changes_them(enter, beside):
    generator = random.Random(3)

    def moment() -> datetime:
        return NOW + timedelta(hours=generator.randrange(-60, 60))

    for _ in range(60):
        enter(generator.choice(["reserved", "settled", "presumed"]), str(generator.randrange(1, 99)), created=moment(),
              run_id=generator.choice("abc"))  # fmt: skip
    assert_sums_are_those_of_the_rows(beside)
    for statement in (
        "UPDATE embedding_usage SET state = 'settled', usd = usd * 1.5 WHERE id % 3 = 0",
        "UPDATE embedding_usage SET state = 'reserved' WHERE id % 7 = 0",
        "UPDATE embedding_usage SET created_at = created_at - interval '20 hours', run_id = 'c' WHERE id % 5 = 0",
        "DELETE FROM embedding_usage WHERE id % 4 = 0",
        "UPDATE embedding_usage SET usd = 0 WHERE id % 11 = 0",
        "INSERT INTO embedding_usage (endpoint, space, provider, model, run_id, inputs, tokens, usd, reserved_usd, "
        "state, created_at, expires_at) SELECT endpoint, space, provider, model, run_id, 1, 1, 2, 8, state, "
        "created_at, expires_at FROM embedding_usage",
    ):
        beside.execute(statement)
        assert_sums_are_those_of_the_rows(beside)
    beside.execute("DELETE FROM embedding_usage")
    assert beside.execute("SELECT sum(abs(usd)) FROM embedding_spending").fetchone() == (0,)


def test_the_sums_are_found_by_a_role_with_another_search_path(beside, enter, database_url):
    reservation = enter("reserved")
    beside.execute("SET search_path = pg_catalog")
    beside.execute("UPDATE public.embedding_usage SET state = 'settled' WHERE id = %s", [reservation])
    beside.execute("RESET search_path")
    assert_sums_are_those_of_the_rows(beside)


# Reservations


def test_a_new_reservation_closes_an_expired_one(database, enter, beside):
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    expired = {enter("reserved", created=long_ago) for _ in range(2)}
    open_one = enter("reserved", expires=timedelta(days=9999))

    def add(connection) -> int:
        endpoint = lock_endpoint(connection, "e")
        return reserve(connection, api_request(), endpoint, probe=False, expires=endpoint.now + 60)()

    def states() -> dict[int, str]:
        return dict(beside.execute("SELECT id, state FROM embedding_usage").fetchall())

    with database.connect() as other:
        other.execute("SELECT FROM embedding_usage WHERE id = ANY (%s) FOR UPDATE", [list(expired)])
        first = database.run(add)  # their holder is closing them
    assert {states()[reservation] for reservation in expired} == {"reserved"}
    second = database.run(add)
    assert sorted(states()[reservation] for reservation in expired) == ["presumed", "reserved"]
    third = database.run(add)
    assert {states()[reservation] for reservation in expired} == {"presumed"}
    assert {states()[reservation] for reservation in (open_one, first, second, third)} == {"reserved"}
    assert_sums_are_those_of_the_rows(beside)


def test_a_reservation_can_be_closed_late_and_more_than_once(database, enter, beside):
    reservation = enter("reserved", "1", created=NOW, usd_per_million=Decimal(1000))

    def close(outcome, tokens=0):
        return database.run(lambda connection: close_reservation(connection, reservation, outcome, tokens=tokens)())

    assert close("presumed").usd == 1
    assert close("settled", 1200).usd == Decimal("1.2")
    assert close("settled", 1200).usd == Decimal("1.2")
    assert close("presumed") is None
    assert close("released") is None, "what was billed stays"
    assert beside.execute("SELECT state, tokens, usd FROM embedding_usage").fetchall() == [
        ("settled", 1200, Decimal("1.2"))
    ]
    assert_sums_are_those_of_the_rows(beside)
    late = enter("presumed", "1")
    released = database.run(lambda connection: close_reservation(connection, late, "released")())
    assert released.usd == 1
    assert beside.execute("SELECT count(*) FROM embedding_usage").fetchone() == (1,)
    assert_sums_are_those_of_the_rows(beside)


def test_what_is_in_flight_is_counted_by_endpoint(database, enter):
    future = {"created": datetime.now(UTC), "expires": timedelta(hours=1)}
    first = enter("reserved", tokens=10, **future)
    second = enter("reserved", tokens=20, **future)
    enter("reserved", tokens=40, created=NOW)
    enter("settled", tokens=80, **future)
    enter("reserved", tokens=160, endpoint="another", **future)

    def count(before=None) -> tuple[int, int]:
        return database.run(lambda connection: count_open(connection, lock_endpoint(connection, "e"), before=before))

    assert (count(), count(second), count(first)) == ((2, 30), (1, 10), (0, 0))


# Reports


def test_costs_by_day_run_and_space(database, enter):
    yesterday = NOW - timedelta(microseconds=1)
    enter("settled", "0.20", inputs=100, tokens=500, created=yesterday, run_id="first", space="cheap")
    enter("settled", "0.30", inputs=300, tokens=900, run_id="first", space="dear")
    enter("presumed", "0.40", inputs=9, run_id="second", space="dear", created=NOW + timedelta(hours=1))
    enter("reserved", "0.50", inputs=9, run_id="second", space="dear", created=NOW + timedelta(hours=2))
    enter("reserved", "9", run_id="third", created=datetime.now(UTC), expires=timedelta(hours=1))

    def row(key, requests, embeddings, tokens, usd, presumed) -> CostRow:
        return CostRow(key, requests, embeddings, tokens, Decimal(usd), Decimal(presumed))

    assert list_costs(database, by="day") == [
        row("2024-03-01", 1, 300, 900, "0.30", "0.90"), row("2024-02-29", 1, 100, 500, "0.20", "0"),
    ]  # fmt: skip
    assert list_costs(database, by="run") == [
        row("second", 0, 0, 0, "0", "0.90"), row("first", 2, 400, 1400, "0.50", "0"),
    ]  # fmt: skip
    spaces = [row("dear", 1, 300, 900, "0.30", "0.90"), row("cheap", 1, 100, 500, "0.20", "0")]
    assert list_costs(database, by="space") == spaces
    assert list_costs(database, by="space", limit=1) == spaces[:1]
    assert total_costs(database) == row("total", 2, 400, 1400, "0.50", "0.90")
    assert [one.usd_per_1000_embeddings for one in spaces] == [1, 2]
    assert row("none", 0, 0, 0, "0", "1").usd_per_1000_embeddings is None


def test_nothing_was_spent_at_first(database: Database):
    assert list_costs(database, by="day") == []
    assert total_costs(database) == CostRow("total", 0, 0, 0, Decimal(0), Decimal(0))
    assert count_spending(database, "r") == Spending(Decimal(0), Decimal(0), Decimal(0))


def test_spending_is_what_limits_count(database, enter, beside):
    [[now]] = beside.execute("SELECT now()").fetchall()
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    hour = timedelta(hours=1)
    enter("settled", "1", created=today)
    enter("presumed", "2", created=today, run_id="another")
    enter("reserved", "10", created=today, expires=timedelta(days=2))
    enter("reserved", "100", created=today, expires=timedelta(0))
    enter("settled", "1000", created=today.replace(day=1) - hour)
    spending = count_spending(database, "r")
    assert (spending.run, spending.day, spending.month) == (1141, 143, 143)
    assert count_spending(database, "another").run == 2
    assert count_spending(database, "none").run == 0
