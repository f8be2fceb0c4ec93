"""Poolers: those that keep a session to its client work, the others are refused before anything is lost."""

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from embedding_assets.config import DatabaseConfig, get_settings
from embedding_assets.defs.storage import EmbeddingAssetsStorage
from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.url import normalize_url
from embedding_assets_tests.support.pgbouncer import pgbouncer

QUICK = DatabaseConfig(retry_seconds=1)


@pytest.mark.parametrize("pool", [{}, {"default_pool_size": "1"}, {"server_round_robin": "1"}], ids=str)
def test_transaction_mode_is_refused_in_one_line(pool, database_url, beside):
    beside.execute(f"ALTER DATABASE {beside.info.dbname} SET statement_timeout = '77s'")
    with pgbouncer(database_url, "transaction", **pool) as url, Database(url, QUICK) as database:
        with pytest.raises(ConfigurationError, match=r"pooler in transaction mode.*pool_mode = session") as caught:
            database.connect()
        with pytest.raises(ConfigurationError, match="transaction mode"):
            database.run(lambda connection: connection.execute("SELECT 1"))
        assert len(str(caught.value).splitlines()) == 1
        # Nothing of ours is left to the pooler's other clients.
        for _ in range(4):
            with psycopg.connect(url, autocommit=True) as other:
                assert not other.execute("SELECT current_setting('embedding_assets.session', true)").fetchone()[0]
                assert other.execute("SHOW statement_timeout").fetchone() == ("77s",)


def test_session_mode_works(empty_url, monkeypatch):
    with pgbouncer(empty_url, "session") as url:
        monkeypatch.setenv("EMBEDDING_DATABASE_URL", normalize_url(url))
        with open_database(get_settings()) as database:
            assert database.run(lambda c: c.execute("SELECT count(*) FROM knowledge_base").fetchone()) == (0,)
            with database.session() as connection:
                assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
                assert connection.execute("SHOW IntervalStyle").fetchone() == ("postgres",)
        # Dagster's own tables too, in their schema.
        storage = EmbeddingAssetsStorage.from_config_value(None, {})
        with storage.run_storage.connect() as connection:
            assert connection.exec_driver_sql("SELECT current_schema()").scalar() == "dagster"


def test_options_that_a_pooler_refuses_are_explained(database_url):
    with pgbouncer(database_url, "session") as url:
        given = make_conninfo(url, options="-c search_path=x", password="hunter2")
        with pytest.raises(DatabaseUnavailableError, match=r"remove options=.*ALTER ROLE") as caught:
            Database(given, DatabaseConfig(retry_seconds=30)).connect()
    assert "hunter2" not in str(caught.value)


def test_a_plain_server_is_not_asked_further(database, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("embedding_assets.postgres.pooling.shares_sessions", refuse)
    database.connect().close()
    assert "options" not in conninfo_to_dict(database._conninfo)
