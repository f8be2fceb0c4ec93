"""Samples of stored vectors: at random, everything of a small column, little of a large table."""

import numpy as np
import pytest

from embedding_assets.postgres.samples import _sample, has_vectors, read_vectors, sample_vectors
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.generator_runs import embed, texts


@pytest.fixture
def column(settings, database):
    """A space with a hundred vectors."""
    insert_chunks(database, texts(100))
    embed(settings, database)
    return register_space(database, FAKE_SPACE)


def execute(database, statement):
    return database.run(lambda connection: connection.execute(statement))


def test_a_row_is_the_text_and_its_vector(database, column):
    execute(database, "UPDATE knowledge_base SET context_header = 'Head' WHERE chunk_text = 'text 7'")
    execute(database, "UPDATE knowledge_base SET embedding = NULL WHERE chunk_text = 'text 8'")
    found = {row.chunk_hash: row for row in sample_vectors(database, column, 200)}
    assert set(found) == set(map(hash_of, texts(100))) - {hash_of("text 7"), hash_of("text 8")}
    row = found[hash_of("text 9")]
    assert (row.text, row.key) == ("text 9", (row.chunk_hash,))
    np.testing.assert_array_equal(row.vector, vector_of("text 9"))
    assert row.vector.dtype == np.float32
    assert "text 9" not in repr(row)

    execute(database, f"UPDATE knowledge_base SET embedding = '{vector_of('x').tolist()}' WHERE chunk_text = 'text 7'")
    [edited] = read_vectors(database, column, [(hash_of("text 7"),), (hash_of("text 8"),), ("ff",)])
    assert (edited.text, edited.key) == ("Head\ntext 7", (hash_of("text 7"),))
    np.testing.assert_array_equal(edited.vector, vector_of("x"))


def test_chance_decides(database, column):
    samples = [frozenset(row.chunk_hash for row in sample_vectors(database, column, 10)) for _ in range(5)]
    assert {len(sample) for sample in samples} == {10}
    # Ten of a hundred, five times alike: once in 10**52.
    assert len(set(samples)) > 1


def test_a_nearly_empty_column_of_a_large_table(settings, database, column):
    execute(
        database,
        "INSERT INTO knowledge_base (chunk_hash, chunk_text) "
        "SELECT encode(sha256(n::text::bytea), 'hex'), repeat('word ', 100) FROM generate_series(1, 20000) n",
    )
    execute(database, "ANALYZE knowledge_base")
    assert len(sample_vectors(database, column, 64)) == 64
    assert len(sample_vectors(database, column, 200)) == 100


def test_a_large_table_is_read_in_part(settings, database, column):
    execute(
        database,
        "INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) "
        "SELECT encode(sha256(n::text::bytea), 'hex'), repeat('word ', 100), "
        "(SELECT embedding FROM knowledge_base LIMIT 1) FROM generate_series(1, 20000) n",
    )
    execute(database, "ANALYZE knowledge_base")

    def sample(connection):
        found = _sample(connection, database.table, column, 64)
        query = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'knowledge_base'"
        return len(found), connection.execute(query).fetchone()[0]

    rows, read = database.run(sample)
    # 20 candidates a row, by pages.
    assert rows == 64
    assert 64 < read < 4000


def test_whether_there_is_any_vector(database, column):
    assert has_vectors(database, column)
    execute(database, f"UPDATE knowledge_base SET {column.name} = NULL")
    assert not has_vectors(database, column)
