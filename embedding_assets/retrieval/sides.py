"""A question to its nearest chunks, asked in the space that serves searches, and beside it in the fallback's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.config import Settings
from embedding_assets.errors import (
    ConfigurationError,
    EmbeddingAssetsError,
    ModelUnavailableError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitExceededError,
    RowRefusedError,
)
from embedding_assets.postgres.search import FoundChunk, count_missing, find_chunks, holds_vectors
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.fallback import find_fallback
from embedding_assets.providers.space_selection import select_space
from embedding_assets.retrieval.answer import SearchResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.retrieval.question import Question
    from embedding_assets.spaces import SpaceColumn

logger = logging.getLogger(__name__)

RANK_CONSTANT: Final = 60
"""k of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): how little the first ranks stand out."""


@dataclass(frozen=True, slots=True)
class Sides:
    """One question, asked in the space that serves searches, and where needed in the fallback's."""

    question: Question
    settings: Settings
    database: Database
    provider: EmbeddingProvider | None

    def run(self, serving: SpaceColumn) -> list[SearchResult]:
        fallback = self._find_fallback(serving)
        if fallback is None:
            return self._nearest(serving, self._embed(serving))
        try:
            vector = self._embed(serving)
        except (ProviderUnavailableError, RateLimitExceededError) as outage:
            return self._search_fallback_alone(fallback, serving, outage)
        nearest = self._nearest(serving, vector)
        return _merge([nearest, self._search_beside(fallback, serving)])[: self.question.k]

    def _find_fallback(self, serving: SpaceColumn) -> SpaceColumn | None:
        """The fallback's space, if the table has it and it is another one."""
        column = find_fallback(self.settings, self.database)
        return column if column and column.space != serving.space else None

    def _search_beside(self, fallback: SpaceColumn, serving: SpaceColumn) -> list[SearchResult]:
        """The nearest of the chunks that only the fallback has embedded; none if its model cannot be had here."""
        if not holds_vectors(self.database, fallback, missing_in=serving):
            return []
        try:
            vector = self._embed(fallback)
        except (ProviderError, ModelUnavailableError) as error:
            logger.warning(
                "%d chunks that only space %s has are left out of this search: its model cannot embed the query (%s)",
                count_missing(self.database, serving, present_in=fallback),
                fallback.space.name,
                type(error).__name__,
                extra={"space": fallback.space.name},
            )
            return []
        return self._nearest(fallback, vector, missing_in=serving)

    def _search_fallback_alone(
        self, fallback: SpaceColumn, serving: SpaceColumn, outage: ProviderError
    ) -> list[SearchResult]:
        try:
            vector = self._embed(fallback)
        except EmbeddingAssetsError as error:
            raise error from outage
        nearest = self._nearest(fallback, vector)
        if not nearest and not holds_vectors(self.database, fallback):
            raise outage
        left_out = count_missing(self.database, fallback, present_in=serving)
        logger.warning(
            "%s does not answer: searching the fallback's space %s alone, which leaves %d chunks out",
            serving.space.provider,
            fallback.space.name,
            left_out,
            extra={"space": fallback.space.name, "left_out": left_out},
        )
        return nearest

    def _embed(self, column: SpaceColumn) -> NDArray[np.float32]:
        """The vector of the question in a space."""
        provider = select_space(self.settings, column, self.database, self.provider).open_provider()
        [batch] = embed_checked(provider, [self.question.text], query=True)
        if batch.errors:
            raise ProviderError(f"the query cannot be embedded: {batch.errors[0]}")
        vector: NDArray[np.float32] = batch.vectors[0]
        return vector

    def _nearest(
        self, column: SpaceColumn, vector: NDArray[np.float32], *, missing_in: SpaceColumn | None = None
    ) -> list[SearchResult]:
        try:
            found = find_chunks(
                self.database,
                column=column,
                vector=vector,
                words=None,
                limit=self.question.k,
                where=self.question.where,
                index=self.settings.index,
                language=self.settings.search.language,
                missing_in=missing_in,
            )
        except RowRefusedError as error:
            # Nothing is written: it can only be a value of a condition.
            raise ConfigurationError(f"--where: a value does not fit its column: {error}") from None
        return [_result(chunk, column) for chunk in found.chunks]


def _merge(rankings: Sequence[Sequence[SearchResult]]) -> list[SearchResult]:
    """One ranking of several, by reciprocal rank; of equal ones the earlier ranking's goes first.

    A chunk is in two of them only if it was embedded in between; then its first result is kept.
    """
    results: dict[str, SearchResult] = {}
    fused: dict[str, float] = {}
    for ranking in rankings:
        for rank, result in enumerate(ranking, start=1):
            results.setdefault(result.chunk_hash, result)
            fused[result.chunk_hash] = fused.get(result.chunk_hash, 0.0) + 1 / (RANK_CONSTANT + rank)
    return sorted(results.values(), key=lambda result: fused[result.chunk_hash], reverse=True)


def _result(chunk: FoundChunk, column: SpaceColumn) -> SearchResult:
    assert chunk.distance is not None  # every chunk was found by its vector
    return SearchResult(
        chunk_hash=chunk.chunk_hash,
        score=column.score(chunk.distance),
        source=chunk.source,
        title=str(chunk.metadata.get("title", "")),
        context_header=chunk.header,
        text=chunk.text,
        metadata=chunk.metadata,
        space=column.space.name,
    )
