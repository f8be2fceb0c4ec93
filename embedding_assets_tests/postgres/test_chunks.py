"""Documents go into the table once; a change replaces the chunks that changed and keeps the others."""

import threading

import pytest

from embedding_assets.postgres import chunks as module
from embedding_assets.postgres.chunks import LoadedDocument, count_chunks, is_unchanged, store_chunks
from embedding_assets_tests.support.tables import chunks_of


def texts_in_table(execute) -> list[str]:
    return [row[0] for row in execute("SELECT chunk_text FROM knowledge_base ORDER BY chunk_index, chunk_text")]


def test_loading_again_adds_nothing_and_a_change_keeps_what_stayed(database, column, execute):
    chunks, document = chunks_of("a.md", ["one", "two", "two", "three"])
    assert not is_unchanged(database, document.origin, document.digest)
    assert store_chunks(database, chunks, [document]) == (4, 0)
    assert is_unchanged(database, document.origin, document.digest)
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]'")
    other, other_document = chunks_of("b.md", ["one"])
    store_chunks(database, other, [other_document])
    versions = "SELECT xmin::text FROM knowledge_base ORDER BY chunk_hash"
    before = execute(versions)
    assert store_chunks(database, chunks, [document]) == (0, 0)
    assert execute(versions) == before

    changed, changed_document = chunks_of("a.md", ["zero", "three", "one"])
    assert store_chunks(database, changed, [changed_document]) == (1, 2)
    assert execute(
        "SELECT chunk_text, chunk_index, total_chunks, embedding IS NOT NULL FROM knowledge_base "
        "WHERE document_metadata ->> 'origin' = 'a.md' ORDER BY chunk_index"
    ) == [("zero", 0, 3, False), ("three", 1, 3, True), ("one", 2, 3, True)]
    assert not is_unchanged(database, document.origin, document.digest)
    assert is_unchanged(database, "a.md", changed_document.digest)

    renamed, renamed_document = chunks_of("a.md", ["zero", "three", "one"], title="Now it has a title")
    assert store_chunks(database, renamed, [renamed_document]) == (0, 0)
    assert execute("SELECT count(*) FROM knowledge_base WHERE embedding IS NOT NULL") == [(2,)]

    assert store_chunks(database, [], [LoadedDocument("a.md", "empty", frozenset())]) == (0, 3)
    assert is_unchanged(database, "a.md", "empty")
    execute("DELETE FROM knowledge_base")
    assert not is_unchanged(database, "b.md", other_document.digest)


def test_rows_of_one_file_share_its_origin(database, column, execute):
    first, one = chunks_of("data.csv", ["red", "green"], source="data.csv row 1")
    second, two = chunks_of("data.csv", ["red"], source="data.csv row 2")
    document = LoadedDocument("data.csv", "v1", one.hashes | two.hashes)
    # In two transactions, as a large file is loaded.
    assert store_chunks(database, first, []) == (2, 0)
    assert not is_unchanged(database, "data.csv", "v1")
    assert store_chunks(database, second, [document]) == (1, 0)
    assert is_unchanged(database, "data.csv", "v1")
    assert store_chunks(database, first, [LoadedDocument("data.csv", "v2", one.hashes)]) == (0, 1)
    assert texts_in_table(execute) == ["red", "green"]


def test_a_chunk_twice_in_one_batch_is_one_row(database, column, execute):
    chunks, document = chunks_of("a.md", ["one", "two"])
    assert store_chunks(database, [*chunks, *chunks], [document]) == (2, 0)
    assert texts_in_table(execute) == ["one", "two"]


def test_all_of_a_load_or_nothing(database, column, execute, monkeypatch):
    chunks, document = chunks_of("a.md", ["one"])
    execute("ALTER TABLE loaded_documents ADD CHECK (origin <> 'b.md')")
    more, forbidden = chunks_of("b.md", ["two"])
    with pytest.raises(Exception, match="violates check constraint") as caught:
        store_chunks(database, [*chunks, *more], [document, forbidden])
    assert "two" not in str(caught.value)
    assert texts_in_table(execute) == []


def test_an_edited_chunk_that_is_loaded_again_gets_its_text_back(database, column, execute):
    chunks, document = chunks_of("a.md", ["one"])
    store_chunks(database, chunks, [document])
    execute("UPDATE knowledge_base SET chunk_text = 'vandalized', embedding = NULL")
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]'")
    store_chunks(database, chunks, [document])
    assert execute("SELECT chunk_text, embedding, text_version FROM knowledge_base") == [("one", None, 2)]


def test_versions_of_a_document_loaded_at_once_do_not_mix(database, column, execute):
    old, old_document = chunks_of("a.md", ["old 1", "old 2"])
    new, new_document = chunks_of("a.md", ["new"])
    with database.connect() as first:
        module._store(first, old, [old_document])
        second = threading.Thread(target=store_chunks, args=(database, new, [new_document]))
        second.start()
        second.join(0.3)
        assert second.is_alive()
        first.commit()
    second.join(180)
    assert texts_in_table(execute) == ["new"]
    assert is_unchanged(database, "a.md", new_document.digest)


def test_the_same_document_loaded_by_many_threads(database, column, execute):
    texts = [f"text {number}" for number in range(200)]
    chunks, document = chunks_of("a.md", texts)
    moved, moved_document = chunks_of("a.md", texts[::-1])
    threads = [
        threading.Thread(target=store_chunks, args=(database, c, [d]))
        for c, d in ((chunks, document), (moved, moved_document)) * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert sorted(texts_in_table(execute)) == sorted(texts)
    assert count_chunks(database) == 200
