"""Texts to vectors, for applications: async, typed, without a table."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self, overload

from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import EmbeddingAssetsError, ProviderUnavailableError, TextRefusedError
from embedding_assets.gathering import Gatherer
from embedding_assets.logs import correlate, current_run_id
from embedding_assets.models import EmbeddingCost
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.providers.base import EmbeddingProvider, embed_checked
from embedding_assets.providers.cancelling import CallCancelledError, cancellable, check_cancelled
from embedding_assets.providers.fallback import fallback_settings
from embedding_assets.providers.openai.provider import OpenAIProvider
from embedding_assets.providers.space_selection import api_space, create_provider
from embedding_assets.spaces import EmbeddedVector, EmbeddedVectors, VectorSpace

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database

logger = logging.getLogger(__name__)

_CLOSED = "this EmbeddingService is closed; make a new one, or close it later"


@dataclass(slots=True)
class _Answer:
    """What became of the texts of a call, by their positions.

    Attributes:
        space: whose vectors they are.
        texts: how many the call has.
        vectors: of texts that were embedded.
        refused: of texts that cannot be.
        failure: why there is nothing of the others.
    """

    space: VectorSpace
    texts: int
    vectors: dict[int, EmbeddedVector] = field(default_factory=dict)
    refused: dict[int, TextRefusedError] = field(default_factory=dict)
    failure: EmbeddingAssetsError | None = None

    def whole(self) -> list[EmbeddedVector]:
        """All vectors in order; raises what stands in their way."""
        if self.refused:
            raise self.refused[min(self.refused)]
        if self.failure is not None:
            raise self.failure
        return [self.vectors[index] for index in range(self.texts)]

    def each(self) -> list[EmbeddedVector | EmbeddingAssetsError]:
        """Vector or error of each text, in order."""
        outcomes: dict[int, EmbeddedVector | EmbeddingAssetsError] = {}
        if self.failure is not None:
            outcomes.update(dict.fromkeys(range(self.texts), self.failure))
        outcomes.update(self.vectors)
        outcomes.update(self.refused)
        return [outcomes[index] for index in range(self.texts)]


class EmbeddingService:
    """Embeds texts with the configured model.

    Calls from many tasks at once are fine. An API needs the database, where dollars and rate limits are counted: it is
    opened by the first call that needs it, and closed by ``close`` or at the end of ``with``. All calls count as one
    run, so ``EMBEDDING_BUDGET_USD_PER_RUN`` limits what a service may cost.

    Calls of ``generate`` that run side by side share requests, or batches of a local model; a text that is refused
    concerns its own call alone. What is cancelled is not sent any more; what has been sent is given up, and counted in
    the ledger at its likely cost.

    With ``EMBEDDING_FALLBACK``, calls that find the provider down are answered by the fallback, in its own space; a
    call's vectors are all of one space, which ``.space`` of the answer names.

    Making a service is cheap: a local model's files are looked for by the first call, or by ``.space``, which raise
    ``ModelUnavailableError`` where they cannot be had.

    Args:
        provider: ``"local"``, ``"openai"``, or a provider object; default: as the settings say.
        settings: default: from the environment.
        database: default: the configured one, opened when it is needed.

    Raises:
        ConfigurationError: no such provider.
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
        self._provider = provider
        self._given = (provider, database)
        self._kind = provider.space.provider if provider else settings.embedding.provider
        self._down = False
        # Threads of its own: as many calls as the API takes at once would keep others from asyncio's.
        self._most_threads = settings.openai.concurrency if self._kind == "openai" else None
        self._closed = False
        self._run_id = uuid.uuid4().hex[:12]
        self._texts = 0
        self._tokens = 0
        self._usd = 0.0
        self._begin()
        _services.add(self)

    def _begin(self) -> None:
        self._threads = ThreadPoolExecutor(self._most_threads, "embedding")
        self._opening, self._counting = threading.Lock(), threading.Lock()
        self._opened = ExitStack()
        self._substitute: EmbeddingProvider | None = None
        self._under_way: set[Future[None]] = set()
        # A local model takes its batches one after the other, so what comes meanwhile is the next batch.
        most_at_once = 1 if self._kind == "local" else self._settings.openai.concurrency
        self._gatherer: Gatherer[tuple[bool, str], str, EmbeddedVector] = Gatherer(
            self._embed_gathered, most_at_once=most_at_once
        )

    def _renew(self) -> None:
        """In a forked process: its parent's threads and connections are not there."""
        self._begin()
        given, self._database = self._given
        if self._kind == "openai":
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
        """The provider's space, to which all vectors of this service belong but those of the fallback.

        Of a local model, the first look reads the model's files, as the first call does.
        """
        if self._provider is None and self._kind == "openai":
            return api_space(self._settings)
        return self._primary().space

    async def generate(self, text: str, *, query: bool = False) -> EmbeddedVector:
        """The vector of one text: of a document, or of a question to be asked among documents.

        Raises:
            ValueError: the text is empty.
            TextRefusedError: it cannot be embedded.
            EmbeddingAssetsError: nothing can be embedded now.
            RuntimeError: the service is closed, or was before there was an answer.
        """
        self._check([text])
        _refuse_blank([text])
        return await self._gatherer.submit((query, current_run_id()), text)

    @overload
    async def batch_generate(
        self, texts: Sequence[str], *, query: bool = False, errors: Literal["raise"] = "raise"
    ) -> EmbeddedVectors: ...

    @overload
    async def batch_generate(
        self, texts: Sequence[str], *, query: bool = False, errors: Literal["return"]
    ) -> list[EmbeddedVector | EmbeddingAssetsError]: ...

    async def batch_generate(
        self, texts: Sequence[str], *, query: bool = False, errors: Literal["raise", "return"] = "raise"
    ) -> EmbeddedVectors | list[EmbeddedVector | EmbeddingAssetsError]:
        """The vectors of texts, of documents or of questions, in their order, all in one space.

        Args:
            texts: may be many; requests and batches are made of them.
            query: whether they are questions.
            errors: ``raise``: all vectors or none; the first error ends the call. ``return``: what is embedded is kept.

        Returns:
            With ``raise``, ``EmbeddedVectors``: a list of ``len(texts)`` vectors. With ``return``, a list of
            ``len(texts)``, in which each place holds the text's ``EmbeddedVector`` or its error: a
            ``TextRefusedError`` where that text is at fault, blank ones included, and otherwise what ended the call
            before its turn.

        Raises:
            TypeError: something is no text; names its position.
            ValueError: a text is empty; names its position. With ``raise`` only, as all that follow.
            TextRefusedError: a text cannot be embedded; names its position and an error code, never the text.
            EmbeddingAssetsError: nothing more can be embedded now.
            RuntimeError: the service is closed, or was before there was an answer; with ``return`` too.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f"errors is 'raise' or 'return', not {errors!r}")
        self._check(texts)
        if errors == "raise":
            _refuse_blank(texts)
            if not texts:
                space = await asyncio.get_running_loop().run_in_executor(self._threads, lambda: self.space)
                return EmbeddedVectors([], space)
            answer = await self._call(texts, query=query, strict=True)
            return EmbeddedVectors(answer.whole(), answer.space)
        outcomes: list[EmbeddedVector | EmbeddingAssetsError] = [
            TextRefusedError(index, len(texts), "blank_text") for index in range(len(texts))
        ]
        readable = [index for index, text in enumerate(texts) if text.strip()]
        if readable:
            answer = await self._call([texts[index] for index in readable], query=query, strict=False)
            for index, outcome in zip(readable, answer.each(), strict=True):
                outcomes[index] = _placed(outcome, index, len(texts))
        return outcomes

    def get_cost(self) -> EmbeddingCost:
        """Costs of this service's calls so far; only time with the local provider."""
        with self._counting:
            return EmbeddingCost(texts=self._texts, tokens=self._tokens, usd=round(self._usd, 12))

    def close(self) -> None:
        """Give up calls that are under way, then close what this service has opened. It takes no calls afterwards."""
        self._closed = True
        with self._counting:
            under_way = list(self._under_way)
        for given_up in under_way:
            given_up.cancel()
        self._threads.shutdown()
        self._opened.close()

    def _check(self, texts: Sequence[str]) -> None:
        if self._closed:
            raise RuntimeError(_CLOSED)
        if isinstance(texts, str):
            raise TypeError("batch_generate takes a list of texts, but was given one text; generate takes that")
        other = next(((index, text) for index, text in enumerate(texts) if not isinstance(text, str)), None)
        if other is not None:
            raise TypeError(f"text {other[0]} of {len(texts)} is no text, but of type {type(other[1]).__name__}")

    async def _embed_gathered(
        self, kind: tuple[bool, str], texts: Sequence[str]
    ) -> Sequence[EmbeddedVector | EmbeddingAssetsError]:
        answer = await self._call(texts, query=kind[0], strict=False)
        return [_placed(outcome, 0, 1) for outcome in answer.each()]

    async def _call(self, texts: Sequence[str], *, query: bool, strict: bool) -> _Answer:
        """Embed texts in a thread, where the event loop goes on; ``strict``: only until the first is refused."""
        given_up: Future[None] = Future()
        with self._counting:
            if self._closed:
                raise RuntimeError(_CLOSED)
            self._under_way.add(given_up)
        loop, context = asyncio.get_running_loop(), copy_context()
        try:
            return await loop.run_in_executor(self._threads, context.run, self._embed, texts, query, strict, given_up)
        except CallCancelledError:
            raise RuntimeError("this EmbeddingService was closed before there was an answer; close it later") from None
        finally:
            # Cancelled, this call waits no longer, and its thread is to be free for others.
            given_up.cancel()
            with self._counting:
                self._under_way.discard(given_up)

    def _embed(self, texts: Sequence[str], query: bool, strict: bool, given_up: Future[None]) -> _Answer:
        with correlate(current_run_id() or self._run_id), cancellable(given_up):
            check_cancelled()
            answer = self._embed_by(self._primary(), texts, query, strict)
            if isinstance(answer.failure, ProviderUnavailableError):
                return self._embed_instead(texts, query, strict, answer)
            if answer.failure is None:
                self._note(down=False)
            return answer

    def _embed_instead(self, texts: Sequence[str], query: bool, strict: bool, stopped: _Answer) -> _Answer:
        """By the fallback, all of them again: vectors of two spaces must not meet in one answer."""
        outage = stopped.failure
        try:
            fallback = self._fallback()
            answer = self._embed_by(fallback, texts, query, strict) if fallback is not None else stopped
        except EmbeddingAssetsError as error:
            answer = _Answer(stopped.space, len(texts), failure=error)
        if answer.failure not in (None, outage):
            answer.failure.__cause__ = outage
        if strict or answer.vectors or answer.refused:
            return answer
        return stopped if stopped.vectors else answer  # of which something was paid for

    def _embed_by(self, provider: EmbeddingProvider, texts: Sequence[str], query: bool, strict: bool) -> _Answer:
        answer = _Answer(provider.space, len(texts))
        try:
            with closing(embed_checked(provider, texts, query=query)) as batches:
                for batch in batches:
                    with self._counting:
                        self._tokens += sum(batch.token_counts) + batch.overhead_tokens
                        self._usd += batch.usd
                    # Here and not on the event loop: thousands of them take a second.
                    for index, numbers in zip(batch.indices, batch.vectors.tolist(), strict=True):
                        answer.vectors[index] = EmbeddedVector(numbers, provider.space)
                    for index, code in batch.errors.items():
                        answer.refused[index] = TextRefusedError(index, len(texts), code)
                    if strict and answer.refused:
                        return answer
                    check_cancelled()
        except EmbeddingAssetsError as failure:
            if len(answer.vectors) + len(answer.refused) < len(texts):
                answer.failure = failure
            else:
                logger.warning("all vectors are there, but what followed failed: %s", failure)
        if not strict or answer.failure is None:
            with self._counting:
                self._texts += len(answer.vectors)
        return answer

    def _primary(self) -> EmbeddingProvider:
        with self._opening:
            if self._provider is None:
                self._provider = self._create(self._settings)
            return self._provider

    def _fallback(self) -> EmbeddingProvider | None:
        settings = fallback_settings(self._settings, self.space)
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
        provider = create_provider(settings, self._database)
        if isinstance(provider, OpenAIProvider):
            self._opened.callback(provider.close)
        return provider

    def _note(self, *, down: bool) -> None:
        """Log when an outage is first met, and when it is over: not with every call."""
        with self._counting:
            changed, self._down = down != self._down, down
        if changed and down:
            logger.warning("%s is down: calls are answered by the fallback, in its own space", self._kind)
        elif changed:
            logger.warning("%s is back: calls are answered by it again", self._kind)


def _placed(
    outcome: EmbeddedVector | EmbeddingAssetsError, index: int, texts: int
) -> EmbeddedVector | EmbeddingAssetsError:
    """An outcome whose text is that of ``texts`` in the call of its caller."""
    return TextRefusedError(index, texts, outcome.code) if isinstance(outcome, TextRefusedError) else outcome


def _refuse_blank(texts: Sequence[str]) -> None:
    blank = next((index for index, text in enumerate(texts) if not text.strip()), None)
    if blank is not None:
        raise ValueError(f"text {blank} of {len(texts)} is empty or blank")


_services: weakref.WeakSet[EmbeddingService] = weakref.WeakSet()


def _renew_all() -> None:
    for service in list(_services):
        service._renew()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_all)
