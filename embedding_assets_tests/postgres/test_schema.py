"""The schema on an empty database, and what keeps it from being made."""

import subprocess
import sys
import threading
import time

import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.errors import (
    ConfigurationError,
    DatabaseError,
    DatabasePermissionError,
    DatabaseUnavailableError,
    TableNotAdoptedError,
)
from embedding_assets.postgres.backlog import count_backlog, fetch_pending
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.locks import hold
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.tables import SMALL_SPACE, as_role, run_sql, unit_vectors

CONFIG = DatabaseConfig(retry_seconds=5)
INDEX = IndexConfig()


def embed_all(database: Database, column) -> set[str]:
    pending = fetch_pending(database, column, range(256), after="", limit=100)
    vectors = unit_vectors(len(pending), column.space.dimensions)
    return write_vectors(database, column, pending, vectors).written if pending else set()


def test_an_empty_database_gets_the_schema_once(empty_url):
    with Database(empty_url, CONFIG) as database:
        assert migrate(database)
        assert not migrate(database)
        assert insert_chunks(database, ["one"]) == [hash_of("one")]
    assert run_sql(empty_url, "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = 'embedding' "
                              "AND attrelid = 'knowledge_base'::regclass") == [("vector(768)",)]  # fmt: skip


def test_rows_without_text_or_hash_do_no_harm(database, column, execute):
    """As tables of users have them that an earlier version adopted."""
    execute("ALTER TABLE knowledge_base DROP CONSTRAINT knowledge_base_pkey")
    for name in ("chunk_hash", "chunk_text", "context_header", "document_metadata", "token_count"):
        execute(f"ALTER TABLE knowledge_base ALTER COLUMN {name} DROP NOT NULL")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text, context_header, document_metadata, token_count) "
            "VALUES ('aa01', NULL, NULL, NULL, NULL), (NULL, 'lost', '', '{}', 1)")  # fmt: skip
    assert [(c.chunk_hash, c.text) for c in fetch_pending(database, column, range(256), after="", limit=9)] == [
        ("aa01", "")
    ]
    backlog = count_backlog(database, column)
    assert (backlog.pending, backlog.unreachable, backlog.due) == (2, 1, 1)


FOREIGN = {
    "alike": "chunk_hash text PRIMARY KEY, chunk_text text NOT NULL, embedding vector(768)",
    "something else": "chunk_hash integer, body text, pending_since date",
    "with rows twice": "chunk_hash text, chunk_text text DEFAULT 'secret'",
}


@pytest.mark.parametrize("columns", FOREIGN.values(), ids=FOREIGN)
def test_a_table_of_somebody_else_is_refused_untouched(empty_url, columns):
    run_sql(empty_url, "CREATE EXTENSION vector", f"CREATE TABLE knowledge_base ({columns})",
            "INSERT INTO knowledge_base (chunk_hash) SELECT 1 WHERE false")  # fmt: skip
    catalog = (
        "SELECT attrelid::regclass::text, attname, atttypid, attnotnull FROM pg_attribute JOIN pg_class c "
        "ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace ORDER BY 1, attnum"
    )
    before = run_sql(empty_url, catalog)
    triggers = "SELECT count(*) FROM pg_trigger"
    watched = run_sql(empty_url, triggers)
    with (
        Database(empty_url, CONFIG) as database,
        pytest.raises(TableNotAdoptedError, match=r"public\.knowledge_base .* run `embedding-assets adopt") as caught,
    ):
        migrate(database)
    assert "secret" not in str(caught.value)
    assert run_sql(empty_url, catalog) == before
    assert run_sql(empty_url, triggers) == watched


def test_what_is_in_the_way_of_the_schema(empty_url):
    with Database(empty_url, CONFIG) as database:
        run_sql(empty_url, "CREATE VIEW knowledge_base AS SELECT 'aa01' AS chunk_hash, 'text' AS chunk_text")
        with pytest.raises(ConfigurationError, match="knowledge_base"):
            migrate(database)
        run_sql(empty_url, "DROP VIEW knowledge_base", "CREATE TABLE embedding_runs (id integer)")
        with pytest.raises(DatabaseError, match="embedding_runs") as caught:
            migrate(database)
        assert len(str(caught.value).splitlines()) == 1
        assert run_sql(empty_url, "SELECT to_regclass('knowledge_base')") == [(None,)]
        run_sql(empty_url, "DROP TABLE embedding_runs")
        assert migrate(database)
        run_sql(empty_url, "UPDATE embedding_schema_version SET version_num = '0999'")
        assert not migrate(database), "it says that this version may go on"
        run_sql(empty_url, "COMMENT ON TABLE embedding_schema_version IS NULL")
        with pytest.raises(ConfigurationError, match="upgrade embedding-assets"):
            migrate(database)


def test_a_schema_is_made_in_the_first_of_the_search_path(empty_url):
    run_sql(empty_url, "CREATE EXTENSION vector", 'CREATE SCHEMA "Second"', "CREATE SCHEMA third")
    with Database(make_conninfo(empty_url, options='-csearch_path="Second",public'), CONFIG) as database:
        migrate(database)
        column = register_space(database, SMALL_SPACE)
        insert_chunks(database, ["text"])
        assert embed_all(database, column) == {hash_of("text")}
    tables = run_sql(empty_url, "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname !~ '^(pg_|information)'")
    assert tables == [("Second",)]
    # Found there again by who has it further back, and said where it is to who has not.
    with Database(make_conninfo(empty_url, options='-csearch_path=third,"Second",public'), CONFIG) as database:
        assert not migrate(database)
        assert count_backlog(database, column).embedded == 1
    with Database(empty_url, CONFIG) as database, pytest.raises(ConfigurationError, match='lacks schema "Second"'):
        migrate(database)


MIGRATE = """
import sys
from embedding_assets.config import DatabaseConfig
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.schema import migrate
print(migrate(Database(sys.argv[1], DatabaseConfig())), bool({"alembic", "sqlalchemy"} & set(sys.modules)))
"""


def test_processes_that_start_at_once_migrate_once_and_a_later_one_imports_no_alembic(empty_url):
    def start() -> subprocess.Popen[str]:
        return processes.start([sys.executable, "-c", MIGRATE, empty_url], stdout=subprocess.PIPE, text=True)

    answers = [process.communicate(timeout=180)[0].split()[0] for process in [start() for _ in range(3)]]
    assert sorted(answers) == ["False", "False", "True"]
    assert start().communicate(timeout=180)[0].split() == ["False", "False"]


def test_a_role_needs_the_rights_and_is_reported_which(role, empty_url):
    with Database(as_role(empty_url, role), CONFIG) as database:
        with pytest.raises(DatabasePermissionError, match="CREATE EXTENSION vector"):
            migrate(database)
        run_sql(empty_url, "CREATE EXTENSION vector")
        with pytest.raises(DatabasePermissionError, match="GRANT USAGE, CREATE ON SCHEMA"):
            migrate(database)
        run_sql(empty_url, f"GRANT CREATE ON SCHEMA public TO {role}")
        assert migrate(database)


def test_a_role_that_may_not_read_the_version_is_reported_so(role, database_url):
    with Database(as_role(database_url, role), CONFIG) as database:
        with pytest.raises(DatabasePermissionError, match="embedding_schema_version"):
            migrate(database)
        run_sql(database_url, "CREATE TABLE other (id integer)", f"DROP OWNED BY {role}")


def test_a_connection_lost_while_migrating_is_an_error_of_ours(empty_url, monkeypatch):
    def cut(database, table):
        run_sql(
            empty_url,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        raise DatabaseUnavailableError("gone")

    monkeypatch.setattr("embedding_assets.postgres.schema._upgrade", cut)
    with Database(empty_url, CONFIG) as database, pytest.raises(DatabaseUnavailableError, match=r"^gone$"):
        migrate(database)


def test_who_waited_for_a_migration_does_not_repeat_it(empty_url):
    results = []
    with Database(empty_url, CONFIG) as database:
        with database.session() as connection, hold(connection, "migrate"):
            threads = [threading.Thread(target=lambda: results.append(migrate(database))) for _ in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(0.3)
            assert results == []
        for thread in threads:
            thread.join(180)
    assert sorted(results) == [False, True]


def test_who_waited_for_a_migration_knows_the_table_that_was_made(empty_url):
    """Locks go by its number: two loads or runs at once would not see each other's."""
    with (
        Database(empty_url, CONFIG) as first,
        Database(empty_url, CONFIG) as second,
        Database(empty_url, CONFIG) as late,
    ):
        assert first.table.oid == second.table.oid == late.table.oid == 0
        waiting = threading.Thread(target=migrate, args=[second])
        with first.session() as connection, hold(connection, "migrate"):
            waiting.start()
            time.sleep(0.3)
        migrate(first)
        waiting.join(180)
        assert not migrate(late)
        assert first.table.oid == second.table.oid == late.table.oid > 0
