"""Chunks are found by their vectors, nearest first, in the column of the question's space."""

import dataclasses

import numpy as np
import pytest
from pgvector import Vector

from embedding_assets.config import IndexConfig
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.conditions import conditions_of
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.search import count_missing, holds_vectors
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.searching import nearest_chunks
from embedding_assets_tests.support.tables import (
    PlanRecorder,
    insert_vectors,
    pending_chunks,
    stored_vectors,
    unit_vectors,
)

CONFIG = IndexConfig()


def search(database, column, vector, *, k=3, config=CONFIG, **where) -> list[str]:
    rows = nearest_chunks(database, column, vector, k=k, where=conditions_of(where), index=config)
    distances = [row[-1] for row in rows]
    assert distances == sorted(distances)
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("similarity", "distance"),
    [
        ("cosine", lambda a, b: 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
        ("dot", lambda a, b: -a @ b),
        ("euclidean", lambda a, b: np.linalg.norm(a - b)),
        ("manhattan", lambda a, b: np.abs(a - b).sum()),
    ],
)
@pytest.mark.parametrize("indexed", [False, True])
def test_the_nearest_come_first_by_every_distance(database, column, similarity, distance, indexed):
    column = dataclasses.replace(column, similarity=similarity)
    vectors = unit_vectors(40) * np.linspace(0.5, 2, 40, dtype=np.float32)[:, None]
    hashes = insert_vectors(database, column, vectors)
    if indexed:
        build_vector_index(database, column, CONFIG)
    query = unit_vectors(1, seed=3)[0]
    order = sorted(range(40), key=lambda row: distance(query, vectors[row]))
    rows = nearest_chunks(database, column, query, k=5, where=(), index=CONFIG)
    assert [row[0] for row in rows] == [hashes[row] for row in order[:5]]
    assert [row[-1] for row in rows] == pytest.approx([distance(query, vectors[row]) for row in order[:5]], abs=1e-5)
    assert search(database, column, query, k=2000) == [hashes[row] for row in order]


HOSTILE = {
    "it's": "O'Reilly",
    'a "quoted" key': 'say "hi"',
    "%(vector)s": "100 % {column}",
    "'; DROP TABLE knowledge_base; --": "'); DELETE FROM knowledge_base; --",
    "ключ": "знач \U0001f600",
    "back\\slash": "\\",
    "0": "zero",
    "": "empty key",
    "key0": "value0",
}


def test_filters_are_values_and_nothing_else(database, column, execute):
    vectors = unit_vectors(len(HOSTILE) + 1)
    hashes = insert_vectors(database, column, vectors)
    for chunk_hash, (key, value) in zip(hashes, HOSTILE.items(), strict=False):
        execute(
            "UPDATE knowledge_base SET document_metadata = jsonb_build_object(%s::text, %s::text, 'all', 'yes') "
            "WHERE chunk_hash = %s",
            key, value, chunk_hash,
        )  # fmt: skip
    for chunk_hash, (key, value) in zip(hashes, HOSTILE.items(), strict=False):
        for where, wanted in (
            ({key: value}, [chunk_hash]),
            ({key: value, "all": "yes"}, [chunk_hash]),
            ({key: value + " "}, []),
        ):
            rows = nearest_chunks(database, column, vectors[0], k=9, where=conditions_of(where), index=CONFIG)
            assert [row[0] for row in rows] == wanted
    with pytest.raises(ConfigurationError, match="NUL"):
        search(database, column, vectors[0], source="\x00")
    assert len(stored_vectors(database, column)) == len(vectors)


def test_a_rare_value_is_found_however_early_the_index_gives_up(database, column, execute):
    vectors = unit_vectors(600)
    hashes = insert_vectors(database, column, vectors)
    execute("UPDATE knowledge_base SET document_metadata = '{\"source\": \"rare\"}' WHERE chunk_hash = ANY(%s)",
            hashes[-2:])  # fmt: skip
    build_vector_index(database, column, CONFIG)
    [(name,)] = execute("SELECT current_database()")
    for setting in ("hnsw.max_scan_tuples = 1", "enable_seqscan = off", "enable_bitmapscan = off"):
        execute(f'ALTER DATABASE "{name}" SET {setting}')
    database.close()
    for _ in range(12):
        assert sorted(search(database, column, vectors[0], source="rare")) == sorted(hashes[-2:])
    assert search(database, column, vectors[0], source="none") == []


def test_each_space_is_searched_in_its_own_column(database, column, execute):
    second: SpaceColumn = register_space(database, FAKE_SPACE, new_space=True)
    [first_hash] = insert_vectors(database, column, unit_vectors(1))
    [second_hash] = insert_chunks(database, ["other"])
    chunks = [chunk for chunk in pending_chunks(database, second) if chunk.chunk_hash == second_hash]
    write_vectors(database, second, chunks, unit_vectors(1, 768))
    assert search(database, column, unit_vectors(1)[0]) == [first_hash]
    assert search(database, second, unit_vectors(1, 768)[0]) == [second_hash]
    assert execute("SELECT embedding FROM knowledge_base WHERE chunk_hash = %s", second_hash) == [(None,)]
    assert isinstance(execute("SELECT embedding FROM knowledge_base WHERE chunk_hash = %s", first_hash)[0][0], Vector)


# Two spaces


def split(database, execute, count: int, *, both: int, neither: int = 0) -> tuple[SpaceColumn, SpaceColumn, list[str]]:
    """A serving space and another one, and chunks that only the latter has; ``both`` further ones are in both."""
    serving = register_space(database, dataclasses.replace(FAKE_SPACE, model="serving", dimensions=8))
    other = register_space(database, dataclasses.replace(FAKE_SPACE, model="other", dimensions=8), new_space=True)
    hashes = insert_vectors(database, other, unit_vectors(count + both))
    insert_chunks(database, [f"neither {number}" for number in range(neither)])
    execute(f"UPDATE knowledge_base SET embedding = {other.name} WHERE chunk_hash = ANY(%s)", hashes[count:])
    return serving, other, hashes[:count]


def test_whether_a_space_holds_what_another_lacks(database, execute):
    serving, other, [only] = split(database, execute, 1, both=2, neither=3)
    assert holds_vectors(database, other)
    assert holds_vectors(database, other, missing_in=serving)
    assert not holds_vectors(database, serving, missing_in=other)
    assert count_missing(database, serving, present_in=other) == 1
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_hash = %s", only)
    assert not holds_vectors(database, other, missing_in=serving)
    execute("UPDATE knowledge_base SET chunk_text = 'edited'")
    assert not holds_vectors(database, other)


def test_that_question_costs_nothing_while_nothing_is_pending(database, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    serving, other, _ = split(database, execute, 600, both=0)
    execute("ANALYZE knowledge_base")  # by which every row is one
    execute(f"UPDATE knowledge_base SET embedding = {other.name}")
    recorder = PlanRecorder(database)
    assert not holds_vectors(recorder, other, missing_in=serving)
    assert serving.pending_index in recorder.plan
    assert "Seq Scan" not in recorder.plan


def test_missing_vectors_of_a_large_table_are_estimated(database, execute, monkeypatch):
    serving, other, _ = split(database, execute, 1500, both=1500)
    execute("ANALYZE knowledge_base")
    assert count_missing(database, serving, present_in=other) == 1500
    monkeypatch.setattr("embedding_assets.postgres.search.coverage.SAMPLE_ROWS", 1000)
    estimates = [count_missing(database, serving, present_in=other) for _ in range(20)]
    assert len(set(estimates)) > 1
    assert 1000 < sum(estimates) / 20 < 2000


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("setting", ["hnsw.max_scan_tuples = 20000", "hnsw.max_scan_tuples = 1"])
def test_only_what_another_space_lacks_is_searched(database, execute, indexed, setting):
    serving, other, only = split(database, execute, 4, both=600)
    if indexed:
        build_vector_index(database, other, CONFIG)
        [(name,)] = execute("SELECT current_database()")
        for each in (setting, "enable_seqscan = off", "enable_bitmapscan = off"):
            execute(f'ALTER DATABASE "{name}" SET {each}')
        database.close()
    query, vectors = unit_vectors(1, seed=3)[0], unit_vectors(604)
    order = sorted(range(4), key=lambda row: -query @ vectors[row])
    for k in (1, 3, 4, 9):
        rows = nearest_chunks(database, other, query, k=k, where=(), index=CONFIG, missing_in=serving)
        assert [row[0] for row in rows] == [only[row] for row in order[:k]]
    assert nearest_chunks(database, serving, query, k=9, where=(), index=CONFIG, missing_in=other) == []
    execute('UPDATE knowledge_base SET document_metadata = \'{"source": "rare"}\' WHERE chunk_hash = %s', only[2])
    rows = nearest_chunks(
        database, other, query, k=3, where=conditions_of({"source": "rare"}), index=CONFIG, missing_in=serving
    )
    assert [row[0] for row in rows] == [only[2]]
