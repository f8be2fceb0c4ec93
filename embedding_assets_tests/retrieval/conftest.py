"""A table that is asked by a provider without a model: the vector of a text is its own, far from any other's."""

import pytest

from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.retrieval import Searcher
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks
from embedding_assets_tests.support.retrieval import embed

TEXTS = [f"text {number}" for number in range(30)]


@pytest.fixture
def provider(settings: Settings, database: Database) -> FakeProvider:
    """The fake provider, by which all of ``TEXTS`` are embedded."""
    insert_chunks(database, TEXTS)
    fake = FakeProvider()
    embed(settings, database, fake)
    return fake


@pytest.fixture
def searcher(settings: Settings, database: Database, provider: FakeProvider) -> Searcher:
    """Who asks that table."""
    with Searcher(settings, database=database, provider=provider) as searcher:
        yield searcher
