"""Vectors reach their column exactly, only for the text they were made from."""

import threading

import numpy as np
import pytest

from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.backlog import fetch_pending
from embedding_assets.postgres.failures import FailedChunk, list_failures, save_failures
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.tables import (
    pending_chunks,
    stored_vectors,
    table_counters,
    unit_vectors,
)

# Writing


def test_vectors_are_stored_bit_for_bit(database):
    column = register_space(database, FAKE_SPACE)
    hashes = insert_chunks(database, ["one", "two", "three"])
    vectors = unit_vectors(3, 768)
    vectors[0, :4] = np.float32([1e-38, -0.0, np.nextafter(np.float32(0.1), np.float32(1)), 1 / 3])
    chunks = pending_chunks(database, column)
    assert write_vectors(database, column, chunks, vectors).written == set(hashes)
    found = stored_vectors(database, column)
    for chunk, vector in zip(chunks, vectors, strict=True):
        assert found[chunk.chunk_hash].dtype == np.float32
        assert found[chunk.chunk_hash].tobytes() == vector.tobytes()
    assert pending_chunks(database, column) == []


def test_only_rows_as_they_were_embedded_are_written(database, column, execute):
    hashes = insert_chunks(database, ["stays", "edited", "deleted", "embedded meanwhile"])
    chunks = pending_chunks(database, column)
    execute("UPDATE knowledge_base SET chunk_text = 'new' WHERE chunk_text = 'edited'")
    execute("DELETE FROM knowledge_base WHERE chunk_text = 'deleted'")
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_text = 'embedded meanwhile'")
    assert write_vectors(database, column, chunks, unit_vectors(4)).written == {hashes[0]}
    assert set(stored_vectors(database, column)) == {hashes[0], hashes[3]}
    assert stored_vectors(database, column)[hashes[3]].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert [chunk.text for chunk in pending_chunks(database, column)] == ["new"]
    # Nothing is left in the session's table from one write to the next.
    assert write_vectors(database, column, pending_chunks(database, column), unit_vectors(1)).written == {hashes[1]}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE knowledge_base SET chunk_text = 'edited'",
        "UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]'",
        "DELETE FROM knowledge_base",
    ],
)
def test_a_change_that_commits_while_the_write_waits_is_not_overwritten(database, column, execute, change):
    insert_chunks(database, ["text"])
    chunks = pending_chunks(database, column)
    written = []
    with database.connect() as other:
        other.execute(change)
        writer = threading.Thread(
            target=lambda: written.append(write_vectors(database, column, chunks, unit_vectors(1)).written)
        )
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        other.commit()
    writer.join(10)
    assert written == [set()]
    assert execute("SELECT count(*) FROM knowledge_base WHERE embedding <> '[1,0,0,0,0,0,0,0]'") == [(0,)]


def test_a_portion_does_not_read_the_whole_table(database, column, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) SELECT md5(n::text), 'text' "
            "FROM generate_series(1, 3000) n")  # fmt: skip
    before = table_counters(database, execute, updates=0)
    chunks = fetch_pending(database, column, range(256), after="", limit=1000)
    write_vectors(database, column, chunks, unit_vectors(1000))
    assert table_counters(database, execute, updates=1000)["seq_scan"] == before["seq_scan"]


def test_a_written_chunk_s_failures_in_that_space_are_forgotten(database, column, settings):
    second = register_space(database, FAKE_SPACE, new_space=True)
    hashes = insert_chunks(database, ["one", "two"])
    chunks = pending_chunks(database, column)
    for each in (column, second):
        save_failures(database, each.space.name, [FailedChunk(h, "x") for h in hashes], settings.embedding)
    write_vectors(database, column, chunks[:1], unit_vectors(1))
    assert {(failure.chunk_hash, failure.space) for failure in list_failures(database)} == {
        (chunks[1].chunk_hash, column.space.name),
        *((chunk_hash, second.space.name) for chunk_hash in hashes),
    }


def test_the_table_itself_refuses_what_is_no_vector_of_its_space(database, column):
    insert_chunks(database, ["text"])
    chunks = pending_chunks(database, column)
    for vectors, message in (
        (unit_vectors(1, 9), "expected 8 dimensions"),
        (np.full((1, 8), np.nan, dtype=np.float32), "NaN"),
        (np.full((1, 8), np.inf, dtype=np.float32), "infinite"),
    ):
        with pytest.raises(DatabaseError, match=message):
            write_vectors(database, column, chunks, vectors)
    with pytest.raises(ValueError, match="zip"):
        write_vectors(database, column, chunks, unit_vectors(2))
    assert stored_vectors(database, column) == {}
