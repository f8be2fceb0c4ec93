"""What a role or a database has set otherwise does not change what is read, nor end what takes long."""

import socket
import time

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.config import DatabaseConfig
from embedding_assets.errors import ConfigurationError, DatabaseError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.server import postmaster
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets_tests.support.wire import proxy

LIMITS = (
    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
    "transaction_timeout",
)  # fmt: skip


@pytest.fixture
def set_for_all(beside):
    def set_for_all(name: str, value: str) -> None:
        beside.execute(f"ALTER DATABASE {beside.info.dbname} SET {name} = '{value}'")

    return set_for_all


def show(connection, *names: str) -> list[str]:
    return [connection.execute(f"SHOW {name}").fetchone()[0] for name in names]


@pytest.fixture
def tcp_url(folder, monkeypatch):
    """A server of its own that listens on TCP as well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = postmaster._options
    extra = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}"]
    monkeypatch.setattr(postmaster, "_PORT", port)
    monkeypatch.setattr(postmaster, "_SOCKET_NAME", f".s.PGSQL.{port}")
    monkeypatch.setattr(postmaster, "_options", lambda socket_dir: [*options(socket_dir), *extra])
    url = start_embedded_server(folder)
    yield make_conninfo(url, host="127.0.0.1", port=port)
    stop_embedded_server(folder)


def test_both_sides_notice_a_vanished_peer_within_a_minute(tcp_url):
    def seconds(idle, interval, count) -> int:
        return int(idle) + int(interval) * int(count)

    with Database(tcp_url, DatabaseConfig()) as database, database.session() as connection:
        with socket.socket(fileno=socket.dup(connection.fileno())) as ours:
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert seconds(*(ours.getsockopt(socket.IPPROTO_TCP, option) for option in options)) < 60
            assert 0 < ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) < 60_000
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        *keepalive, user_timeout = show(connection, *names)
        assert seconds(*keepalive) < 60
        assert user_timeout == "40000"


def test_keepalives_of_the_url_are_kept(tcp_url):
    given = make_conninfo(tcp_url, keepalives_idle=7, tcp_user_timeout=9000, connect_timeout=3)
    with Database(given, DatabaseConfig()) as database, database.session() as connection:
        parameters = connection.info.get_parameters()
        assert (parameters["keepalives_idle"], parameters["tcp_user_timeout"]) == ("7", "9000")
        assert parameters["connect_timeout"] == "3"


def test_a_roles_formats_do_not_matter(database, beside, set_for_all, monkeypatch):
    set_for_all("DateStyle", "German")
    set_for_all("IntervalStyle", "iso_8601")
    set_for_all("bytea_output", "escape")
    set_for_all("extra_float_digits", "-10")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    database.close()
    query = "SELECT now(), interval '1 day 2 hours', '\\x00ff'::bytea, 0.1::float8 + 0.2::float8, '🙂'"

    def read(connection):
        moment, interval, data, number, text = connection.execute(query).fetchone()
        assert interval.total_seconds() == 26 * 3600
        assert (moment.year > 2000, data, number, text) == (True, b"\x00\xff", 0.1 + 0.2, "🙂")

    database.run(read)
    with database.session() as connection:
        read(connection)


def test_a_database_without_an_encoding_is_refused(server_url):
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
    try:
        database = Database(make_conninfo(server_url, dbname="bytes"), DatabaseConfig())
        with pytest.raises(ConfigurationError, match=r"SQL_ASCII.*UTF8"):
            database.connect()
    finally:
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute("DROP DATABASE bytes WITH (FORCE)")


def test_sessions_have_no_time_limits(database, set_for_all):
    for name in LIMITS:
        set_for_all(name, "300ms")
    with database.session() as connection:
        assert show(connection, *LIMITS) == ["0"] * 5
        time.sleep(0.5)  # idle
        connection.execute("SELECT pg_sleep(0.5)")


def test_a_transaction_may_have_no_time_limits(database, set_for_all):
    for name in ("statement_timeout", "transaction_timeout"):
        set_for_all(name, "300ms")
    set_for_all("lock_timeout", "11s")
    database.close()

    def work(connection):
        connection.execute("SELECT pg_sleep(0.5)")
        return show(connection, "lock_timeout")

    assert database.run(work, without_limits=True) == ["11s"]
    # Only that one.
    assert database.run(lambda connection: show(connection, "statement_timeout")) == ["300ms"]


@pytest.mark.parametrize(("name", "code"), [("statement_timeout", "57014"), ("transaction_timeout", "25P04")])
def test_a_time_limit_is_named_with_what_raises_it(name, code, database, set_for_all):
    set_for_all(name, "200ms")
    database.close()
    runs = []

    def work(connection):
        runs.append(1)
        connection.execute("SELECT pg_sleep(5)")

    with pytest.raises(DatabaseError, match=rf'{code}.*ALTER ROLE "postgres" SET {name} ='):
        database.run(work)
    assert len(runs) == 1


def test_a_session_that_was_idle_for_too_long_is_replaced(database, set_for_all):
    runs = []

    def work(connection):
        runs.append(1)
        if len(runs) == 1:
            connection.rollback()
            connection.execute("SET idle_session_timeout = '50ms'")
            connection.commit()
            time.sleep(0.3)
        return connection.execute("SELECT 1").fetchone()

    assert database.run(work) == (1,)
    assert len(runs) == 2


def test_settings_are_one_round_trip(database_url):
    with proxy(database_url) as url, Database(url, DatabaseConfig()) as database:
        sent = []
        connection = database._log_in()
        original = connection.execute

        def execute(*arguments, **options):
            sent.append(arguments)
            return original(*arguments, **options)

        connection.execute = execute
        database._apply_settings(connection, holds_locks=True)
        connection.close()
    assert len(sent) == 1
