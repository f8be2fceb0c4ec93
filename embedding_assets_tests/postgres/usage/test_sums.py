"""Old requests that are summed up: fewer rows, and the same costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.ledger import count_spending, list_costs, list_daily_costs, total_costs
from embedding_assets.postgres.usage.sums import sum_up_usage
from embedding_assets_tests.support.admission import assert_sums_are_those_of_the_rows
from embedding_assets_tests.support.calls import embed, make_provider
from fake_api.server import ApiServer

# Three weeks: loads of many requests, a service that goes on for all of them, and questions, each a run of its own.
FILL = """
    INSERT INTO embedding_usage (
        endpoint, space, provider, model, run_id, inputs, tokens, usd_per_million, usd, reserved_usd, state,
        created_at, expires_at, settled_at
    )
    SELECT 'endpoint-' || number %% 2, 'space-' || number %% 3, 'openai', 'model',
           CASE number %% 10 WHEN 0 THEN 'service' WHEN 1 THEN 'load-' || number / 5000 ELSE 'question-' || number END,
           1 + number %% 7, 10 + number %% 90, 0.02, (10 + number %% 90) * 0.00000002, (10 + number %% 90) * 0.00000008,
           CASE WHEN number %% 50 = 0 THEN 'presumed' ELSE 'settled' END, moment, moment + interval '1 minute', moment
    FROM generate_series(1, %(rows)s) AS number,
         LATERAL (SELECT now() - interval '21 days' * (1 - number / %(rows)s::float8) AS moment) AS clock
"""


@pytest.fixture
def fill(beside: psycopg.Connection):
    def fill(rows: int) -> None:
        beside.execute(FILL, {"rows": rows})
        beside.execute("ANALYZE embedding_usage")
        beside.commit()

    return fill


def rows(beside: psycopg.Connection, where: str = "true") -> int:
    [[count]] = beside.execute(f"SELECT count(*) FROM embedding_usage WHERE {where}").fetchall()
    beside.commit()
    return count


def figures(database: Database) -> list[object]:
    """All that is read from the ledger but the names of single requests."""
    runs = [row for row in list_costs(database, by="run", limit=100_000) if row.key.startswith(("service", "load"))]
    return [
        runs,
        list_costs(database, by="day"),
        list_costs(database, by="space"),
        total_costs(database),
        list_daily_costs(database),
        *(count_spending(database, run) for run in ("service", "")),
    ]


def test_a_hundred_thousand_requests(database: Database, beside: psycopg.Connection, fill):
    fill(100_000)
    before = figures(database)
    single = rows(beside, "created_at >= date_trunc('day', now(), 'UTC') - interval '7 days'")
    while sum_up_usage(database):
        pass
    assert figures(database) == before
    assert_sums_are_those_of_the_rows(beside)
    assert rows(beside, "requests IS NULL") == single
    # 15 days, each with two endpoints, three spaces, two outcomes, and as runs the service, loads and questions.
    assert rows(beside, "requests IS NOT NULL") <= 15 * 2 * 3 * 2 * 5
    names = {row.key for row in list_costs(database, by="run", limit=100_000) if row.key.startswith("single")}
    assert len(names) in (14, 15)
    # Nor do the sums by run grow with the questions.
    [[sums]] = beside.execute("SELECT count(*) FROM embedding_spending WHERE key LIKE 'question%'").fetchall()
    assert sums == rows(beside, "run_id LIKE 'question%'") < 100_000 * 8 / 10 * 8 / 20
    assert not sum_up_usage(database)


def test_runs_of_more_than_a_week_ago_are_forgotten_by_the_limit_for_one(
    database: Database, beside: psycopg.Connection, fill
):
    fill(30_000)
    keys = "SELECT count(*) FROM embedding_spending WHERE period = 'run' AND key LIKE 'load%'"
    [[before]] = beside.execute(keys).fetchall()
    costs = {row.key: row for row in list_costs(database, by="run", limit=100_000)}
    assert count_spending(database, "load-1").run > 0
    while sum_up_usage(database):
        pass
    [[after]] = beside.execute(keys).fetchall()
    recent = "created_at >= date_trunc('day', now(), 'UTC') - interval '7 days' AND run_id LIKE 'load%'"
    [[expected]] = beside.execute(f"SELECT count(DISTINCT run_id) FROM embedding_usage WHERE {recent}").fetchall()
    assert after == expected < before
    assert count_spending(database, "load-1").run == 0
    # What it has cost is still there to be read.
    assert {row.key: row for row in list_costs(database, by="run", limit=100_000)}["load-1"] == costs["load-1"]


def test_nothing_changes_between_batches(database: Database, beside: psycopg.Connection, fill):
    fill(3000)
    before = figures(database)
    while sum_up_usage(database, batch=170):
        assert figures(database) == before
    assert rows(beside, "requests IS NOT NULL") <= 15 * 2 * 3 * 2 * 3


def test_processes_at_once(database: Database, beside: psycopg.Connection, fill):
    fill(3000)
    before = figures(database)
    threads = [threading.Thread(target=lambda: [sum_up_usage(database, batch=100) for _ in range(30)]) for _ in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while sum_up_usage(database):
        pass
    assert figures(database) == before
    assert_sums_are_those_of_the_rows(beside)


def test_what_is_open_is_left_alone(database: Database, beside: psycopg.Connection, fill):
    fill(1000)
    beside.execute("UPDATE embedding_usage SET state = 'reserved', settled_at = NULL WHERE id % 100 = 0")
    beside.commit()
    before = figures(database)
    assert not sum_up_usage(database)
    assert figures(database) == before
    assert rows(beside, "state = 'reserved' AND requests IS NULL") == 10


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def test_it_happens_in_the_course_of_use(server: ApiServer, database: Database, beside: psycopg.Connection, fill):
    fill(2000)
    before = rows(beside)
    embed(make_provider(server, database), ["a text"])
    assert rows(beside) < before / 2
    assert_sums_are_those_of_the_rows(beside)


def test_texts_are_embedded_though_it_fails(server: ApiServer, database: Database, beside: psycopg.Connection, fill):
    fill(100)
    beside.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE TRIGGER refuse BEFORE DELETE ON embedding_usage FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    beside.commit()
    assert len(embed(make_provider(server, database), ["a text"]).vectors) == 1
