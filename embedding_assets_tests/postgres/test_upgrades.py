"""Schemas of earlier versions are brought up to date with their rows, failures, spaces and measurements."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from embedding_assets.config import DatabaseConfig
from embedding_assets.postgres.backlog import count_backlog, fetch_pending
from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import list_failures, retry_failures
from embedding_assets.postgres.index.measurements import baseline_measurement, list_measurements
from embedding_assets.postgres.index.recall import CurvePoint, SearchMeasurement
from embedding_assets.postgres.index.statistics import VectorStatistics
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.same_text import ensure_text_index
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.postgres.trigger import trigger_state
from embedding_assets.postgres.usage.ledger import count_spending
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets_tests.support.earlier import fail, make_schema, register
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.tables import OTHER_SMALL_SPACE, SMALL_SPACE, run_sql, unit_vectors

CONFIG = DatabaseConfig(retry_seconds=5)
ONE, OTHER = "'[1,0,0,0,0,0,0,0]'", "'[0,1,0,0,0,0,0,0]'"


def due(database, column) -> list[str]:
    return [chunk.text for chunk in fetch_pending(database, column, range(256), after="", limit=9)]


def test_a_schema_of_the_version_before_is_brought_up_to_date_with_its_rows(empty_url, monkeypatch):
    make_schema(empty_url, "0002", monkeypatch)
    column = register(empty_url, SMALL_SPACE)
    with Database(empty_url, CONFIG) as database:
        insert_chunks(database, ["text"])
        run_sql(empty_url, f"UPDATE knowledge_base SET embedding = {ONE}")
        columns = "embedded, failed, skipped, truncated, tokens, seconds, model_load_seconds, peak_memory_bytes"
        values = f"'{column.space.name}', 'cpu', 'bfloat16', 9, 0, 0, 0, 90, 3, 1, 1000"
        run_sql(empty_url, f"INSERT INTO embedding_runs (space, device, precision, {columns}) VALUES ({values})")
        assert migrate(database)
        assert not migrate(database)
        run = latest_run(database, column.space.name)
        assert (run.embedded, run.precision, run.threads, run.streams, run.usd) == (9, "bfloat16", None, None, 0)
        assert count_backlog(database, column).embedded == 1
        assert count_spending(database, "run").month == 0
        waiting = "SELECT count(*) FROM knowledge_base WHERE pending_since > now() - interval '1 minute'"
        run_sql(empty_url, "UPDATE knowledge_base SET pending_since = '2020-01-01'")
        assert run_sql(empty_url, waiting) == [(0,)]
        run_sql(empty_url, "UPDATE knowledge_base SET embedding = NULL")
        assert run_sql(empty_url, waiting) == [(1,)], "the triggers of this version are there too"


def test_the_release_before_with_rows_failures_and_two_spaces(empty_url, monkeypatch):
    make_schema(empty_url, "0009", monkeypatch)
    first = register(empty_url, SMALL_SPACE)
    second = register(empty_url, OTHER_SMALL_SPACE, "embedding_other")
    with Database(empty_url, CONFIG) as database:
        insert_chunks(database, ["embedded", "failing", "bad", "new"])
        run_sql(
            empty_url,
            f"UPDATE knowledge_base SET embedding = {ONE}, embedding_other = {OTHER} WHERE chunk_text = 'embedded'",
        )
        fail(empty_url, first, hash_of("failing"))
        fail(empty_url, first, hash_of("bad"), quarantined=True)
        rows = "SELECT *, xmin::text FROM knowledge_base ORDER BY chunk_hash"
        files = "SELECT oid, relfilenode FROM pg_class WHERE relname ~ 'knowledge' ORDER BY oid"
        before = run_sql(empty_url, rows), run_sql(empty_url, files)

        assert migrate(database)
        assert not migrate(database)
        assert (run_sql(empty_url, rows), run_sql(empty_url, files)) == before
        assert list_spaces(database) == [first, second]
        backlog = count_backlog(database, first)
        assert (backlog.embedded, backlog.waiting, backlog.quarantined, backlog.due) == (1, 1, 1, 1)
        assert {failure.chunk_hash for failure in list_failures(database)} == {hash_of("failing"), hash_of("bad")}
        assert due(database, first) == ["new"]
        assert count_backlog(database, second).due == 3

        names = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'knowledge_base'::regclass AND NOT tgisinternal"
        assert {name for (name,) in run_sql(empty_url, names)} == {
            "zzz_embedding_assets_text_changed", "embedding_removed", "embedding_other_removed",
        }  # fmt: skip
        with database.session() as session:
            assert trigger_state(session, database.table) == "there"
        assert run_sql(empty_url, "SELECT 1 FROM pg_proc WHERE proname = 'knowledge_base_text_changed'") == []
        assert run_sql(empty_url, "SELECT 1 FROM pg_constraint WHERE confrelid = 'knowledge_base'::regclass") == []

        run_sql(empty_url, "UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_text = 'embedded'")
        assert run_sql(empty_url, "SELECT embedding, embedding_other, text_version FROM knowledge_base "
                                  "WHERE chunk_text = 'edited'") == [(None, None, 1)]  # fmt: skip
        assert sorted(due(database, first)) == ["edited", "new"]
        chunks = fetch_pending(database, first, range(256), after="", limit=9)
        assert len(write_vectors(database, first, chunks, unit_vectors(2)).written) == 2
        assert retry_failures(database) == 2
        assert sorted(due(database, first)) == ["bad", "failing"]


def test_a_failure_of_the_release_before_is_forgotten_with_its_text_being_embedded(empty_url, monkeypatch):
    make_schema(empty_url, "0009", monkeypatch)
    column = register(empty_url, SMALL_SPACE)
    with Database(empty_url, CONFIG) as database:
        insert_chunks(database, ["failing", "bad"])
        fail(empty_url, column, hash_of("failing"))
        fail(empty_url, column, hash_of("bad"))
        migrate(database)
        run_sql(empty_url, "UPDATE embedding_failures SET retry_at = now()")
        chunks = [c for c in fetch_pending(database, column, range(256), after="", limit=9) if c.text == "failing"]
        assert write_vectors(database, column, chunks, unit_vectors(1)).written == {hash_of("failing")}
        assert [failure.chunk_hash for failure in list_failures(database)] == [hash_of("bad")]


def test_an_edit_before_the_failures_are_read_lets_the_new_text_be_tried(empty_url, monkeypatch):
    """Failures of earlier versions do not say which text has failed; since the upgrade an edit must still count."""
    make_schema(empty_url, "0009", monkeypatch)
    column = register(empty_url, SMALL_SPACE)
    with Database(empty_url, CONFIG) as database:
        insert_chunks(database, ["bad"])
        fail(empty_url, column, hash_of("bad"), quarantined=True)
        migrate(database)
        run_sql(empty_url, "UPDATE knowledge_base SET chunk_text = 'better'")
        assert due(database, column) == ["better"]
        assert list_failures(database) == []


def test_an_upgrade_gives_way_to_a_writer(empty_url, monkeypatch):
    make_schema(empty_url, "0009", monkeypatch)
    column = register(empty_url, SMALL_SPACE)
    with psycopg.connect(empty_url) as writer, Database(empty_url, DatabaseConfig(retry_seconds=0)) as impatient:
        writer.execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('aa', 'theirs')")
        with pytest.raises(Exception, match="lock timeout"):
            migrate(impatient)
        writer.execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('ab', 'theirs')")
        writer.commit()
        assert migrate(impatient)
        assert due(impatient, column) == ["theirs", "theirs"]


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
    make_schema(empty_url, "0004", monkeypatch)
    column = register(empty_url, SMALL_SPACE)
    with Database(empty_url, CONFIG) as database:
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


@pytest.mark.parametrize(("rows", "at_once"), [(3, True), (10_000, False)])
def test_the_index_of_texts_waits_for_a_load_where_a_table_is_large(empty_url, monkeypatch, rows, at_once):
    make_schema(empty_url, "0011", monkeypatch)
    with Database(empty_url, CONFIG) as database:
        run_sql(
            empty_url,
            "INSERT INTO knowledge_base (chunk_hash, chunk_text) "
            f"SELECT md5(n::text), n FROM generate_series(1, {rows}) n",
            "INSERT INTO loaded_documents (origin, digest, chunks) VALUES ('/srv/docs/a.md', 'x', 1)",
        )
        assert migrate(database)
        built = "SELECT count(*) FROM pg_indexes WHERE indexname = 'idx_embedded_text'"
        assert run_sql(empty_url, built) == [(int(at_once),)]
        ensure_text_index(database)
        assert run_sql(empty_url, built) == [(1,)]
        assert run_sql(empty_url, "SELECT collection, content, rejected FROM loaded_documents") == [(None, None, 0)]
