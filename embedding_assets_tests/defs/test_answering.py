"""Databases that do not answer: a tick ends in time, and says why."""

import re
import socket
import time
from concurrent.futures import wait

import pytest

from embedding_assets.defs import answering, sensors, table_look
from embedding_assets_tests.support.sensor_ticks import insert, tick


def test_a_table_that_was_not_adopted_is_a_tick_that_says_so(settings, beside, instance, monkeypatch):
    beside.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    monkeypatch.setenv("EMBEDDING_TABLE", "notes")
    monkeypatch.setenv("EMBEDDING_TABLE_TEXT", "body")
    assert "embedding-assets adopt" in tick(instance)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"EMBEDDING_PROVIDER": "openai", "EMBEDDING_OPENAI_MODEL": "unknown-model",
          "EMBEDDING_BUDGET_USD_PER_DAY": "1"}, "EMBEDDING_OPENAI_USD_PER_MILLION_TOKENS"),
        ({"EMBEDDING_INDEX_M": "many"}, "EMBEDDING_INDEX_M: Input should be a valid integer"),
        ({"EMBEDDING_TABLE": "nothing_there"}, "nothing_there"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_a_tick_that_says_so(table, instance, monkeypatch, wrong, said):
    insert(table, ["3"])
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    assert said in tick(instance)


def test_a_database_that_is_away_is_a_tick_that_says_so(instance, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/d")
    monkeypatch.setenv("EMBEDDING_DATABASE_RETRY_SECONDS", "0")

    said = tick(instance)

    assert re.search(r"127\.0\.0\.1:1.* EMBEDDING_DATABASE_URL", said)
    assert "\n" not in said
    assert "hunter2" not in said


@pytest.fixture
def brief(monkeypatch):
    """A tick waits for two seconds, and later ones know nothing of it."""
    monkeypatch.setattr(sensors, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(answering, "_DIAGNOSIS_SECONDS", 3.0)
    answering._under_way.clear()
    yield
    deadline = time.monotonic() + 180
    while not all(look.done() for look in answering._under_way.values()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    answering._under_way.clear()


@pytest.mark.usefixtures("brief")
def test_a_server_that_never_answers_is_named_in_time(instance, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("EMBEDDING_DATABASE_URL", f"postgresql://u:hunter2@127.0.0.1:{port}/d")
        monkeypatch.setenv("EMBEDDING_DATABASE_CONNECT_TIMEOUT_SECONDS", "10")
        started = time.monotonic()
        said = tick(instance)
        again = tick(instance)
        assert time.monotonic() - started < 20, "of the 60 that a tick has"
    assert said.startswith(f"PostgreSQL at u@127.0.0.1:{port}/d has not answered within 2 s and accepts no connection")
    assert again.startswith(f"PostgreSQL at u@127.0.0.1:{port}/d still does not answer")
    assert "hunter2" not in said + again


@pytest.mark.usefixtures("brief")
def test_a_lock_that_a_tick_waits_for_is_named_with_its_holder(table, beside, instance):
    insert(table, ["3"])
    with beside.transaction():
        beside.execute("SET LOCAL application_name = 'month end'")
        beside.execute("LOCK knowledge_base")
        said = tick(instance)
    pid = beside.info.backend_pid
    assert f"has not answered within 2 s: a statement waits for a lock that pid {pid} (month end" in said
    wait_until_over()
    assert tick(instance) == ["3-3"]


@pytest.mark.usefixtures("brief")
def test_a_statement_that_does_not_end_is_named_and_cancelled(table, beside, instance, monkeypatch):
    monkeypatch.setattr(
        table_look, "count_inserts", lambda database: database.run(lambda c: c.execute("SELECT pg_sleep(600)"))
    )
    said = tick(instance)
    assert re.search(r"has not answered within 2 s: a statement has been running for \d s \(pid \d+\)$", said)
    wait_until_over()
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    assert beside.execute(f"{query} AND state = 'active'").fetchone() == (0,)


def wait_until_over():
    """The look that was given up has ended."""
    for look in answering._under_way.values():
        wait([look], timeout=30)
        assert look.done()
