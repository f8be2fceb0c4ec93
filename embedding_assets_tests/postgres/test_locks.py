"""Locks: one holder at a time, gone with their connection, in no other's way."""

import threading
import time

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.config import DatabaseConfig
from embedding_assets.errors import DatabaseUnavailableError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.locks import PrefixLocks, hold
from embedding_assets.postgres.schema import migrate
from embedding_assets_tests.support.fakes import insert_chunks


def terminate_lock_holders(execute) -> None:
    # Of this database: other tests may run on the same server.
    execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY pid"
    )


def test_a_bucket_has_one_holder(database):
    first, second, other_space = (PrefixLocks(database, name) for name in ("space", "space", "another"))
    assert first.acquire(range(16)) == list(range(16))
    assert second.acquire(range(8, 32)) == list(range(16, 32))
    assert other_space.acquire(range(256)) == list(range(256))
    first.check()
    first.close()
    assert second.acquire(range(16)) == list(range(16))
    for locks in (second, other_space):
        locks.close()


def test_locks_end_with_their_connection_and_the_holder_notices(database, execute):
    locks = PrefixLocks(database, "space")
    assert locks.acquire(range(2)) == [0, 1]
    terminate_lock_holders(execute)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError, match="run again to go on"):
            locks.check()
    with pytest.raises(DatabaseUnavailableError, match="locks was lost"):
        locks.acquire(range(2))
    locks.close()
    successor = PrefixLocks(database, "space")
    assert successor.acquire(range(2)) == [0, 1]
    successor.close()


def test_tables_of_two_schemas_do_not_share_locks(database, database_url, execute):
    execute("CREATE SCHEMA another")
    with Database(make_conninfo(database_url, options="-csearch_path=another,public"), DatabaseConfig()) as second:
        for table in ("knowledge_base", "embedding_schema_version"):
            execute(f"CREATE TABLE another.{table} (LIKE public.{table} INCLUDING ALL)")
        assert second.table.oid != database.table.oid
        locks = [PrefixLocks(each, "space") for each in (database, second)]
        assert [each.acquire(range(3)) for each in locks] == [[0, 1, 2]] * 2
        for each in locks:
            each.close()


def test_hold_waits_for_its_turn(database):
    order = []

    def second() -> None:
        with database.session() as connection, hold(connection, "something"):
            order.append("second")

    with database.session() as connection:
        with hold(connection, "something"):
            with database.session() as other, hold(other, "something else"):
                pass
            thread = threading.Thread(target=second)
            thread.start()
            time.sleep(0.3)
            order.append("first")
        thread.join(10)
    assert order == ["first", "second"]


def test_a_lock_connection_that_dies_does_not_hide_what_was_raised(database, execute):
    def fail_after_losing_the_lock() -> None:
        with database.session() as connection, hold(connection, "something"):
            terminate_lock_holders(execute)
            raise LookupError

    with pytest.raises(LookupError):
        fail_after_losing_the_lock()


def test_waiting_for_a_lock_does_not_hold_up_an_index_build(database, database_url):
    """A statement that blocked on the lock would keep a snapshot, and the build would wait for it to end."""
    insert_chunks(database, ["text"])
    waiter = threading.Thread(target=lambda: _enter_and_leave(database))
    with database.session() as connection, hold(connection, "something"):
        waiter.start()
        time.sleep(0.1)
        with psycopg.connect(database_url, autocommit=True) as builder:
            builder.execute("SET statement_timeout = '10s'")
            builder.execute("CREATE INDEX CONCURRENTLY some_index ON knowledge_base (chunk_text)")
    waiter.join(10)


def _enter_and_leave(database: Database) -> None:
    with database.session() as connection, hold(connection, "something"):
        pass


def test_migrations_of_two_databases_do_not_wait_for_each_other(database, empty_url):
    with (
        database.session() as connection,
        hold(connection, "migrate"),
        Database(empty_url, DatabaseConfig()) as other,
    ):
        assert migrate(other)


def test_waiting_is_mentioned_again_after_a_while(database, monkeypatch, caplog):
    monkeypatch.setattr("embedding_assets.postgres.locks._REMIND_SECONDS", 0.1)
    monkeypatch.setattr("embedding_assets.postgres.locks._POLL_SECONDS", 0.02)
    caplog.set_level("INFO", logger="embedding_assets")

    def second():
        with database.session() as connection, hold(connection, "a name"):
            pass

    waiting = threading.Thread(target=second)
    with database.session() as connection, hold(connection, "a name"):
        waiting.start()
        deadline = time.monotonic() + 30
        while sum("holds the lock 'a name'" in message for message in caplog.messages) < 2:
            assert time.monotonic() < deadline, "not mentioned again"
            time.sleep(0.02)
    waiting.join(30)
    assert not waiting.is_alive()
