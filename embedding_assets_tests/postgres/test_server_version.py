"""Versions of PostgreSQL and pgvector: refused, warned of, or worked around."""

import pytest

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.errors import ConfigurationError, PgvectorError
from embedding_assets.postgres import server_version
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.server_version import PgvectorLimits, limits_of
from embedding_assets_tests.support.tables import insert_vectors, run_sql, unit_vectors

CONFIG = DatabaseConfig(retry_seconds=2)


@pytest.fixture(autouse=True)
def not_warned_yet(monkeypatch):
    monkeypatch.setattr(server_version, "_warned", set())


def pretend(url: str, version: str) -> None:
    run_sql(url, f"UPDATE pg_extension SET extversion = '{version}' WHERE extname = 'vector'")


def test_what_is_safe_with_which_version():
    assert limits_of("0.8.1") == PgvectorLimits(builds_in_parallel=False, vacuums_indexes=False)
    assert limits_of("0.8.2") == limits_of("0.8.3") == PgvectorLimits(builds_in_parallel=True, vacuums_indexes=False)
    assert limits_of("0.8.4") == limits_of("0.10.0") == PgvectorLimits(builds_in_parallel=True, vacuums_indexes=True)


@pytest.mark.parametrize(
    ("version", "warned"),
    [("0.8.0", True), ("0.8.3", True), ("0.8.4", False), ("0.10.0", False), ("1.0", False), ("0.9", False)],
)
def test_pgvector_is_accepted_with_one_warning(version, warned, database_url, caplog):
    pretend(database_url, version)
    with Database(database_url, CONFIG) as database:
        assert not migrate(database)
        assert not migrate(database)
    warnings = [message for message in caplog.messages if "ALTER EXTENSION vector UPDATE" in message]
    assert len(warnings) == warned
    assert all(version in message for message in warnings)


def test_pgvector_must_be_there_and_new_enough(database_url):
    with Database(database_url, CONFIG) as database:
        pretend(database_url, "0.7.4")
        with pytest.raises(PgvectorError, match=r"0.7.4 is older than 0.8.0.*ALTER EXTENSION"):
            migrate(database)
        run_sql(database_url, "DROP EXTENSION vector CASCADE")
        with pytest.raises(PgvectorError, match="CREATE EXTENSION vector"):
            migrate(database)


@pytest.mark.parametrize(("version", "workers"), [("0.8.1", 0), ("0.8.2", 2), ("0.8.4", 2)])
def test_an_index_is_built_in_parallel_only_where_that_is_sound(
    version, workers, database, database_url, column, caplog
):
    pretend(database_url, version)
    insert_vectors(database, column, unit_vectors(20))
    caplog.set_level("INFO")
    assert build_vector_index(database, column, IndexConfig(workers=2)) is not None
    assert [f"with up to {workers} workers" in line for line in caplog.messages if "building idx_" in line] == [True]


@pytest.mark.parametrize(("version", "scanned"), [("0.8.3", False), ("0.8.4", True)])
def test_our_vacuum_leaves_other_indexes_alone_where_that_is_not_sound(
    version, scanned, database, database_url, column, execute
):
    pretend(database_url, version)
    insert_vectors(database, column, unit_vectors(400))
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    execute("CREATE INDEX other_hnsw ON knowledge_base USING hnsw (embedding vector_l2_ops)")
    execute("DELETE FROM knowledge_base WHERE chunk_hash > '4'")
    build_vector_index(database, column, IndexConfig(workers=0))
    rows = execute("SELECT n_dead_tup FROM pg_stat_all_tables WHERE relname = 'knowledge_base'")
    database.close()
    assert (rows[0][0] == 0) == scanned


def test_pgvector_out_of_sight_is_explained(empty_url):
    run_sql(empty_url, "CREATE SCHEMA hidden", "CREATE EXTENSION vector SCHEMA hidden")
    with Database(empty_url, CONFIG) as database, pytest.raises(PgvectorError, match=r"schema hidden.*search_path"):
        migrate(database)


def test_a_server_without_pgvector_or_too_old_is_shown_what_it_needs(empty_url, monkeypatch):
    # As PostgreSQL answers where the extension's files are missing.
    run_sql(
        empty_url,
        "CREATE FUNCTION missing() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'extension is not available' USING ERRCODE = 'feature_not_supported'; END $$",
        "CREATE EVENT TRIGGER missing ON ddl_command_start WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION missing()",
    )
    with Database(empty_url, CONFIG) as database:
        with pytest.raises(PgvectorError, match=r"install pgvector 0.8.4 or newer there"):
            migrate(database)
        monkeypatch.setattr("embedding_assets.postgres.server_version.MINIMUM_POSTGRESQL", 999_999)
        with pytest.raises(ConfigurationError, match="version 14 or newer is needed"):
            migrate(database)
