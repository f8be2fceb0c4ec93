"""The schema on an empty database and on tables that were there before; edits of a text make it pending again."""

import subprocess
import sys
import threading
import time

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.errors import (
    ConfigurationError,
    DatabaseError,
    DatabasePermissionError,
    DatabaseUnavailableError,
)
from embedding_assets.postgres.backlog import count_backlog, fetch_pending
from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.chunks import store_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import FailedChunk, list_failures, save_failures
from embedding_assets.postgres.index.measurements import baseline_measurement, list_measurements
from embedding_assets.postgres.index.recall import CurvePoint, SearchMeasurement
from embedding_assets.postgres.index.statistics import VectorStatistics
from embedding_assets.postgres.locks import hold
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.search import nearest_chunks
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.usage.ledger import count_spending
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import FAKE_SPACE, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.tables import LATER_COLUMNS, SMALL_SPACE, as_role, chunks_of, run_sql, unit_vectors

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


ADOPTED = {
    "two columns": "CREATE TABLE knowledge_base (chunk_hash text, chunk_text text)",
    "varchar": "CREATE TABLE knowledge_base (chunk_hash varchar(64) PRIMARY KEY, chunk_text varchar, "
    "context_header varchar(500))",
    "a key of its own": "CREATE TABLE knowledge_base (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    "chunk_hash text UNIQUE NOT NULL, chunk_text text NOT NULL, chunk_index smallint, total_chunks bigint, "
    "words tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('simple', chunk_text)) STORED)",
    "nothing is NOT NULL": "CREATE TABLE knowledge_base (chunk_hash text, chunk_text text, context_header text, "
    "document_metadata jsonb, token_count integer, embedding vector)",
    "key with payload": "CREATE TABLE knowledge_base (chunk_hash text, chunk_text text, UNIQUE (chunk_hash) "
    "INCLUDE (chunk_text))",
}


@pytest.mark.parametrize("table", ADOPTED.values(), ids=ADOPTED)
def test_an_existing_table_is_adopted_with_its_rows(empty_url, table):
    rows = "INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('aa01', 'old'), ('bb01', 'older')"
    run_sql(empty_url, "CREATE EXTENSION vector", table, rows)
    with Database(empty_url, CONFIG) as database:
        assert migrate(database)
        column = register_space(database, SMALL_SPACE)
        chunks, document = chunks_of("new.md", ["new", "newer"])
        assert store_chunks(database, chunks, [document]) == (2, 0)
        assert store_chunks(database, chunks, [document]) == (0, 0)
        written = embed_all(database, column)
        assert written == {"aa01", "bb01", *document.hashes}
        rows = nearest_chunks(database, column, unit_vectors(1)[0], k=4, where={}, index=INDEX)
        assert {row[1] for row in rows} == {"old", "older", "new", "newer"}
        assert all(isinstance(row[3], dict) and row[2] == "" for row in rows)
        run_sql(empty_url, "UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_hash = 'aa01'")
        assert [c.chunk_hash for c in fetch_pending(database, column, range(256), after="", limit=9)] == ["aa01"]


def test_rows_without_text_or_hash_do_no_harm(empty_url):
    run_sql(empty_url, "CREATE EXTENSION vector", ADOPTED["nothing is NOT NULL"],
            "INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('aa01', NULL), (NULL, 'lost')")  # fmt: skip
    with Database(empty_url, CONFIG) as database:
        migrate(database)
        column = register_space(database, SMALL_SPACE)
        assert [(c.chunk_hash, c.text) for c in fetch_pending(database, column, range(256), after="", limit=9)] == [
            ("aa01", "")
        ]
        backlog = count_backlog(database, column)
        assert (backlog.pending, backlog.unreachable, backlog.due) == (2, 1, 1)


def test_a_filled_column_and_its_index_are_adopted(empty_url):
    run_sql(
        empty_url,
        "CREATE EXTENSION vector",
        "CREATE TABLE knowledge_base (chunk_hash text PRIMARY KEY, chunk_text text NOT NULL, embedding vector(768))",
        "CREATE INDEX idx_knowledge_embedding ON knowledge_base USING hnsw (embedding vector_cosine_ops)",
    )
    with psycopg.connect(empty_url) as connection:
        connection.execute("INSERT INTO knowledge_base VALUES ('aa01', 'x', %s::vector)", [vector_of("x").tolist()])
    with Database(empty_url, CONFIG) as database:
        migrate(database)
        with pytest.raises(ConfigurationError, match="EMBEDDING_MODEL_NAME"):
            register_space(database, FAKE_SPACE)
        column = register_space(database, FAKE_SPACE, claim_vectors=True)
        assert (column.name, column.index) == ("embedding", "idx_knowledge_embedding")
        assert count_backlog(database, column).embedded == 1


def test_a_table_in_another_schema_is_adopted_where_it_is(empty_url):
    run_sql(
        empty_url,
        "CREATE EXTENSION vector",
        "CREATE SCHEMA first",
        'CREATE SCHEMA "Second"',
        'CREATE TABLE "Second".knowledge_base (chunk_hash text, chunk_text text)',
        "INSERT INTO \"Second\".knowledge_base VALUES ('aa01', 'old')",
    )
    url = make_conninfo(empty_url, options='-csearch_path=first,"Second",public')
    with Database(url, CONFIG) as database:
        migrate(database)
        assert embed_all(database, register_space(database, SMALL_SPACE)) == {"aa01"}
    tables = run_sql(empty_url, "SELECT schemaname, count(*) FROM pg_tables WHERE schemaname IN "
                                "('first', 'Second', 'public') GROUP BY 1")  # fmt: skip
    assert tables == [("Second", 10)]


def test_a_schema_of_the_version_before_is_brought_up_to_date_with_its_rows(empty_url, monkeypatch):
    with Database(empty_url, CONFIG) as database:
        with monkeypatch.context() as patch:
            patch.setattr("embedding_assets.postgres.schema.HEAD", "0002")
            # As that version registered a space.
            patch.setattr("embedding_assets.postgres.spaces._watch_removals", lambda *_: None)
            migrate(database)
            # Read by this version, empty in what it finds.
            run_sql(empty_url, LATER_COLUMNS)
            column = register_space(database, SMALL_SPACE)
        insert_chunks(database, ["text"])
        embed_all(database, column)
        columns = "embedded, failed, skipped, truncated, tokens, seconds, model_load_seconds, peak_memory_bytes"
        values = f"'{column.space.name}', 'cpu', 'bfloat16', 9, 0, 0, 0, 90, 3, 1, 1000"
        run_sql(empty_url, f"INSERT INTO embedding_runs (space, device, precision, {columns}) VALUES ({values})")
        assert migrate(database)
        assert not migrate(database)
        run = latest_run(database, column.space.name)
        assert (run.embedded, run.precision, run.usd) == (9, "bfloat16", 0)
        assert count_backlog(database, column).embedded == 1
        assert count_spending(database, "run").month == 0
        waiting = "SELECT count(*) FROM knowledge_base WHERE pending_since > now() - interval '1 minute'"
        run_sql(empty_url, "UPDATE knowledge_base SET pending_since = '2020-01-01'")
        assert run_sql(empty_url, waiting) == [(0,)]
        run_sql(empty_url, "UPDATE knowledge_base SET embedding = NULL")
        assert run_sql(empty_url, waiting) == [(1,)], "the triggers of this version are there too"


def test_measurements_of_the_version_before_stay_comparable(empty_url, monkeypatch):
    details = {
        "method": "hnsw", "operator_class": "vector_cosine_ops", "m": 16, "ef_construction": 64, "ef_search": 60,
        "queries": 90, "reason": "", "planner_uses_index": True, "exact_p95_milliseconds": 31.0, "duplicates": 0.01,
        "near_duplicates": None, "dead_share": 0.2, "zero_share": 0.1, "heap_bytes": 5, "toast_bytes": 6,
        "pending_index_bytes": 7, "live_rows": 8, "dead_rows": 2, "sampled": 10, "zero": 1, "norm_min": 0.9,
        "norm_mean": 1.0, "norm_max": 1.1, "pgvector": "0.8.5",
        "curve": [
            {"ef_search": ef_search, "recall": 0.8, "recall_low": 0.7, "recall_high": 0.9, "p50_milliseconds": 1.5,
             "p95_milliseconds": 2.5}
            for ef_search in (10, 60)
        ],
    }  # fmt: skip
    unmeasured = details | {"reason": "5 vectors are too few", "curve": [], "exact_p95_milliseconds": None}
    with Database(empty_url, CONFIG) as database:
        with monkeypatch.context() as patch:
            patch.setattr("embedding_assets.postgres.schema.HEAD", "0004")
            migrate(database)
            # Read by this version, empty in what it finds.
            run_sql(empty_url, LATER_COLUMNS)
            column = register_space(database, SMALL_SPACE)
        for recall, kept in ((0.8, details), (None, unmeasured)):
            numbers = [recall, 0.7, 0.9, 1.5, 2.5, 30.0] if recall else [None] * 6
            values = [column.space.name, column.index, 9, *numbers, 4096, 1.25, Jsonb(kept), recall is not None]
            database.run(lambda connection, values=values: connection.execute(
                "INSERT INTO embedding_index_measurements (space, index_name, embedded, recall, recall_low, "
                "recall_high, p50_ms, p95_ms, exact_p50_ms, index_bytes, table_bytes, bloat, details, built, accepted) "
                f"VALUES ({', '.join(['%s'] * 10)}, 11, %s, %s, true, %s)", values
            ))  # fmt: skip
        assert migrate(database)
        first, second = list_measurements(database, column.space.name)
        assert baseline_measurement(database, column.space.name) == first
    assert first.index == IndexState(column.index, True, True, 4096, "vector_cosine_ops", 16, 64)
    assert (first.ef_search, first.bloat, first.built) == (60, 1.25, True)
    assert first.search == SearchMeasurement(
        90, 0.8, True, 1.5, 2.5, 0.7, 0.9, 30.0, 31.0,
        (CurvePoint(10, 0.8, 0.7, 0.9, 1.5, 2.5), CurvePoint(60, 0.8, 0.7, 0.9, 1.5, 2.5)), 0.01, None,
    )  # fmt: skip
    assert first.vectors == VectorStatistics(9, 5, 6, 7, 8, 2, None, 10, 0, 1, None, 0.9, 1.0, 1.1, "0.8.5")
    assert (second.search.recall, second.search.curve, second.search.reason) == (None, (), "5 vectors are too few")


REFUSED = {
    "integer hash": ("chunk_hash integer, chunk_text text", "chunk_hash is integer"),
    "no text": ("chunk_hash text, body text", "no column chunk_text"),
    "json metadata": ("chunk_hash text, chunk_text text, document_metadata json", "document_metadata is json"),
    "array": ("chunk_hash text, chunk_text text, embedding real\\[\\]", "embedding is real"),
    "deferrable key": (
        "chunk_hash text UNIQUE DEFERRABLE, chunk_text text",
        "unique constraint on chunk_hash is deferrable",
    ),
    "another text_version": ("chunk_hash text, chunk_text text, text_version text", "text_version is text"),
}


@pytest.mark.parametrize(("columns", "message"), REFUSED.values(), ids=REFUSED)
def test_a_table_whose_columns_mean_something_else_is_refused_untouched(empty_url, columns, message):
    run_sql(empty_url, f"CREATE TABLE knowledge_base ({columns})".replace("\\", ""))
    before = run_sql(empty_url, "SELECT attname FROM pg_attribute WHERE attrelid = 'knowledge_base'::regclass")
    with Database(empty_url, CONFIG) as database, pytest.raises(ConfigurationError, match=message):
        migrate(database)
    assert run_sql(empty_url, "SELECT attname FROM pg_attribute WHERE attrelid = 'knowledge_base'::regclass") == before


def test_what_else_cannot_be_adopted(empty_url):
    with Database(empty_url, CONFIG) as database:
        run_sql(empty_url, "CREATE TABLE knowledge_base AS SELECT 'aa01' AS chunk_hash, 'secret' AS chunk_text "
                           "FROM generate_series(1, 2)")  # fmt: skip
        with pytest.raises(ConfigurationError, match="duplicates") as caught:
            migrate(database)
        assert "secret" not in str(caught.value)
        run_sql(empty_url, "ALTER TABLE knowledge_base RENAME TO t", "CREATE VIEW knowledge_base AS SELECT * FROM t")
        with pytest.raises(ConfigurationError, match="not an ordinary table"):
            migrate(database)
        run_sql(empty_url, "DROP VIEW knowledge_base", "CREATE TABLE embedding_runs (id integer)")
        with pytest.raises(DatabaseError, match="embedding_runs") as caught:
            migrate(database)
        assert len(str(caught.value).splitlines()) == 1
        run_sql(empty_url, "DROP TABLE embedding_runs")
        assert migrate(database)
        run_sql(empty_url, "UPDATE embedding_schema_version SET version_num = '0999'")
        with pytest.raises(ConfigurationError, match="upgrade embedding-assets"):
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

    answers = [process.communicate(timeout=60)[0].split()[0] for process in [start() for _ in range(3)]]
    assert sorted(answers) == ["False", "False", "True"]
    assert start().communicate(timeout=60)[0].split() == ["False", "False"]


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
    def cut(database, schema):
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
            thread.join(30)
    assert sorted(results) == [False, True]


# In-place edits (the trigger)


def test_an_edit_makes_a_chunk_pending_in_every_space(database, column, execute, settings):
    second = register_space(database, FAKE_SPACE, new_space=True)
    [chunk_hash] = insert_chunks(database, ["text"], context_header="header")
    columns = f"text_version, embedding IS NULL, {second.name} IS NULL"
    version = 0
    for statement, edits in [
        ("UPDATE knowledge_base SET chunk_text = chunk_text || '!'", True),
        ("UPDATE knowledge_base SET context_header = 'another'", True),
        ("UPDATE knowledge_base SET chunk_text = chunk_text, context_header = context_header", False),
        ("UPDATE knowledge_base SET document_metadata = '{\"a\": 1}', token_count = 7", False),
        ("UPDATE knowledge_base SET embedding = embedding", False),
    ]:
        embed_all(database, column)
        embed_all(database, second)
        save_failures(database, column.space.name, [FailedChunk(chunk_hash, "x")], settings.embedding)
        assert execute(f"SELECT {columns} FROM knowledge_base") == [(version, False, False)]
        execute(statement)
        version += edits
        assert execute(f"SELECT {columns} FROM knowledge_base") == [(version, edits, edits)]
        assert (list_failures(database) == []) is edits


def test_an_edit_by_a_role_that_knows_only_the_table(role, database, column, execute, database_url):
    [chunk_hash] = insert_chunks(database, ["text"])
    embed_all(database, column)
    for statement in (
        f"GRANT SELECT, UPDATE ON knowledge_base TO {role}",
        f"CREATE SCHEMA {role} AUTHORIZATION {role}",
        f"CREATE TABLE {role}.embedding_spaces (column_name text)",
        f"GRANT ALL ON {role}.embedding_spaces TO {role}",
    ):
        execute(statement)
    # "$user" is first in the default search_path, so the role's own table would be found first.
    run_sql(as_role(database_url, role), "UPDATE knowledge_base SET chunk_text = 'edited'")
    assert [c.text for c in fetch_pending(database, column, range(256), after="", limit=9)] == ["edited"]
    embed_all(database, column)
    run_sql(database_url, "SET search_path = pg_catalog", "UPDATE public.knowledge_base SET chunk_text = 'again'")
    assert [c.text for c in fetch_pending(database, column, range(256), after="", limit=9)] == ["again"]
    assert execute("SELECT text_version FROM knowledge_base WHERE chunk_hash = %s", chunk_hash) == [(2,)]
