"""Locks: one holder at a time, gone with their connection, in no other's way."""

import os
import re
import threading
import time
from contextlib import closing

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.config import DatabaseConfig
from embedding_assets.logs import correlate
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.interruption import WorkInterruptedError, stopped_by, within
from embedding_assets.postgres.locks import PrefixLocks, announced, busy_buckets, hold, hold_alone, is_loading
from embedding_assets.postgres.schema import migrate
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.waiting import wait_until


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


def test_who_needs_any_of_the_same_things_waits(database, monkeypatch):
    """Two that hold disjoint cores do not wait for each other; one that needs both waits for both."""
    monkeypatch.setattr("embedding_assets.postgres.locks._POLL_SECONDS", 0.02)
    order = []

    def wait_for_both() -> None:
        with hold_alone(database, "core 0", "core 1"):
            order.append("both")

    with hold_alone(database, "core 0"), hold_alone(database, "core 1"):
        waiting = threading.Thread(target=wait_for_both)
        waiting.start()
        time.sleep(0.2)
        order.append("each")
    waiting.join(180)
    assert order == ["each", "both"]


def test_a_run_that_hands_out_ranges_is_loading_without_a_bucket(database):
    with announced(database, "one", loading="space"), announced(database, "two", loading="space"):
        assert is_loading(database, "space")
        assert not is_loading(database, "another")
        assert busy_buckets(database, "space") == frozenset()
        with closing(PrefixLocks(database, "space")) as locks:
            assert len(locks.acquire(range(256))) == 256
    wait_until(lambda: not is_loading(database, "space"))  # the server has seen that the connections are closed


def test_locks_that_were_lost_are_taken_again(database, execute):
    with closing(PrefixLocks(database, "space")) as locks:
        assert locks.acquire(range(2)) == [0, 1]
        assert locks.acquire(range(6, 8)) == [6, 7]
        assert locks.check()
        terminate_lock_holders(execute)
        assert not locks.check()
        assert locks.check()
        assert locks.held == [0, 1, 6, 7]
        assert busy_buckets(database, "space") == {0, 1, 6, 7}
        terminate_lock_holders(execute)
        assert locks.acquire(range(8, 9)) == [8]
        assert busy_buckets(database, "space") == {0, 1, 6, 7, 8}
    wait_until(lambda: not busy_buckets(database, "space"))


def test_what_another_run_has_taken_meanwhile_is_left_to_it(database, execute):
    with closing(PrefixLocks(database, "space")) as locks:
        locks.acquire(range(4))
        terminate_lock_holders(execute)
        with closing(PrefixLocks(database, "space")) as successor:
            assert successor.acquire(range(2, 9)) == list(range(2, 9))
            assert not locks.check()
            assert locks.held == [0, 1]
        assert locks.acquire(range(4)) == [0, 1, 2, 3]


def test_locks_are_taken_from_a_session_whose_client_is_gone(database, database_url):
    """As after a network failure that the server has not noticed."""
    with closing(PrefixLocks(database, "space")) as locks:
        locks.acquire(range(3))
        left, locks._connection = locks._connection, psycopg.connect(database_url, autocommit=True)
        locks._connection.close()
        assert not locks.check()
        assert locks.held == [0, 1, 2]
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")


def test_no_limit_of_the_role_ends_a_session_that_holds_locks(database, execute):
    name = execute("SELECT current_database()")[0][0]
    execute(f"ALTER DATABASE {name} SET idle_session_timeout = '300ms'")
    with closing(PrefixLocks(database, "space")) as locks, hold_alone(database, "something"):
        locks.acquire(range(1))
        time.sleep(0.8)
        assert locks.check()
        with pytest.raises(WorkInterruptedError):
            within(0.5, lambda: _enter_alone(database))


def _enter_alone(database: Database) -> None:
    with hold_alone(database, "something"):
        pass


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
        thread.join(180)
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
    waiter.join(180)


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
        deadline = time.monotonic() + 180
        while sum("waiting for the lock 'a name'" in message for message in caplog.messages) < 2:
            assert time.monotonic() < deadline, "not mentioned again"
            time.sleep(0.02)
    waiting.join(180)
    assert not waiting.is_alive()


def test_who_holds_a_lock_is_named_by_run_and_process(database, monkeypatch, caplog):
    monkeypatch.setattr("embedding_assets.postgres.locks._POLL_SECONDS", 0.02)
    caplog.set_level("INFO", logger="embedding_assets")

    class Stopped(BaseException):
        pass

    def stop():
        if caplog.messages:
            raise Stopped

    with (
        correlate("0123abcd-4567"),
        database.session() as connection,
        hold(connection, "a name"),
        database.session() as other,
        stopped_by(stop),
        pytest.raises(Stopped),
        hold(other, "a name"),
    ):
        raise AssertionError("two hold one lock")
    [said] = caplog.messages
    assert re.match(
        r"waiting for the lock 'a name', which pid \d+ \(embedding_assets run 0123abcd, process "
        rf"{os.getpid()} on .+, connected for \d+ s\) holds$",
        said,
    )


def test_who_holds_buckets_is_named(database):
    with closing(PrefixLocks(database, "space")) as mine:
        mine.acquire(range(4))
        assert mine.describe_others() == ""
        with correlate("89abcdef"), closing(PrefixLocks(database, "space")) as theirs:
            theirs.acquire(range(8))
            assert "embedding_assets run 89abcdef, process" in mine.describe_others()
            assert theirs.describe_others().count("pid ") == 1


def test_a_lost_connection_does_not_end_the_wait_for_a_turn(database, execute):
    turns = []

    def second() -> None:
        with hold_alone(database, "something"):
            turns.append("second")

    with database.session() as connection, hold(connection, "something"):
        waiting = threading.Thread(target=second)
        waiting.start()
        deadline = time.monotonic() + 180
        others = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_try_advisory_lock(%' AND pid <> {}"
        mine = connection.info.backend_pid
        while not (found := execute(f"{others.format(mine)} AND datname = current_database()")):
            assert time.monotonic() < deadline
        execute(f"SELECT pg_terminate_backend({found[0][0]}, 5000)")
        assert turns == []
    waiting.join(180)
    assert turns == ["second"]
