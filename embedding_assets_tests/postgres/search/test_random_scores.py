"""Vectors of chunks picked at random."""

import numpy as np

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.search import random_vectors
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks, vector_of
from embedding_assets_tests.support.retrieval import embed

TEXTS = [f"text {number}" for number in range(40)]


def test_they_are_stored_ones(settings, database: Database):
    insert_chunks(database, TEXTS)
    embed(settings, database, FakeProvider())
    insert_chunks(database, ["pending"])
    [column] = list_spaces(database)
    stored = {tuple(np.round(vector_of(text), 4)) for text in TEXTS}
    assert {tuple(np.round(vector, 4)) for vector in random_vectors(database, column, 1000)} == stored
    some = random_vectors(database, column, 10)
    assert some.shape == (10, column.space.dimensions)
    assert {tuple(np.round(vector, 4)) for vector in some} < stored


def test_a_column_without_any(settings, database: Database):
    insert_chunks(database, ["one"])
    embed(settings, database, FakeProvider())
    database.run(lambda c: c.execute("UPDATE knowledge_base SET embedding = NULL"))
    [column] = list_spaces(database)
    assert random_vectors(database, column, 10).shape == (0, column.space.dimensions)
