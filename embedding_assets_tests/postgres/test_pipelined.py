"""Transactions in few round trips: whole, isolated, and done once."""

import psycopg
import pytest
from psycopg import sql

from embedding_assets.errors import DatabaseError


def test_a_pipelined_transaction_is_committed_or_rolled_back_as_a_whole(database, beside):
    beside.execute("CREATE TABLE kept (number integer UNIQUE)")

    def work(connection, send) -> list[int]:
        connection.execute("INSERT INTO kept VALUES (1)")
        read = connection.execute("SELECT number FROM kept")
        send()
        found = [number for (number,) in read]
        connection.execute("INSERT INTO kept VALUES (%s)", [1 + len(beside.execute("SELECT 1 FROM kept").fetchall())])
        return found

    with pytest.raises(DatabaseError):  # found when it is committed
        database.run_pipelined(work)
    assert beside.execute("SELECT * FROM kept").fetchall() == []
    beside.execute("ALTER TABLE kept DROP CONSTRAINT kept_number_key")
    assert database.run_pipelined(work) == [1]
    assert beside.execute("SELECT * FROM kept").fetchall() == [(1,), (1,)]
    # The pool's connections are as they were.
    with pytest.raises(ZeroDivisionError):
        database.run(lambda connection: connection.execute("DELETE FROM kept").rowcount / 0)
    assert beside.execute("SELECT count(*) FROM kept").fetchone() == (2,)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_pipelined_transaction_sees_what_was_committed_while_it_waited(level, database, beside):
    name = psycopg.sql.Identifier(beside.info.dbname)
    change = psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = {}")
    beside.execute(change.format(name, psycopg.sql.Literal(level)))
    database.close()

    def work(connection, send) -> str:
        read = connection.execute("SHOW transaction_isolation")
        send()
        [isolation] = read.fetchone()
        return isolation

    assert database.run(lambda connection: connection.execute("SHOW transaction_isolation").fetchone()) == (level,)
    assert database.run_pipelined(work) == "read committed"


@pytest.mark.parametrize("committed", [False, True])
def test_a_pipelined_transaction_whose_connection_is_lost_is_done_once(committed, database, beside, monkeypatch):
    beside.execute("CREATE TABLE kept (number integer)")
    attempts = []

    def work(connection, send) -> int:
        attempts.append(connection.info.backend_pid)
        connection.execute("INSERT INTO kept VALUES (1)")
        send()
        if len(attempts) == 1 and committed:
            connection.execute("COMMIT")
            send()
        if len(attempts) == 1:
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return len(attempts)

    assert database.run_pipelined(work) == (1 if committed else 2)
    assert beside.execute("SELECT count(*) FROM kept").fetchone() == (1,)


def test_statements_that_only_read_are_sent_together(database, execute):
    setting = sql.SQL("SELECT set_config('embedding_assets.test', %(value)s, true)").format()
    reading = sql.SQL("SELECT current_setting('embedding_assets.test', true), pg_backend_pid()").format()
    for value in ("one", "two"):
        [_, [(seen, _)]] = database.read([(setting, {"value": value}), (reading, {})])
        assert seen == value
    [[(left, _)]] = database.read([(reading, {})])
    assert not left  # Only for its transaction: empty where that connection is given again, else unknown.
    writing = sql.SQL("CREATE TABLE t ()").format()
    with pytest.raises(DatabaseError, match="read-only"):
        database.read([(writing, {}), (reading, {})])
    assert execute("SELECT 1") == [(1,)]  # on the connection that was given back


def test_reading_survives_a_lost_connection(database, beside):
    pid = sql.SQL("SELECT pg_backend_pid()").format()
    [[(lost,)]] = database.read([(pid, {})])
    beside.execute("SELECT pg_terminate_backend(%s)", [lost])
    [[(found,)]] = database.read([(pid, {})])
    assert found != lost
