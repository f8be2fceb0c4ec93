"""Chunks of the same text share a vector, which an index finds."""

import numpy as np

from embedding_assets.models import DocumentMetadata, ProcessedChunk
from embedding_assets.postgres.backlog import fetch_pending
from embedding_assets.postgres.chunks import store_documents
from embedding_assets.postgres.same_text import TEXT_INDEX, ensure_text_index, known_vectors
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.tables import OTHER_SMALL_SPACE, chunks_of

ONE = "[1,0,0,0,0,0,0,0]"


def chunk(origin: str, text: str, header: str = "") -> ProcessedChunk:
    return ProcessedChunk.create_from_chunk(text, DocumentMetadata(source=origin), context_header=header)


def test_a_new_chunk_gets_the_vectors_of_the_same_text_in_every_space(database, column, execute):
    other = register_space(database, OTHER_SMALL_SPACE, new_space=True)
    store_documents(database, [chunk("a", "text", "H"), chunk("b", "other text")], [])
    execute(f"UPDATE knowledge_base SET embedding = '{ONE}' WHERE chunk_text = 'text'")
    execute(f"UPDATE knowledge_base SET {other.name} = '{ONE}'")

    stored = store_documents(
        database,
        [
            chunk("c", "text", "H"),
            chunk("d", "H\ntext"),  # is read by the model as the one above
            chunk("e", "text"),
            chunk("f", "other text"),
            chunk("a", "text", "H"),
        ],
        [],
    )
    assert (stored.added, stored.reused) == (4, 3)
    rows = f"SELECT document_metadata ->> 'origin', embedding IS NOT NULL, {other.name} IS NOT NULL FROM knowledge_base"
    assert sorted(execute(rows)) == [
        ("a", True, True), ("b", False, True), ("c", True, True), ("d", True, True), ("e", False, False),
        ("f", False, True),
    ]  # fmt: skip


def test_a_digest_alone_is_not_enough(database, column, execute, monkeypatch):
    store_documents(database, [chunk("a", "text")], [])
    execute(f"UPDATE knowledge_base SET embedding = '{ONE}'")
    # As if another text had the same digest.
    execute("ALTER TABLE knowledge_base DISABLE TRIGGER ALL")
    monkeypatch.setattr(
        "embedding_assets.postgres.chunks._same_texts",
        lambda *_: {"embedding": [(chunk("b", "another").chunk_hash, chunk("a", "text").chunk_hash)]},
    )
    assert store_documents(database, [chunk("b", "another")], []).reused == 0


def test_pending_chunks_find_the_vector_of_their_text(database, column, execute):
    store_documents(database, [chunk("a", "text"), chunk("b", "text"), chunk("c", "other")], [])
    execute(f"UPDATE knowledge_base SET embedding = '{ONE}' WHERE document_metadata ->> 'origin' = 'a'")
    pending = fetch_pending(database, column, range(256), after="", limit=9)
    found, vectors = known_vectors(database, column, pending)
    assert [one.text for one in found] == ["text"]
    np.testing.assert_array_equal(vectors, [[1, 0, 0, 0, 0, 0, 0, 0]])


def test_without_the_index_nothing_is_looked_for(database, column, execute):
    execute(f"DROP INDEX {TEXT_INDEX}")
    store_documents(database, [chunk("a", "text")], [])
    execute(f"UPDATE knowledge_base SET embedding = '{ONE}'")
    assert store_documents(database, [chunk("b", "text")], []).reused == 0
    pending = fetch_pending(database, column, range(256), after="", limit=9)
    assert known_vectors(database, column, pending)[0] == []
    ensure_text_index(database)
    assert len(known_vectors(database, column, pending)[0]) == 1
    assert store_documents(database, [chunk("c", "text")], []).reused == 1


def test_the_index_is_used_without_statistics(database, column, execute):
    chunks, _ = chunks_of("a", [f"text {number}" for number in range(3000)])
    store_documents(database, chunks, [])
    execute(f"UPDATE knowledge_base SET embedding = '{ONE}'")
    execute("SELECT pg_stat_reset()")
    execute("SELECT pg_stat_force_next_flush()")
    more, _ = chunks_of("b", [f"text {number}" for number in range(500)])
    assert store_documents(database, more, []).reused == 500
    definition = execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", TEXT_INDEX)[0][0]
    plan = execute(
        "EXPLAIN SELECT 1 FROM knowledge_base k WHERE "
        + database.table.fingerprint().as_string().replace("%%", "%")
        + " = 'x'"
    )
    assert TEXT_INDEX in str(plan), definition
