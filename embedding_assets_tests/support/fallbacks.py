"""A provider that is down on request, the fallback that stands in for it, and what both left in the table."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import psycopg
from psycopg import sql

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.errors import ProviderUnavailableError
from embedding_assets.models import EmbeddingStats
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets.providers.space_selection import create_provider
from embedding_assets_tests.support.fakes import FakeProvider
from embedding_assets_tests.support.generator_runs import as_array


class Unsteady(FakeProvider):
    """The fake provider; after ``batches`` more batches it is down until ``batches`` is set again."""

    def __init__(self, batches: int | None = None, error: Exception | None = None, **options: object) -> None:
        super().__init__(**options)
        self.batches = batches
        self.error = error or ProviderUnavailableError("gone for now")

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Iterator[EmbeddedBatch]:
        batches = super().embed(texts, query=query)
        while True:
            if self.batches == 0:
                raise self.error
            batch = next(batches, None)
            if batch is None:
                return
            if self.batches is not None:
                self.batches -= 1
            yield batch


def with_fallback(settings: Settings, **changes: object) -> Settings:
    """Settings with the local demo model as the fallback, in a format that rounds little."""
    return settings.with_embedding(**{"fallback": "local", "precision": "float32", "retry_delay_seconds": 0, **changes})


def run(
    settings: Settings, database: Database, provider: FakeProvider | None = None, prefixes: str = "0-f"
) -> EmbeddingStats:
    """One run; without a provider by the one that the settings name."""
    return EmbeddingGenerator(
        settings, database=database, provider=provider, prefixes=PrefixRange.parse(prefixes)
    ).generate_embeddings_batch()


def vectors_in(connection: psycopg.Connection, provider: str) -> dict[str, np.ndarray]:
    """Text → vector, in the column of the provider's space; empty if there is no such space."""
    row = connection.execute("SELECT column_name FROM embedding_spaces WHERE provider = %s", [provider]).fetchone()
    if row is None:
        return {}
    query = sql.SQL("SELECT chunk_text, {0} FROM knowledge_base WHERE {0} IS NOT NULL").format(sql.Identifier(row[0]))
    return {text: as_array(vector) for text, vector in connection.execute(query)}


def local_vectors(settings: Settings, texts: Iterable[str]) -> dict[str, np.ndarray]:
    """What the fallback's own model makes of texts."""
    wanted = list(texts)
    vectors: dict[str, np.ndarray] = {}
    for batch in create_provider(settings.with_embedding(provider="local")).embed(wanted):
        vectors |= {wanted[index]: batch.vectors[row] for row, index in enumerate(batch.indices)}
    return vectors


def assert_local(connection: psycopg.Connection, settings: Settings, expected: Iterable[str]) -> None:
    """In the fallback's column are exactly these texts' own vectors, made by its own model."""
    found = vectors_in(connection, "local")
    assert set(found) == set(expected)
    for text, vector in local_vectors(settings, found).items():
        np.testing.assert_allclose(found[text], vector, atol=1e-5)


def names(database: Database) -> dict[str, str]:
    """Provider → name of its space."""
    return {column.space.provider: column.space.name for column in list_spaces(database)}
