"""Several processes on one database and one account: killed, and against a common budget."""

import random
import subprocess
import time
from decimal import Decimal

import psycopg
import pytest

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import list_failures
from embedding_assets.providers.base import FIRST_TEXT
from embedding_assets_tests.support.api_runs import (
    assert_vectors,
    configure,
    sentences,
    split_prefixes,
    start_run,
    usage,
)
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import stored
from embedding_assets_tests.support.waiting import wait_until
from fake_api.server import ApiServer

DOLLAR = Decimal(1)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what it said on standard error."""
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def others(database: Database) -> int:
    """Sessions on the database, this one's among them."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    [count] = database.run(lambda connection: connection.execute(query).fetchone()) or [0]
    return int(count)


def test_four_processes_never_pass_a_common_budget(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    texts = sentences(4000)
    insert_chunks(database, texts)
    with ApiServer(usd_per_million_tokens=Decimal(20), latency_seconds=0.05) as server:
        configure(
            monkeypatch,
            server,
            openai_max_inputs=8,
            openai_concurrency=8,
            budget_usd_per_day=DOLLAR,
            commit_seconds=0.2,
        )
        ends = [finish(process) for process in [start_run(prefixes) for prefixes in split_prefixes(4)]]
        for status, err in ends:
            assert status == 1
            assert "EMBEDDING_BUDGET_USD_PER_DAY" in err
            assert "Traceback" not in err
            assert server.api_key not in err
        assert Decimal("0.90") < server.bill_usd <= DOLLAR
        embedded = stored(database)
        assert 0 < len(embedded) < len(texts)
        assert_vectors(database, list(embedded))
        assert list_failures(database) == []
        # The last to stop owes the others nothing.
        ledger = usage(beside)
        assert set(ledger) == {"settled"}
        assert ledger["settled"].usd == server.bill_usd
        assert {count for text, count in server.seen.items() if text != FIRST_TEXT} == {1}

        spent = server.bill_usd
        assert finish(start_run())[0] == 1
        assert spent <= server.bill_usd <= DOLLAR
        monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "10")
        status, err = finish(start_run())
        assert status == 0, err
        assert_vectors(database, texts)
        assert {text: count for text, count in server.seen.items() if text != FIRST_TEXT} == dict.fromkeys(texts, 1)


def test_killed_at_any_moment_only_what_was_in_flight_is_paid_twice(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    chance = random.Random()
    texts = sentences(3000)
    insert_chunks(database, texts)
    mine = others(database)
    inputs, in_flight = 8, 4
    with ApiServer(latency_seconds=0.1) as server:
        configure(
            monkeypatch,
            server,
            openai_max_inputs=inputs,
            openai_concurrency=in_flight,
            commit_seconds=0.01,
        )
        kills = 3
        for _ in range(kills):
            before = server.requests
            process = start_run()
            wait_until(lambda before=before: server.requests > before + in_flight)
            time.sleep(chance.uniform(0, 1))
            process.kill()
            process.communicate(timeout=180)
            wait_until(lambda: others(database) <= mine)
        assert 0 < len(stored(database)) < len(texts)

        status, err = finish(start_run())
        assert status == 0, err
        assert_vectors(database, texts)
        # In flight: sent, or answered and on its way into the table, which is less at almost any moment.
        twice = sum(server.seen.values()) - len(texts)
        assert twice <= kills * 2 * in_flight * inputs
        assert list_failures(database) == []
        # What the killed ones had reserved is not forgotten.
        ledger = usage(beside)
        assert set(ledger) <= {"settled", "reserved"}
        assert ledger["reserved"].requests <= kills * in_flight
        assert 0 <= len([one for one in server.served if one.tokens]) - ledger["settled"].requests <= kills * in_flight
