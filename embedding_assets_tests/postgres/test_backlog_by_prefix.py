from embedding_assets.postgres.failures import FailedChunk, save_failures
from embedding_assets.postgres.prefixes import PrefixCounts, count_by_prefix
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors


def test_an_empty_table(database, column):
    assert count_by_prefix(database, column, 1) == ()


def test_vectors_and_pending_chunks_by_prefix(database, column, execute, settings):
    for hash_, embedded in {"a001": True, "a002": True, "a101": False, "b001": False, "b002": False,
                            "c001": True, "XYZ": True, "xyz": False}.items():  # fmt: skip
        execute(
            "INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) VALUES (%s, 'text', %s)",
            hash_,
            "[1,0,0,0,0,0,0,0]" if embedded else None,
        )
    config = settings.embedding.model_copy(update={"max_attempts": 1})
    save_failures(database, column.space.name, [FailedChunk("b002", "encoding_failed")], config)

    assert count_by_prefix(database, column, 1) == (
        PrefixCounts("a", 2, 1), PrefixCounts("b", 0, 1, quarantined=1), PrefixCounts("c", 1, 0),
    )  # fmt: skip
    assert count_by_prefix(database, column, 2)[:2] == (PrefixCounts("a0", 2, 0), PrefixCounts("a1", 0, 1))


def test_every_vector_is_counted_once(database, column):
    insert_vectors(database, column, unit_vectors(3000))
    assert sum(rows.embedded for rows in count_by_prefix(database, column, 2)) == 3000
