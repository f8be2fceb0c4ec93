"""What searches need to know of a table and of its models, which is not read again for each question."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import ProviderError
from embedding_assets.postgres.search import (
    Missing,
    count_missing,
    count_without_vectors,
    holds_vectors,
    random_vectors,
)
from embedding_assets.postgres.spaces import list_spaces, match_space
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.fallback import find_fallback
from embedding_assets.providers.openai.provider import OpenAIProvider
from embedding_assets.providers.reranking import Reranker, RerankServer, open_reranker
from embedding_assets.providers.space_selection import select_for_search, select_space
from embedding_assets.retrieval.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.spaces import SpaceColumn

_KEPT_SECONDS: Final = 5.0
"""After which a space that serves from now on, or a chunk that was embedded, is seen by who keeps asking."""

_SAMPLE_SECONDS: Final = 60.0
_SAMPLE_VECTORS: Final = 200
"""Vectors picked at random with which questions are compared, and how long they are kept: some milliseconds to read."""


class Known:
    """A table's spaces, how much of it is embedded, and the models by which it is asked. For several threads.

    Args:
        settings: with the patience that a question has.
        database: the table's.
        provider: the caller's own, for its space; the others are opened here, and closed with this.
    """

    def __init__(self, settings: Settings, database: Database, provider: EmbeddingProvider | None) -> None:
        self.settings = settings
        self.database = database
        self._provider = provider
        self._recent = Recent(_KEPT_SECONDS)
        self._samples = Recent(_SAMPLE_SECONDS)
        self._lock = threading.Lock()
        self._opened: dict[SpaceColumn, EmbeddingProvider] = {}
        self._reranker: Reranker | None = None

    def column(self, name: str | None) -> SpaceColumn:
        """The space of this name, or whose name begins so; None: the one that serves searches.

        Raises:
            ConfigurationError: there is none.
        """
        if name is not None:
            return match_space(self.columns(), name)
        return self._recent.get(
            "serving", lambda: select_for_search(self.settings, self.database, self._provider).column
        )

    def columns(self) -> list[SpaceColumn]:
        """All spaces."""
        return self._recent.get("spaces", lambda: list_spaces(self.database))

    def fallback(self) -> SpaceColumn | None:
        """The fallback's space, if there is a fallback and the table has its space."""
        return self._recent.get("fallback", lambda: find_fallback(self.settings, self.database))

    def has_vectors(self, column: SpaceColumn, *, missing_in: SpaceColumn | None = None) -> bool:
        """Whether a space has any vector, or any that another one lacks."""
        return self._recent.get(
            ("has", column, missing_in), lambda: holds_vectors(self.database, column, missing_in=missing_in)
        )

    def missing(self, column: SpaceColumn, also_in: SpaceColumn | None = None) -> Missing:
        """Chunks without a vector in a space, nor in the other one that is given."""
        return self._recent.get(
            ("missing", column, also_in), lambda: count_without_vectors(self.database, column, also_in)
        )

    def only_in(self, present_in: SpaceColumn, column: SpaceColumn) -> int:
        """Number of chunks that one space has and another lacks; in a large table estimated."""
        return self._recent.get(
            ("only in", present_in, column), lambda: count_missing(self.database, column, present_in=present_in)
        )

    def random_vectors(self, column: SpaceColumn) -> NDArray[np.float32]:
        """Vectors of a space picked at random, shape (n, dimensions); the same ones for a minute."""
        return self._samples.get(column, lambda: random_vectors(self.database, column, _SAMPLE_VECTORS))

    def seen(self) -> object:
        """What was read of the spaces, if anything was, to be compared later."""
        return self._recent.peek("serving"), self._recent.peek("spaces")

    def has_changed(self, seen: object) -> bool:
        """Whether the spaces are others than they were; all that is known of the table is then read again."""
        serving, spaces = seen if isinstance(seen, tuple) else (None, None)
        if serving is None and spaces is None:
            return False  # they were read for this question
        self._recent.forget()
        columns = self.columns()
        return (serving is not None and serving not in columns) or (spaces is not None and spaces != columns)

    def question_vector(self, column: SpaceColumn, text: str) -> tuple[NDArray[np.float32], bool]:
        """The vector of a question in a space, and whether the model read only the beginning of it.

        Raises:
            ConfigurationError: the settings do not lead to that space's model.
            ModelUnavailableError: its files cannot be had.
            ProviderError: the question cannot be embedded.
        """
        [batch] = embed_checked(self._provider_of(column), [text], query=True)
        if batch.errors:
            raise ProviderError(f"the query cannot be embedded: {batch.errors[0]}")
        vector: NDArray[np.float32] = batch.vectors[0]
        return vector, batch.truncated[0]

    def document_vectors(self, column: SpaceColumn, texts: Sequence[str]) -> dict[int, NDArray[np.float32]]:
        """The vectors of texts in a space, by their positions; those that cannot be embedded alone are left out.

        Raises:
            ProviderError: nothing can be embedded now.
        """
        vectors: dict[int, NDArray[np.float32]] = {}
        for batch in embed_checked(self._provider_of(column), texts):
            vectors |= dict(zip(batch.indices, batch.vectors, strict=True))
        return vectors

    def reranker(self) -> Reranker:
        """The configured reranker.

        Raises:
            ConfigurationError: none is configured.
        """
        with self._lock:
            if self._reranker is None:
                self._reranker = open_reranker(self.settings)
            return self._reranker

    def close(self) -> None:
        """Close the connections of what was opened here."""
        with self._lock:
            opened, self._opened = self._opened, {}
            reranker, self._reranker = self._reranker, None
        for provider in opened.values():
            if isinstance(provider, OpenAIProvider) and provider is not self._provider:
                provider.close()
        if isinstance(reranker, RerankServer):
            reranker.close()

    def renew(self) -> None:
        """In a forked process: the connections of models behind servers are its parent's."""
        self._lock = threading.Lock()
        self._recent.renew()
        self._samples.renew()
        self._opened, self._reranker = {}, None

    def _provider_of(self, column: SpaceColumn) -> EmbeddingProvider:
        with self._lock:
            if column not in self._opened:
                self._opened[column] = select_space(
                    self.settings, column, self.database, self._provider
                ).open_provider()
            return self._opened[column]
