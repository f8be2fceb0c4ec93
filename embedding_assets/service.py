"""Texts to vectors, for applications: async, typed, without a table."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import ProviderError
from embedding_assets.models import EmbeddingCost
from embedding_assets.providers.base import EmbeddingProvider, embed_checked
from embedding_assets.providers.factory import create_provider
from embedding_assets.spaces import VectorSpace

__all__ = ["EmbeddingService"]


class EmbeddingService:
    """Embeds texts with the configured model.

    Args:
        provider: ``"local"``, or a provider object.
        settings: default: from the environment.
    """

    def __init__(
        self, provider: Literal["local"] | EmbeddingProvider = "local", settings: Settings | None = None
    ) -> None:
        self._provider = create_provider(settings or get_settings()) if isinstance(provider, str) else provider
        self._texts = 0
        self._tokens = 0
        self._counting = threading.Lock()

    @property
    def space(self) -> VectorSpace:
        """The space that all vectors of this service belong to."""
        return self._provider.space

    async def generate(self, text: str) -> list[float]:
        """The vector of one text.

        Raises:
            ValueError: the text is empty.
            ProviderError: it cannot be embedded.
        """
        return (await self.batch_generate([text]))[0]

    async def batch_generate(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of texts, in their order; all or none.

        Raises:
            ValueError: a text is empty; names its position.
            ProviderError: a text cannot be embedded; names its position and an error code, never the text.
        """
        blank = [index for index, text in enumerate(texts) if not text.strip()]
        if blank:
            raise ValueError(f"text {blank[0]} of {len(texts)} is empty or blank")
        # A thread: encoding releases the interpreter, so the event loop keeps serving.
        vectors = await asyncio.to_thread(self._embed, texts)
        return [vector.tolist() for vector in vectors]

    def get_cost(self) -> EmbeddingCost:
        """What this service's calls have cost so far; nothing but time with the local provider."""
        return EmbeddingCost(texts=self._texts, tokens=self._tokens, usd=0.0)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), self.space.dimensions), dtype=np.float32)
        for batch in embed_checked(self._provider, texts):
            if batch.errors:
                index, code = min(batch.errors.items())
                raise ProviderError(f"text {index} of {len(texts)} cannot be embedded: {code}")
            vectors[batch.indices] = batch.vectors
            with self._counting:
                self._texts += len(batch.indices)
                self._tokens += sum(batch.token_counts)
        return vectors
