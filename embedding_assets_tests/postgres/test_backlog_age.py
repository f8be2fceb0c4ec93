"""Since when the longest waiting chunk has been pending."""

from datetime import UTC, datetime, timedelta

import pytest

from embedding_assets.config import DatabaseConfig
from embedding_assets.postgres.backlog import oldest_pending
from embedding_assets.postgres.catalog import drop_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import FailedChunk, save_failures
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.earlier import make_schema, register
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.tables import (
    OTHER_SMALL_SPACE,
    SMALL_SPACE,
    insert_vectors,
    run_sql,
    unit_vectors,
)


def age(execute, text: str, hours: float) -> None:
    execute(
        "UPDATE knowledge_base SET pending_since = now() - %s * interval '1 hour' WHERE chunk_hash = %s",
        hours,
        hash_of(text),
    )


def hours_of(oldest: datetime) -> float:
    return round((datetime.now(UTC) - oldest) / timedelta(hours=1), 1)


def test_the_longest_waiting_chunk(database, column, execute, settings):
    execute("UPDATE embedding_spaces SET created_at = now() - interval '1 year'")
    assert oldest_pending(database, column) is None
    insert_vectors(database, column, unit_vectors(3))
    age(execute, "chunk 0", 100)
    assert oldest_pending(database, column) is None  # it has its vector
    insert_chunks(database, ["new", "old", "oldest", "bad"])
    age(execute, "old", 30)
    age(execute, "oldest", 40)
    age(execute, "bad", 50)
    quarantine(database, column, settings, hash_of("bad"))
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text, pending_since) VALUES ('XYZ', 'x', '2020-01-01')")
    assert hours_of(oldest_pending(database, column)) == 40
    # It failed and waits to be tried again, which takes longer the longer it fails.
    save_failures(database, column.space.name, [FailedChunk(hash_of("oldest"), "encoding_failed")], settings.embedding)
    assert hours_of(oldest_pending(database, column)) == 40
    execute("UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_hash = %s", hash_of("oldest"))
    assert hours_of(oldest_pending(database, column)) == 30
    execute("DELETE FROM knowledge_base WHERE chunk_hash = %s", hash_of("old"))
    assert hours_of(oldest_pending(database, column)) == 0


def test_an_edit_counts_from_when_it_was_made(database, column, execute):
    insert_vectors(database, column, unit_vectors(2))
    for number in range(2):
        age(execute, f"chunk {number}", 100)
    execute("UPDATE knowledge_base SET token_count = 3")
    execute("UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_hash = %s", hash_of("chunk 1"))
    rows = execute("SELECT pending_since < now() - interval '99 hours', embedding IS NULL FROM knowledge_base "
                   "ORDER BY chunk_hash = %s", hash_of("chunk 1"))  # fmt: skip
    assert rows == [(True, False), (False, True)]


@pytest.mark.parametrize("further", [False, True], ids=["first", "further"])
def test_a_vector_that_is_taken_away_counts_from_then(database, column, execute, further):
    if further:
        column = register_space(database, OTHER_SMALL_SPACE, new_space=True)
    execute("UPDATE embedding_spaces SET created_at = now() - interval '1 year'")
    insert_vectors(database, column, unit_vectors(3))
    execute("UPDATE knowledge_base SET pending_since = now() - interval '40 days'")
    execute(f"UPDATE knowledge_base SET {column.name} = NULL WHERE chunk_hash = %s", hash_of("chunk 0"))
    assert hours_of(oldest_pending(database, column)) == 0
    execute(f"UPDATE knowledge_base SET {column.name} = NULL")
    assert hours_of(oldest_pending(database, column)) == 0
    age(execute, "chunk 1", 30)
    execute(f"UPDATE knowledge_base SET {column.name} = NULL")  # it has none, and waits on
    assert hours_of(oldest_pending(database, column)) == 30


def test_writing_a_vector_calls_nothing_and_leaves_since_when_it_waited(database, column, execute):
    insert_vectors(database, column, unit_vectors(2))
    second = register_space(database, OTHER_SMALL_SPACE, new_space=True)
    age(execute, "chunk 0", 100)
    with database.connect() as connection:
        connection.execute("SET track_functions = 'all'")
        connection.execute(f"UPDATE knowledge_base SET {second.name} = embedding")
        connection.execute("UPDATE knowledge_base SET embedding = embedding")
        assert connection.execute(
            "SELECT count(pg_stat_get_xact_function_calls(oid)) FROM pg_proc WHERE proname ^@ 'knowledge_base_'"
        ).fetchone() == (0,)
    aged = "SELECT pending_since < now() - interval '99 hours' FROM knowledge_base WHERE chunk_hash = %s"
    assert execute(aged, hash_of("chunk 0")) == [(True,)]


def test_a_chunk_does_not_wait_for_a_space_that_is_not_there(database, column, execute):
    insert_vectors(database, column, unit_vectors(2))
    age(execute, "chunk 0", 100)
    second = register_space(database, OTHER_SMALL_SPACE, new_space=True)
    assert hours_of(oldest_pending(database, second)) == 0
    execute("UPDATE embedding_spaces SET created_at = now() - interval '20 hours' WHERE name = %s", second.space.name)
    assert hours_of(oldest_pending(database, second)) == 20


def test_the_backlog_is_read_through_its_index_unless_there_is_none(database, column, execute, monkeypatch):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_chunks(database, [f"chunk {number}" for number in range(500)])
    execute("ANALYZE knowledge_base")  # by these statistics nearly all chunks are pending
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_hash <> %s", hash_of("chunk 1"))
    with database.connect() as connection:
        monkeypatch.setattr(database, "run", lambda work: work(connection))
        assert oldest_pending(database, column) is not None
        scans = connection.execute(
            "SELECT pg_stat_get_xact_numscans('knowledge_base'::regclass), "
            "pg_stat_get_xact_numscans('idx_knowledge_embedding_pending'::regclass)"
        ).fetchone()
        monkeypatch.undo()
    assert scans == (0, 1)
    with database.session() as connection:
        drop_index(connection, database.table, column.pending_index)
    assert oldest_pending(database, column) is not None


def test_an_older_table_counts_from_its_migration(empty_url, monkeypatch):
    make_schema(empty_url, "0002", monkeypatch)
    column = register(empty_url, SMALL_SPACE)
    further = register(empty_url, OTHER_SMALL_SPACE, "embedding_other")
    with Database(empty_url, DatabaseConfig(retry_seconds=5)) as database:
        insert_chunks(database, ["one", "two"])
        [(written,)] = run_sql(empty_url, "SELECT pg_relation_filenode('knowledge_base')")
        assert migrate(database)
        assert run_sql(empty_url, "SELECT pg_relation_filenode('knowledge_base')") == [(written,)]  # not rewritten
        assert hours_of(oldest_pending(database, column)) == 0
        run_sql(empty_url, "UPDATE knowledge_base SET pending_since = '2020-01-01'",
                "UPDATE embedding_spaces SET created_at = '2020-01-02'")  # fmt: skip
        assert oldest_pending(database, column) == datetime(2020, 1, 2, tzinfo=UTC)
        run_sql(empty_url, "UPDATE knowledge_base SET context_header = 'edited'")
        assert hours_of(oldest_pending(database, column)) == 0
        for space in (column, further):
            run_sql(
                empty_url,
                f"UPDATE knowledge_base SET {space.name} = '[1,0,0,0,0,0,0,0]', pending_since = '2020-01-01'",
                f"UPDATE knowledge_base SET {space.name} = NULL",
            )
            assert hours_of(oldest_pending(database, space)) == 0


def quarantine(database, column, settings, *hashes: str) -> None:
    config = settings.embedding.model_copy(update={"max_attempts": 1})
    save_failures(database, column.space.name, [FailedChunk(h, "encoding_failed") for h in hashes], config)
