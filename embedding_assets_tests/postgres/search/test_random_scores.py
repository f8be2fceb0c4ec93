"""Distances of chunks picked at random."""

import pytest

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.search import random_distances
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks, vector_of
from embedding_assets_tests.support.retrieval import embed

TEXTS = [f"text {number}" for number in range(40)]


def test_they_are_those_of_stored_vectors(settings, database: Database):
    insert_chunks(database, TEXTS)
    embed(settings, database, FakeProvider())
    insert_chunks(database, ["pending"])
    [column] = list_spaces(database)
    vector = vector_of("text 7")
    expected = sorted(1 - float(vector @ vector_of(text)) for text in TEXTS)
    assert sorted(random_distances(database, column, vector, 1000)) == pytest.approx(expected, abs=1e-5)
    some = random_distances(database, column, vector, 10)
    assert len(some) == 10
    assert all(min(abs(distance - known) for known in expected) < 1e-5 for distance in some)


def test_zero_vectors_have_none(settings, database: Database):
    insert_chunks(database, TEXTS)
    embed(settings, database, FakeProvider())
    database.run(
        lambda c: c.execute("UPDATE knowledge_base SET embedding = %s WHERE chunk_text = 'text 1'", [str([0] * 768)])
    )
    [column] = list_spaces(database)
    assert len(random_distances(database, column, vector_of("x"), 1000)) == 39
