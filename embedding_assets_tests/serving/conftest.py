"""A table that is embedded by hashing, so that no model is needed; and a service over it."""

from collections.abc import Iterator

import httpx2
import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.space_selection import Selection
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks
from embedding_assets_tests.support.serving import served

TEXTS = [f"text {number}" for number in range(30)]


@pytest.fixture
def provider(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """The fake provider, by which all of ``TEXTS`` are embedded and questions will be."""
    metadata = '{"source": "a.md", "title": "A", "lang": "en", "year": 2024, "tags": ["red", "blue"]}'
    insert_chunks(database, TEXTS[:20], document_metadata=metadata)
    insert_chunks(database, TEXTS[20:], document_metadata='{"source": "b.md", "lang": "de"}')
    fake = FakeProvider()
    EmbeddingGenerator(
        settings.with_embedding(new_space=True), database=database, provider=fake
    ).generate_embeddings_batch()
    monkeypatch.setattr(Selection, "open_provider", lambda _: fake)
    return fake


@pytest.fixture
def client(settings: Settings, provider: FakeProvider) -> Iterator[httpx2.Client]:
    """A client of a service over them."""
    with served(settings) as client:
        yield client
