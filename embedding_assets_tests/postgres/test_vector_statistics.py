"""Sizes, dead rows, lengths and counts are those of the table; what waits longest is found through its index."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres import schema, spaces, vector_statistics
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import record_failures
from embedding_assets.postgres.index import build_vector_index, drop_index
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.vector_statistics import measure_vectors, oldest_pending
from embedding_assets_tests.fakes import FAKE_SPACE, hash_of, insert_chunks
from embedding_assets_tests.postgres.conftest import SMALL_SPACE, insert_vectors, unit_vectors
from embedding_assets_tests.postgres.test_schema import CONFIG, run_sql

OTHER_SPACE = dataclasses.replace(SMALL_SPACE, model="fake/other")


def quarantine(database, record, settings, *hashes: str) -> None:
    config = settings.embedding.model_copy(update={"max_attempts": 1})
    record_failures(database, record.space.name, dict.fromkeys(hashes, "encoding_failed"), config)


def test_nothing_is_measured_as_nothing(database, record):
    statistics = measure_vectors(database, record)
    assert (statistics.vectors, statistics.index_bytes, statistics.sampled, statistics.zero) == (0, 0, 0, 0)
    assert (statistics.norm_min, statistics.norm_mean, statistics.norm_max) == (None, None, None)
    assert (statistics.dead_share, statistics.zero_share) == (0.0, 0.0)
    assert statistics.vacuumed_at is None
    assert statistics.pgvector.startswith("0.")


def test_sizes(database, execute):
    record = register_space(database, FAKE_SPACE)
    insert_vectors(database, record, unit_vectors(60, 768))
    before = measure_vectors(database, record)
    assert before.index_bytes == 0
    build_vector_index(database, record, IndexConfig())
    statistics = measure_vectors(database, record)
    assert statistics.vectors == 60
    # 3 kB each, of which only a reference is left in the row.
    assert 60 * 3072 < statistics.toast_bytes < 60 * 3072 * 2
    assert 0 < statistics.heap_bytes < 60 * 3072
    assert [(statistics.heap_bytes, statistics.index_bytes, statistics.pending_index_bytes)] == execute(
        "SELECT pg_relation_size('knowledge_base'), pg_relation_size('idx_knowledge_embedding'), "
        "pg_relation_size('idx_knowledge_embedding_pending')"
    )
    assert execute("SELECT pg_total_relation_size('knowledge_base') - pg_indexes_size('knowledge_base') "
                   "- pg_table_size('knowledge_base')") == [(0,)]  # fmt: skip
    [(table,)] = execute("SELECT pg_table_size('knowledge_base')")
    assert statistics.table_bytes == pytest.approx(table, abs=5 * 8192)  # but for free space and visibility maps


def test_dead_rows_and_vacuum(database, record, execute, beside):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_vectors(database, record, unit_vectors(40))
    database.close()  # its sessions hand in what they counted
    beside.execute("UPDATE knowledge_base SET embedding = embedding + '[1,0,0,0,0,0,0,0]'")
    beside.execute("SELECT pg_stat_force_next_flush()")
    statistics = measure_vectors(database, record)
    assert (statistics.live_rows, statistics.dead_rows, statistics.dead_share) == (40, 40, 0.5)
    assert statistics.vacuumed_at is None
    beside.execute("VACUUM knowledge_base")
    beside.execute("SELECT pg_stat_force_next_flush()")
    statistics = measure_vectors(database, record)
    assert (statistics.live_rows, statistics.dead_share) == (40, 0)
    assert datetime.now(UTC) - statistics.vacuumed_at < timedelta(minutes=10)


def test_lengths_and_zero_vectors(database, record):
    vectors = unit_vectors(10)
    vectors[0] = 0
    vectors[1] *= 0.5
    vectors[2] *= 3
    insert_vectors(database, record, vectors)
    insert_chunks(database, ["pending"])
    statistics = measure_vectors(database, record)
    assert (statistics.vectors, statistics.sampled, statistics.zero, statistics.zero_share) == (10, 10, 1, 0.1)
    assert statistics.norm_min == pytest.approx(0.5)
    assert statistics.norm_max == pytest.approx(3)
    assert statistics.norm_mean == pytest.approx((7 + 0.5 + 3) / 9)


def test_of_a_large_table_a_sample_is_looked_at(database, record, execute, monkeypatch):
    insert_vectors(database, record, unit_vectors(3000))
    execute("ANALYZE knowledge_base")
    monkeypatch.setattr(vector_statistics, "_SAMPLE_ROWS", 500)
    statistics = measure_vectors(database, record)
    assert statistics.vectors == 3000
    assert 0 < statistics.sampled < 2000


def test_thoroughly_each_vector_is_looked_at_unless_that_takes_too_long(database, record, execute, monkeypatch):
    vectors = unit_vectors(3000)
    vectors[1700] = 0
    insert_vectors(database, record, vectors)
    execute("ANALYZE knowledge_base")
    monkeypatch.setattr(vector_statistics, "_SAMPLE_ROWS", 500)
    statistics = measure_vectors(database, record, thorough=True)
    assert (statistics.vectors, statistics.sampled, statistics.zero) == (3000, 3000, 1)

    def slow(connection, *arguments):
        connection.execute("SELECT pg_sleep(CASE WHEN %s THEN 5 ELSE 0 END)", [arguments[1] is None])
        return norms(connection, *arguments)

    norms = vector_statistics._norms
    monkeypatch.setattr(vector_statistics, "_norms", slow)
    monkeypatch.setattr(vector_statistics, "_WHOLE_COLUMN_SECONDS", 0.1)
    statistics = measure_vectors(database, record, thorough=True)
    assert statistics.vectors == 3000
    assert 0 < statistics.sampled < 2000


# What waits longest


def age(execute, text: str, hours: float) -> None:
    execute(
        "UPDATE knowledge_base SET pending_since = now() - %s * interval '1 hour' WHERE chunk_hash = %s",
        hours,
        hash_of(text),
    )


def hours_of(oldest: datetime) -> float:
    return round((datetime.now(UTC) - oldest) / timedelta(hours=1), 1)


def test_the_longest_waiting_chunk(database, record, execute, settings):
    execute("UPDATE embedding_spaces SET created_at = now() - interval '1 year'")
    assert oldest_pending(database, record) is None
    insert_vectors(database, record, unit_vectors(3))
    age(execute, "chunk 0", 100)
    assert oldest_pending(database, record) is None  # it has its vector
    insert_chunks(database, ["new", "old", "oldest", "bad"])
    age(execute, "old", 30)
    age(execute, "oldest", 40)
    age(execute, "bad", 50)
    quarantine(database, record, settings, hash_of("bad"))
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text, pending_since) VALUES ('XYZ', 'x', '2020-01-01')")
    assert hours_of(oldest_pending(database, record)) == 40
    # It failed and waits to be tried again, which takes longer the longer it fails.
    record_failures(database, record.space.name, {hash_of("oldest"): "encoding_failed"}, settings.embedding)
    assert hours_of(oldest_pending(database, record)) == 40
    execute("UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_hash = %s", hash_of("oldest"))
    assert hours_of(oldest_pending(database, record)) == 30
    execute("DELETE FROM knowledge_base WHERE chunk_hash = %s", hash_of("old"))
    assert hours_of(oldest_pending(database, record)) == 0


def test_an_edit_counts_from_when_it_was_made(database, record, execute):
    insert_vectors(database, record, unit_vectors(2))
    for number in range(2):
        age(execute, f"chunk {number}", 100)
    execute("UPDATE knowledge_base SET token_count = 3")
    execute("UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_hash = %s", hash_of("chunk 1"))
    rows = execute("SELECT pending_since < now() - interval '99 hours', embedding IS NULL FROM knowledge_base "
                   "ORDER BY chunk_hash = %s", hash_of("chunk 1"))  # fmt: skip
    assert rows == [(True, False), (False, True)]


@pytest.mark.parametrize("further", [False, True], ids=["first", "further"])
def test_a_vector_that_is_taken_away_counts_from_then(database, record, execute, further):
    if further:
        record = register_space(database, OTHER_SPACE, new_space=True)
    execute("UPDATE embedding_spaces SET created_at = now() - interval '1 year'")
    insert_vectors(database, record, unit_vectors(3))
    execute("UPDATE knowledge_base SET pending_since = now() - interval '40 days'")
    execute(f"UPDATE knowledge_base SET {record.column} = NULL WHERE chunk_hash = %s", hash_of("chunk 0"))
    assert hours_of(oldest_pending(database, record)) == 0
    execute(f"UPDATE knowledge_base SET {record.column} = NULL")
    assert hours_of(oldest_pending(database, record)) == 0
    age(execute, "chunk 1", 30)
    execute(f"UPDATE knowledge_base SET {record.column} = NULL")  # it has none, and waits on
    assert hours_of(oldest_pending(database, record)) == 30


def test_writing_a_vector_calls_nothing_and_leaves_since_when_it_waited(database, record, execute):
    insert_vectors(database, record, unit_vectors(2))
    second = register_space(database, OTHER_SPACE, new_space=True)
    age(execute, "chunk 0", 100)
    with database.connect() as connection:
        connection.execute("SET track_functions = 'all'")
        connection.execute(f"UPDATE knowledge_base SET {second.column} = embedding")
        connection.execute("UPDATE knowledge_base SET embedding = embedding")
        assert connection.execute(
            "SELECT count(pg_stat_get_xact_function_calls(oid)) FROM pg_proc WHERE proname ^@ 'knowledge_base_'"
        ).fetchone() == (0,)
    aged = "SELECT pending_since < now() - interval '99 hours' FROM knowledge_base WHERE chunk_hash = %s"
    assert execute(aged, hash_of("chunk 0")) == [(True,)]


def test_a_chunk_does_not_wait_for_a_space_that_is_not_there(database, record, execute):
    insert_vectors(database, record, unit_vectors(2))
    age(execute, "chunk 0", 100)
    second = register_space(database, OTHER_SPACE, new_space=True)
    assert hours_of(oldest_pending(database, second)) == 0
    execute("UPDATE embedding_spaces SET created_at = now() - interval '20 hours' WHERE name = %s", second.space.name)
    assert hours_of(oldest_pending(database, second)) == 20


def test_the_backlog_is_read_through_its_index_unless_there_is_none(database, record, execute, monkeypatch):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_chunks(database, [f"chunk {number}" for number in range(500)])
    execute("ANALYZE knowledge_base")  # by these statistics nearly all chunks are pending
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_hash <> %s", hash_of("chunk 1"))
    with database.connect() as connection:
        monkeypatch.setattr(database, "run", lambda work: work(connection))
        assert oldest_pending(database, record) is not None
        scans = connection.execute(
            "SELECT pg_stat_get_xact_numscans('knowledge_base'::regclass), "
            "pg_stat_get_xact_numscans('idx_knowledge_embedding_pending'::regclass)"
        ).fetchone()
        monkeypatch.undo()
    assert scans == (0, 1)
    with database.session() as connection:
        drop_index(connection, record.pending_index)
    assert oldest_pending(database, record) is not None


# Tables that were there before


def test_an_older_table_counts_from_its_migration(empty_url, monkeypatch):
    with Database(empty_url, CONFIG) as database:
        monkeypatch.setattr(schema, "HEAD", "0002")
        migrate(database)
        monkeypatch.setattr(spaces, "_watch_removals", lambda *_: None)  # as that version did
        record = register_space(database, SMALL_SPACE)
        further = register_space(database, OTHER_SPACE, new_space=True)
        insert_chunks(database, ["one", "two"])
        [(written,)] = run_sql(empty_url, "SELECT pg_relation_filenode('knowledge_base')")
        monkeypatch.undo()
        assert migrate(database)
        assert run_sql(empty_url, "SELECT pg_relation_filenode('knowledge_base')") == [(written,)]  # not written anew
        assert hours_of(oldest_pending(database, record)) == 0
        run_sql(empty_url, "UPDATE knowledge_base SET pending_since = '2020-01-01'",
                "UPDATE embedding_spaces SET created_at = '2020-01-02'")  # fmt: skip
        assert oldest_pending(database, record) == datetime(2020, 1, 2, tzinfo=UTC)
        run_sql(empty_url, "UPDATE knowledge_base SET context_header = 'edited'")
        assert hours_of(oldest_pending(database, record)) == 0
        for space in (record, further):
            run_sql(
                empty_url,
                f"UPDATE knowledge_base SET {space.column} = '[1,0,0,0,0,0,0,0]', pending_since = '2020-01-01'",
                f"UPDATE knowledge_base SET {space.column} = NULL",
            )
            assert hours_of(oldest_pending(database, space)) == 0


def test_a_column_that_means_something_else_is_refused(empty_url):
    run_sql(empty_url, "CREATE TABLE knowledge_base (chunk_hash text, chunk_text text, pending_since date)")
    with (
        Database(empty_url, CONFIG) as database,
        pytest.raises(ConfigurationError, match="column pending_since is date"),
    ):
        migrate(database)
    assert run_sql(empty_url, "SELECT to_regclass('embedding_spaces')") == [(None,)]
