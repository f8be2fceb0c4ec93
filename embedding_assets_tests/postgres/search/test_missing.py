"""Chunks without a vector, counted."""

import pytest

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.search import Missing, count_without_vectors, missing
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks
from embedding_assets_tests.support.fallbacks import Unsteady, run, with_fallback
from embedding_assets_tests.support.retrieval import embed


def test_all_that_have_none(settings, database: Database):
    insert_chunks(database, ["a", "b", "c"])
    embed(settings, database, FakeProvider())
    [column] = list_spaces(database)
    assert count_without_vectors(database, column) == Missing(0, False, 0)
    insert_chunks(database, ["d", "e"])
    assert count_without_vectors(database, column) == Missing(2, False, 5)
    assert str(count_without_vectors(database, column)) == "2 of 5 chunks"


@pytest.mark.uncovered
def test_all_that_have_none_in_two_spaces(settings, database: Database):
    settings, provider = with_fallback(settings), Unsteady()
    insert_chunks(database, ["a", "b"])
    run(settings, database, provider)
    provider.batches = 0
    insert_chunks(database, ["c"])
    run(settings, database, provider)
    insert_chunks(database, ["d", "e"])
    serving, fallback = list_spaces(database)
    assert count_without_vectors(database, serving).chunks == 3
    assert count_without_vectors(database, serving, fallback).chunks == 2
    assert count_without_vectors(database, fallback, serving).chunks == 2


def test_no_further_than_a_limit(settings, database: Database, monkeypatch: pytest.MonkeyPatch):
    insert_chunks(database, ["a"])
    embed(settings, database, FakeProvider())
    insert_chunks(database, [f"pending {number}" for number in range(30)])
    database.run(lambda c: c.execute("ANALYZE knowledge_base"))
    monkeypatch.setattr(missing, "_MOST_COUNTED", 20)
    [column] = list_spaces(database)
    found = count_without_vectors(database, column)
    assert (found.chunks, found.is_more) == (20, True)
    assert str(found) == "more than 20 of about 31 chunks"
