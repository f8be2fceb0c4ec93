"""A run of the generator with the fake provider, and what it left in the table."""

from collections.abc import Callable

import numpy as np
import psycopg

from embedding_assets import EmbeddingGenerator, PrefixRange
from embedding_assets.config import Settings
from embedding_assets.models import EmbeddingStats, embedded_text
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.support.fakes import FakeProvider, vector_of

Spoil = Callable[[list[str], EmbeddedBatch], EmbeddedBatch]


def texts(count: int, stem: str = "text") -> list[str]:
    return [f"{stem} {number}" for number in range(count)]


def embed(
    settings: Settings,
    database: Database,
    provider: FakeProvider | None = None,
    prefixes: str = "0-f",
    **changes: object,
) -> EmbeddingStats:
    """One run with the fake provider, all failures due again at once unless ``changes`` say otherwise."""
    return EmbeddingGenerator(
        settings.with_embedding(**{"retry_delay_seconds": 0, **changes}),
        prefixes=PrefixRange.parse(prefixes),
        database=database,
        provider=provider or FakeProvider(),
    ).generate_embeddings_batch()


def stored(database: Database) -> dict[str, np.ndarray]:
    """Text → vector of all embedded chunks."""

    def read(connection: psycopg.Connection) -> list[tuple[str, str, object]]:
        return connection.execute(
            "SELECT chunk_text, context_header, embedding FROM knowledge_base WHERE embedding IS NOT NULL"
        ).fetchall()

    return {embedded_text(header, text): as_array(vector) for text, header, vector in database.run(read)}


def as_array(vector: object) -> np.ndarray:
    """What pgvector loads: an array, or since 0.5 an object that holds one."""
    return vector.to_numpy() if hasattr(vector, "to_numpy") else np.asarray(vector)


def assert_right(database: Database, expected: list[str]) -> None:
    found = stored(database)
    assert set(found) == set(expected)
    for text, vector in found.items():
        np.testing.assert_allclose(vector, vector_of(text), atol=1e-7)


def without(text: str, *, error: str | None) -> Spoil:
    """Leave one text out, or make it an error."""

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if text not in portion:
            return batch
        rows = [row for row, one in enumerate(portion) if one != text]
        return EmbeddedBatch(
            indices=[batch.indices[row] for row in rows],
            vectors=batch.vectors[rows],
            token_counts=[2] * len(rows),
            truncated=[False] * len(rows),
            errors={batch.indices[portion.index(text)]: error} if error else {},
        )

    return spoil
