"""A question, asked in the space that serves searches, and where needed by means of the fallback's."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import (
    EmbeddingAssetsError,
    ModelUnavailableError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitExceededError,
)
from embedding_assets.formatting import counted
from embedding_assets.models import embedded_text
from embedding_assets.postgres.search import Found, FoundChunk, find_chunks
from embedding_assets.retrieval.common_scale import distance, with_others

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedding_assets.config import SearchMode
    from embedding_assets.retrieval.known import Known
    from embedding_assets.retrieval.question import Question
    from embedding_assets.spaces import SpaceColumn

logger = logging.getLogger(__name__)

_MOST_BESIDE: Final = 20
"""Chunks of the fallback's space that are embedded for one question."""

_FEWEST_BESIDE: Final = 100
"""Chunks that are asked for where some of the fallback's may be among those found by words."""


@dataclass(frozen=True, slots=True)
class Asked:
    """In which space a question is asked, and what the other space is good for.

    Attributes:
        column: the space; None: it is asked by words alone.
        vector: of the question in that space.
        other: the space of which chunks are found, or left out, as the notes say.
        beside: nearest chunks that only the other space has, with their distances in this one.
        notes: what a reader should know of that.
    """

    column: SpaceColumn | None = None
    vector: NDArray[np.float32] | None = field(default=None, repr=False)
    other: SpaceColumn | None = None
    beside: tuple[FoundChunk, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Portion:
    """The first chunks that answer a question.

    Attributes:
        chunks: best first.
        is_complete: whether there are no more.
        notes: what a reader should know of how they were found.
    """

    chunks: tuple[FoundChunk, ...]
    is_complete: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sides:
    """One question, and the spaces it is asked in."""

    question: Question
    mode: SearchMode
    known: Known

    def ask(self) -> Asked:
        """Embed the question.

        Raises:
            ConfigurationError: nothing was embedded yet, or no space is called so.
            ProviderError: the question cannot be embedded.
        """
        if self.mode == "text":
            return Asked()
        column = self.known.column(self.question.space)
        # Who names a space means that one.
        fallback = self.known.fallback() if self.question.space is None else None
        if fallback is None or fallback.space == column.space:
            return self._ask_in(column)
        try:
            asked = self._ask_in(column)
        except (ProviderUnavailableError, RateLimitExceededError) as outage:
            return self._ask_fallback_alone(fallback, column, outage)
        return self._ask_beside(fallback, asked)

    def find(self, asked: Asked, limit: int) -> Portion:
        """The ``limit`` best chunks.

        Raises:
            ConfigurationError: a condition does not fit its column.
        """
        words = None if self.mode == "vector" else self.question.plain_text
        if asked.beside and words is not None:
            # What has no vector yet stands far behind by its words alone, but may be the first with its distance.
            limit = max(limit, _FEWEST_BESIDE)
        found = self._find(asked.column, asked.vector, words, limit)
        is_complete = len(found.chunks) < limit
        return Portion(with_others(found.chunks, asked.beside, is_complete=is_complete), is_complete, found.notes)

    def _ask_in(self, column: SpaceColumn) -> Asked:
        vector, is_cut = self.known.question_vector(column, self.question.plain_text)
        model = f"of the question {column.space.model} reads only the first {column.space.max_tokens:,} tokens"
        return Asked(column, vector, notes=(model,) if is_cut else ())

    def _ask_beside(self, fallback: SpaceColumn, asked: Asked) -> Asked:
        """The same with the nearest of the chunks that only the fallback has embedded.

        Their own vectors say nothing in this space, and their ranks nothing beside those of other chunks. So their
        texts are embedded as the serving space's documents are, in one request, and compared as those are.
        """
        column, vector = asked.column, asked.vector
        assert column is not None
        assert vector is not None
        if not self.known.has_vectors(fallback, missing_in=column):
            return asked
        asked = replace(asked, other=fallback)
        try:
            in_fallback, _ = self.known.question_vector(fallback, self.question.plain_text)
            limit = min(self.question.k, _MOST_BESIDE)
            nearest = self._find(fallback, in_fallback, None, limit, missing_in=column).chunks
            texts = [embedded_text(chunk.header, chunk.text) for chunk in nearest]
            vectors = self.known.document_vectors(column, texts) if texts else {}
        except (ProviderError, ModelUnavailableError) as error:
            left_out = counted(self.known.only_in(fallback, column), "chunk")
            note = (
                f"{left_out} that only space {fallback.space.name} has so far cannot be compared with the question "
                f"({type(error).__name__})"
            )
            logger.info(note, extra={"space": fallback.space.name})
            return replace(asked, notes=(*asked.notes, note))
        beside = tuple(
            replace(nearest[at], distance=distance(vector, other, column.similarity), vector_rank=None, text_rank=None)
            for at, other in vectors.items()
        )
        return replace(asked, beside=beside)

    def _ask_fallback_alone(self, fallback: SpaceColumn, serving: SpaceColumn, outage: ProviderError) -> Asked:
        try:
            asked = self._ask_in(fallback)
        except EmbeddingAssetsError as error:
            raise error from outage
        if not self.known.has_vectors(fallback):
            raise outage
        left_out = self.known.only_in(serving, fallback)
        found = "leaves {} out" if self.mode == "vector" else "leaves {} to be found by their words alone"
        note = (
            f"{serving.space.provider} does not answer: asked in the fallback's space {fallback.space.name} alone, "
            f"which {found.format(counted(left_out, 'chunk'))}"
        )
        logger.info(note, extra={"space": fallback.space.name, "left_out": left_out})
        return replace(asked, other=serving, notes=(*asked.notes, note))

    def _find(
        self,
        column: SpaceColumn | None,
        vector: NDArray[np.float32] | None,
        words: str | None,
        limit: int,
        *,
        missing_in: SpaceColumn | None = None,
    ) -> Found:
        settings = self.known.settings
        index = settings.index
        if self.question.ef_search is not None:
            index = index.model_copy(update={"ef_search": self.question.ef_search})
        return find_chunks(
            self.known.database,
            column=column,
            vector=vector,
            words=words,
            limit=limit,
            where=self.question.where,
            index=index,
            language=settings.search.language,
            missing_in=missing_in,
        )
