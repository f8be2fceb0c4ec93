"""Transactions survive what passes, are never done twice, and errors say what to do without saying too much."""

import socket
import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from embedding_assets.config import DatabaseConfig, get_settings
from embedding_assets.errors import DatabaseError, DatabasePermissionError, DatabaseUnavailableError
from embedding_assets.postgres import pooled, schema
from embedding_assets.postgres.bootstrap import open_database, resolve_url
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.tables import as_role
from embedding_assets_tests.support.wire import proxy

SECRET = "correct horse"
INSERT = b"INSERT INTO notes"
QUICK = DatabaseConfig(retry_seconds=0.5)
PATIENT = DatabaseConfig(retry_seconds=10)


class Insert:
    """A unit of work that counts its runs and may stumble on the first."""

    def __init__(self, stumble: Callable[[psycopg.Connection], object] = lambda _: None) -> None:
        self.runs = 0
        self._stumble = stumble

    def __call__(self, connection: psycopg.Connection) -> int:
        self.runs += 1
        connection.execute("INSERT INTO notes VALUES ('x')")
        if self.runs == 1:
            self._stumble(connection)
        return self.runs


@pytest.fixture
def notes_url(empty_url: str) -> str:
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE notes (note text CHECK (note NOT LIKE 'bad%'))")
    return empty_url


def count_notes(url: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT count(*) FROM notes").fetchone()[0]


def slow_commit(url: str, seconds: float) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql "
            f"AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$"
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION linger()"
        )


def terminate_self(connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize(
    ("cuts", "commit_seconds", "runs"),
    [
        pytest.param([(INSERT, b"COMMIT", "before")], 0, 2, id="lost before it reached the server"),
        pytest.param([(INSERT, b"COMMIT", "after")], 0, 1, id="answer lost"),
        pytest.param([(INSERT, b"COMMIT", "during")], 0.4, 1, id="still committing when first asked"),
        pytest.param(
            [(INSERT, b"COMMIT", "after"), (b"", b"pg_xact_status", "before")], 0, 1, id="lost again when asked"
        ),
    ],
)
def test_a_transaction_is_done_once_when_its_commit_is_lost(notes_url, cuts, commit_seconds, runs):
    if commit_seconds:
        slow_commit(notes_url, commit_seconds)
    work = Insert()
    with proxy(notes_url, cuts=cuts) as url, Database(url, PATIENT) as database:
        assert database.run(work) == runs
    assert work.runs == runs
    assert count_notes(notes_url) == 1


def test_a_commit_that_stays_in_doubt_is_not_repeated(notes_url):
    slow_commit(notes_url, 20)
    work = Insert()
    with (
        proxy(notes_url, cuts=[(INSERT, b"COMMIT", "during")]) as url,
        Database(url, QUICK) as database,
        pytest.raises(DatabaseUnavailableError, match="in doubt"),
    ):
        database.run(work)
    assert work.runs == 1


def test_a_transaction_id_the_server_never_gave_out_has_not_committed(notes_url):
    with Database(notes_url, QUICK) as database:
        assert not database._has_committed("4000000000")


def test_lost_connection_and_serialization_failure_are_retried(notes_url):
    def collide(connection):
        connection.rollback()
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT * FROM notes")
        with psycopg.connect(notes_url) as other:
            other.execute("UPDATE notes SET note = 'y'")
        connection.execute("UPDATE notes SET note = 'z'")

    with Database(notes_url, PATIENT) as database:
        for done, stumble in enumerate((terminate_self, collide), start=1):
            assert database.run(Insert(stumble)) == 2
            assert count_notes(notes_url) == done


def test_what_fails_after_a_long_time_is_retried_all_the_same(notes_url):
    def stumble(connection):
        time.sleep(0.7)  # longer than failures are retried
        terminate_self(connection)

    with Database(notes_url, QUICK) as database:
        assert database.run(Insert(stumble)) == 2
    assert count_notes(notes_url) == 1


def test_a_probe_in_a_session_is_made_again(notes_url):
    work = Insert(terminate_self)
    with Database(notes_url, PATIENT) as database:
        assert database.run_in_session(work) == 2


def test_migrating_begins_again_when_its_look_is_interrupted(settings, monkeypatch):
    seen = []
    look = schema._current_version

    def interrupted(connection, table):
        seen.append(1)
        if len(seen) == 1:
            terminate_self(connection)
        return look(connection, table)

    monkeypatch.setattr(schema, "_current_version", interrupted)
    with open_database(settings):
        assert len(seen) == 2


def test_the_seconds_are_those_that_were_waited(notes_url):
    with Database(notes_url, DatabaseConfig(retry_seconds=1)) as database:
        with pytest.raises(DatabaseUnavailableError, match=r"did not come back for [1-9]\.\d s") as waited:
            database.run(terminate_self)
        assert "30 s" not in str(waited.value)
        with pytest.raises(DatabaseUnavailableError, match="is not back") as at_once, database.session() as connection:
            terminate_self(connection)
        assert " s:" not in str(at_once.value)


def test_who_holds_a_lock_is_named(database, database_url):
    def work(connection):
        connection.execute("SET LOCAL lock_timeout = '100ms'")
        connection.execute("ALTER TABLE knowledge_base ADD COLUMN more integer")

    with psycopg.connect(database_url, application_name="nightly report") as reader:
        reader.execute("SELECT count(*) FROM knowledge_base")
        impatient = Database(database_url, QUICK)
        with pytest.raises(DatabaseError, match=rf"pid {reader.info.backend_pid} \(nightly report, role postgres") as e:
            impatient.run(work)
        impatient.close()
    assert "cannot be reached" not in str(e.value)
    assert not isinstance(e.value, DatabaseUnavailableError)
    database.run(work)


@pytest.mark.parametrize(
    ("message", "is_refused"),
    [
        ("Passwort-Authentifizierung f\u00fcr Benutzer \u00bbx\u00ab fehlgeschlagen", True),
        ("sorry, too many clients already", False),
        (None, False),  # lost
    ],
)
def test_a_login_is_refused_in_any_language(message, is_refused, notes_url):
    refusals = [("28P01", message)] * 3
    started = time.monotonic()
    with proxy(notes_url, refusals=refusals, after_password=True) as url:
        database = Database(make_conninfo(url, password=SECRET), PATIENT)
        if is_refused:
            with pytest.raises(DatabaseUnavailableError, match="refused the login") as caught:
                database.connect()
            assert_fit_to_be_shown(caught.value, database)
            assert time.monotonic() - started < 9
        else:
            database.connect().close()  # in the end


def test_deadlock_is_retried(notes_url):
    with psycopg.connect(notes_url) as connection:
        connection.execute("CREATE TABLE pair AS SELECT n, 0 AS touched FROM generate_series(1, 2) n")
    barrier = threading.Barrier(2)
    runs = []

    def touch(database: Database, rows: tuple[int, int]) -> None:
        mine = []

        def work(connection):
            mine.append(rows)
            connection.execute("SET LOCAL deadlock_timeout = '50ms'")
            connection.execute("UPDATE pair SET touched = touched + 1 WHERE n = %s", [rows[0]])
            if len(mine) == 1:
                barrier.wait(180)
            connection.execute("UPDATE pair SET touched = touched + 1 WHERE n = %s", [rows[1]])

        database.run(work)
        runs.extend(mine)

    with Database(notes_url, PATIENT) as database:
        threads = [threading.Thread(target=touch, args=(database, rows)) for rows in ((1, 2), (2, 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(180)
        touched = database.run(lambda connection: connection.execute("SELECT touched FROM pair").fetchall())
    assert touched == [(2,), (2,)]
    assert len(runs) > 2


@pytest.mark.parametrize("is_idle", [True, False])
def test_pool_replaces_connections_that_the_server_closed(is_idle, notes_url, monkeypatch):
    """Those that have lain idle are asked first; between two uses that is left out, and the second is repeated."""
    monkeypatch.setattr(pooled, "UNCHECKED_SECONDS", 0 if is_idle else 60)
    with Database(notes_url, PATIENT) as database:
        database.run(Insert())
        with psycopg.connect(notes_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'embedding_assets' AND datname = current_database()"
            )
        work = Insert()
        database.run(work)
        assert (work.runs == 1) is is_idle
    assert count_notes(notes_url) == 2


def test_a_connection_in_use_is_not_asked_whether_it_lives(notes_url, monkeypatch):
    asked = []
    monkeypatch.setattr(ConnectionPool, "check_connection", asked.append)
    monkeypatch.setattr(pooled, "UNCHECKED_SECONDS", 60)
    with Database(notes_url, PATIENT) as database:
        for _ in range(6):
            database.run(Insert())
        assert asked == []


def test_threads_share_one_pool_and_close_can_be_followed_by_more_work(notes_url):
    class Counting(Database):
        opened = 0

        def _open_pool(self):
            type(self).opened += 1
            time.sleep(0.1)
            return super()._open_pool()

    with Counting(notes_url, PATIENT) as database:
        threads = [threading.Thread(target=database.run, args=(Insert(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(180)
        assert Counting.opened == 1
        database.close()
        database.run(Insert())
    assert count_notes(notes_url) == 4


def test_connecting_waits_for_a_server_that_is_starting(notes_url):
    starting = ("57P03", "the database system is starting up")
    with proxy(notes_url, refusals=[starting, starting]) as url, Database(url, PATIENT) as database:
        database.run(Insert())
    assert count_notes(notes_url) == 1


@pytest.mark.parametrize(
    ("refusal", "parameters", "message"),
    [
        (("28P01", 'password authentication failed for user "someone"'), {}, "refused the login.*someone"),
        (None, {"dbname": "no_such_database"}, "refused the login.*no_such_database"),
        (None, {"user": "no_such_role"}, "refused the login.*no_such_role"),
    ],
)
def test_a_refused_login_is_reported_at_once(notes_url, refusal, parameters, message):
    refusals = [refusal] * 3 if refusal else []
    started = time.monotonic()
    with proxy(notes_url, refusals=refusals) as url:
        database = Database(make_conninfo(url, password=SECRET, **parameters), PATIENT)
        with pytest.raises(DatabaseUnavailableError, match=message) as caught:
            database.run(Insert())
    assert time.monotonic() - started < 9
    assert_fit_to_be_shown(caught.value, database)


def test_server_that_is_away_is_an_error_after_the_time_that_is_set():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = Database(f"postgresql://someone:{SECRET.replace(' ', '%20')}@127.0.0.1:{port}/kb", QUICK)
    for attempt in (lambda: database.run(Insert()), database.connect):
        started = time.monotonic()
        with pytest.raises(
            DatabaseUnavailableError, match=rf"someone@127.0.0.1:{port}/kb.*EMBEDDING_DATABASE_URL"
        ) as e:
            attempt()
        assert time.monotonic() - started < 9
        assert_fit_to_be_shown(e.value, database)


def assert_fit_to_be_shown(error: Exception, database: Database) -> None:
    assert len(str(error).splitlines()) == 1
    assert SECRET not in f"{error} {error!r} {database} {database!r}"


def test_a_role_without_rights(role, notes_url):
    with Database(as_role(notes_url, role), QUICK) as database:
        with pytest.raises(DatabasePermissionError, match="permission denied for table notes"):
            database.run(Insert())
        with pytest.raises(DatabasePermissionError, match="permission denied for table notes"), database.session() as c:
            c.execute("SELECT * FROM notes")
    with psycopg.connect(notes_url, autocommit=True) as admin:
        admin.execute(f'REVOKE CONNECT ON DATABASE "{admin.info.dbname}" FROM PUBLIC')
    started = time.monotonic()
    with pytest.raises(DatabasePermissionError, match="permission denied for database"):
        Database(as_role(notes_url, role), PATIENT).connect()
    assert time.monotonic() - started < 9


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO notes VALUES ('bad {}')",
        "INSERT INTO twins VALUES ('{0}'), ('{0}')",
        "SELECT '{}'::text::integer",
        "SELECT '{} \"quoted\" {}'::text::date",
        "DO $$ BEGIN RAISE EXCEPTION 'refused: %', '{}'; END $$",
    ],
)
def test_errors_do_not_quote_rows(notes_url, statement):
    with Database(notes_url, PATIENT) as database:
        database.run(lambda connection: connection.execute("CREATE TABLE IF NOT EXISTS twins (note text UNIQUE)"))
        with pytest.raises(DatabaseError) as caught:
            database.run(lambda connection: connection.execute(statement.format(SECRET, SECRET)))
    assert not isinstance(caught.value, DatabaseUnavailableError)
    assert_fit_to_be_shown(caught.value, database)


def test_a_statement_timeout_is_not_taken_for_a_lost_server(notes_url):
    def work(connection):
        connection.execute("SET LOCAL statement_timeout = '20ms'")
        connection.execute("SELECT pg_sleep(5)")

    with Database(notes_url, PATIENT) as database, pytest.raises(DatabaseError, match="57014") as caught:
        database.run(work)
    assert type(caught.value) is DatabaseError


def test_what_work_raises_itself_passes_and_rolls_back(notes_url):
    def fail(_):
        raise LookupError("no such thing")

    with Database(notes_url, PATIENT) as database, pytest.raises(LookupError):
        database.run(Insert(fail))
    assert count_notes(notes_url) == 0


def test_address_leaves_the_password_out():
    database = Database(f"postgresql://me:{SECRET.replace(' ', '%20')}@db.example:6432/kb", DatabaseConfig())
    assert repr(database) == "Database(me@db.example:6432/kb)"
    assert Database("", DatabaseConfig()).address == "default user@localhost:5432/default database"


def test_open_database_uses_the_configured_server_and_migrates(empty_url, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", empty_url.replace("postgresql://", "postgresql+psycopg2://"))
    settings = get_settings()
    assert resolve_url(settings) == empty_url
    with open_database(settings) as database:
        assert database.run(lambda c: c.execute("SELECT count(*) FROM knowledge_base").fetchone()) == (0,)


def test_the_embedded_server_is_used_when_none_is_configured(server_url):
    assert resolve_url(get_settings()) == server_url
