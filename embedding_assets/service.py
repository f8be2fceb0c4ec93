"""Texts to vectors, for applications: async, typed, without a table."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import copy_context
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import EmbeddingAssetsError, ProviderError, ProviderUnavailableError
from embedding_assets.logs import correlate, current_run_id
from embedding_assets.models import EmbeddingCost
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.providers.base import EmbeddingProvider, embed_checked
from embedding_assets.providers.fallback import fallback_settings
from embedding_assets.providers.space_selection import api_space, create_provider
from embedding_assets.spaces import EmbeddedVector, EmbeddedVectors, VectorSpace

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database

logger = logging.getLogger(__name__)


class EmbeddingService:
    """Embeds texts with the configured model.

    Calls from many tasks at once are fine. An API needs the database, where dollars and rate limits are counted: it is
    opened by the first call that needs it, and closed by ``close`` or at the end of ``with``. All calls count as one
    run, so ``EMBEDDING_BUDGET_USD_PER_RUN`` limits what a service may cost.

    With ``EMBEDDING_FALLBACK``, calls that find the provider down are answered by the fallback, in its own space; a
    call's vectors are all of one space, which ``.space`` of the answer names.

    Args:
        provider: ``"local"``, ``"openai"``, or a provider object; default: as the settings say.
        settings: default: from the environment.
        database: default: the configured one, opened when it is needed.

    Raises:
        ConfigurationError: no such provider.
        ModelUnavailableError: the local model's files cannot be had.
    """

    def __init__(
        self,
        provider: Literal["local", "openai"] | EmbeddingProvider | None = None,
        settings: Settings | None = None,
        database: Database | None = None,
    ) -> None:
        settings = settings or get_settings()
        if isinstance(provider, str):
            settings = settings.with_embedding(provider=provider)
            provider = None
        self._settings = settings
        self._database = database
        self._opened = ExitStack()
        self._opening = threading.Lock()
        self._given = (provider, database)
        if provider is None and settings.embedding.provider == "local":
            provider = create_provider(settings)
        self._provider = provider
        self._space = provider.space if provider else api_space(settings)
        self._substitute: EmbeddingProvider | None = None
        self._down = False
        # Threads of its own: as many calls as the API takes at once would keep others from asyncio's.
        self._most_threads = settings.openai.concurrency if self._space.provider == "openai" else None
        self._threads = ThreadPoolExecutor(self._most_threads, "embedding")
        self._closed = False
        self._run_id = uuid.uuid4().hex[:12]
        self._counting = threading.Lock()
        self._texts = 0
        self._tokens = 0
        self._usd = 0.0
        _services.add(self)

    def _renew(self) -> None:
        """In a forked process: its parent's threads and connections are not there."""
        self._threads = ThreadPoolExecutor(self._most_threads, "embedding")
        self._opening, self._counting = threading.Lock(), threading.Lock()
        self._opened, self._substitute = ExitStack(), None
        given, self._database = self._given
        if self._space.provider == "openai":
            self._provider = given  # one of our own holds the database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await asyncio.to_thread(self.close)

    @property
    def space(self) -> VectorSpace:
        """The provider's space, to which all vectors of this service belong but those of the fallback."""
        return self._space

    async def generate(self, text: str, *, query: bool = False) -> EmbeddedVector:
        """The vector of one text: of a document, or of a question to be asked among documents.

        Raises:
            ValueError: the text is empty.
            ProviderError: it cannot be embedded.
        """
        vectors, space = await self._call([text], query=query)
        return EmbeddedVector(vectors[0].tolist(), space)

    async def batch_generate(self, texts: Sequence[str], *, query: bool = False) -> EmbeddedVectors:
        """The vectors of texts, of documents or of questions, in their order, in one space; all or none.

        Raises:
            ValueError: a text is empty; names its position.
            TypeError: something is no text; names its position.
            ProviderError: a text cannot be embedded; names its position and an error code, never the text.
        """
        vectors, space = await self._call(texts, query=query)
        # Thousands of them take a second, in which the loop is to serve others.
        rows = await asyncio.get_running_loop().run_in_executor(self._threads, vectors.tolist)
        return EmbeddedVectors((EmbeddedVector(row, space) for row in rows), space)

    def get_cost(self) -> EmbeddingCost:
        """Costs of this service's calls so far; only time with the local provider."""
        with self._counting:
            return EmbeddingCost(texts=self._texts, tokens=self._tokens, usd=round(self._usd, 12))

    def close(self) -> None:
        """Wait for calls that are under way, then close what this service has opened. It takes no calls afterwards."""
        self._closed = True
        self._threads.shutdown()
        self._opened.close()

    async def _call(self, texts: Sequence[str], *, query: bool) -> tuple[NDArray[np.float32], VectorSpace]:
        if self._closed:
            raise RuntimeError("this EmbeddingService is closed; make a new one, or close it later")
        if isinstance(texts, str):
            raise TypeError("batch_generate takes a list of texts, but was given one text; generate takes that")
        other = next(((index, text) for index, text in enumerate(texts) if not isinstance(text, str)), None)
        if other is not None:
            raise TypeError(f"text {other[0]} of {len(texts)} is no text, but of type {type(other[1]).__name__}")
        blank = [index for index, text in enumerate(texts) if not text.strip()]
        if blank:
            raise ValueError(f"text {blank[0]} of {len(texts)} is empty or blank")
        if not texts:
            return np.empty((0, self._space.dimensions), dtype=np.float32), self._space
        # A thread: encoding releases the interpreter, so the event loop keeps serving.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, copy_context().run, self._embed, texts, query)

    def _embed(self, texts: Sequence[str], query: bool) -> tuple[NDArray[np.float32], VectorSpace]:
        with correlate(current_run_id() or self._run_id):
            try:
                answer = self._embed_by(self._primary(), texts, query)
            except ProviderUnavailableError as outage:
                return self._embed_instead(texts, query, outage)
            self._note(down=False)
            return answer

    def _embed_instead(
        self, texts: Sequence[str], query: bool, outage: ProviderUnavailableError
    ) -> tuple[NDArray[np.float32], VectorSpace]:
        """By the fallback, all of them again: vectors of two spaces must not meet in one answer."""
        try:
            fallback = self._fallback()
            if fallback is not None:
                return self._embed_by(fallback, texts, query)
        except EmbeddingAssetsError as error:
            raise error from outage
        raise outage

    def _embed_by(
        self, provider: EmbeddingProvider, texts: Sequence[str], query: bool
    ) -> tuple[NDArray[np.float32], VectorSpace]:
        vectors = np.empty((len(texts), provider.space.dimensions), dtype=np.float32)
        with closing(embed_checked(provider, texts, query=query)) as batches:
            for batch in batches:
                with self._counting:
                    self._tokens += sum(batch.token_counts)
                    self._usd += batch.usd
                if batch.errors:
                    index, code = min(batch.errors.items())
                    raise ProviderError(f"text {index} of {len(texts)} cannot be embedded: {code}")
                vectors[batch.indices] = batch.vectors
        with self._counting:
            self._texts += len(texts)
        return vectors, provider.space

    def _primary(self) -> EmbeddingProvider:
        with self._opening:
            if self._provider is None:
                self._provider = self._create(self._settings)
            return self._provider

    def _fallback(self) -> EmbeddingProvider | None:
        settings = fallback_settings(self._settings, self._space)
        if settings is None:
            return None
        self._note(down=True)
        with self._opening:
            if self._substitute is None:
                self._substitute = self._create(settings)
            return self._substitute

    def _create(self, settings: Settings) -> EmbeddingProvider:
        if settings.embedding.provider == "local":
            return create_provider(settings)
        if self._database is None:
            self._database = self._opened.enter_context(open_database(settings))
        return create_provider(settings, self._database)

    def _note(self, *, down: bool) -> None:
        """Log when an outage is first met, and when it is over: not with every call."""
        with self._counting:
            changed, self._down = down != self._down, down
        if changed and down:
            logger.warning("%s is down: calls are answered by the fallback, in its own space", self._space.provider)
        elif changed:
            logger.warning("%s is back: calls are answered by it again", self._space.provider)


_services: weakref.WeakSet[EmbeddingService] = weakref.WeakSet()


def _renew_all() -> None:
    for service in list(_services):
        service._renew()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_all)
