"""A provider without a model, and chunks without documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from embedding_assets.postgres.connection import Database
from embedding_assets.providers.base import EmbeddedBatch, StillWanted
from embedding_assets.spaces import VectorSpace

FAKE_SPACE = VectorSpace("fake", "fake/hashing", "1", 768, True, "", 256)


def hash_of(text: str) -> str:
    """The chunk_hash that ``insert_chunks`` gives a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def vector_of(text: str, dimensions: int = 768) -> NDArray[np.float32]:
    """A unit vector that is the text's own: every text has its one right vector."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


def insert_chunks(database: Database, texts: Sequence[str], **fields: object) -> list[str]:
    """Insert texts as pending chunks; returns their hashes."""
    names = ["chunk_hash", "chunk_text", *fields]
    statement = f"INSERT INTO knowledge_base ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})"
    database.run(
        lambda connection: connection.cursor().executemany(
            statement, [[hash_of(text), text, *fields.values()] for text in texts]
        )
    )
    return [hash_of(text) for text in texts]


class FakeProvider:
    """Embeds by hashing, in batches of ``batch_size``; ``spoil`` may change or replace a batch on its way out."""

    def __init__(
        self,
        *,
        batch_size: int = 16,
        spoil: Callable[[list[str], EmbeddedBatch], EmbeddedBatch] | None = None,
        space: VectorSpace = FAKE_SPACE,
    ) -> None:
        self.space = space
        self.device = "fake"
        self.precision = "exact"
        self.window_texts = 1
        self.seen: list[str] = []
        self._batch_size = batch_size
        self._spoil = spoil

    def load(self) -> float:
        return 0.0

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Iterator[EmbeddedBatch]:
        for start in range(0, len(texts), self._batch_size):
            yield self._encode(texts, list(range(start, min(start + self._batch_size, len(texts)))))

    def _encode(self, texts: Sequence[str], positions: list[int]) -> EmbeddedBatch:
        portion = [texts[position] for position in positions]
        self.seen += portion
        batch = EmbeddedBatch(
            indices=positions,
            vectors=np.stack([vector_of(text, self.space.dimensions) for text in portion]),
            token_counts=[len(text.split()) for text in portion],
            truncated=[False] * len(portion),
        )
        return self._spoil(portion, batch) if self._spoil else batch


class AskingProvider(FakeProvider):
    """Asks before each batch which texts still are wanted."""

    def embed_wanted(self, texts: Sequence[str], still_wanted: StillWanted) -> Iterator[EmbeddedBatch]:
        for start in range(0, len(texts), self._batch_size):
            positions = range(start, min(start + self._batch_size, len(texts)))
            wanted = list(still_wanted(positions))
            if len(wanted) < len(positions):
                nothing = np.empty((0, self.space.dimensions), dtype=np.float32)
                yield EmbeddedBatch([], nothing, [], [], unwanted=sorted({*positions} - {*wanted}))
            if wanted:
                yield self._encode(texts, wanted)


def bucket_of(chunk_hash: str) -> int:
    """The lock bucket of a hash: the value of its first two hex characters."""
    return int(chunk_hash[:2].ljust(2, "0"), 16)
