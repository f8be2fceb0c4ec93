"""Searching: once, or again and again by one that keeps its model and its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from embedding_assets.config import Settings, get_settings
from embedding_assets.logs import correlate
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.conditions import Condition, conditions_of
from embedding_assets.providers.space_selection import select_for_search
from embedding_assets.retrieval.answer import Answer
from embedding_assets.retrieval.question import Question, SearchMode
from embedding_assets.retrieval.sides import Sides

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider

_PATIENCE_SECONDS: Final = 5.0
"""Longest time that a question waits for an API that is down, or has no room within its limits."""


class Searcher:
    """One table to be asked, by any number of threads or tasks; model and connections are kept until ``close``.

    Args:
        settings: default: from the environment.
        database: default: the configured one, opened at once and closed with this.
        provider: one of your own, for questions in its space; default: that of each space.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        database: Database | None = None,
        provider: EmbeddingProvider | None = None,
    ) -> None:
        self.settings = settings or get_settings()
        self._stack = ExitStack()
        self.database = database or self._stack.enter_context(open_database(self.settings, reading=True))
        self._provider = provider

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database if it was opened by this."""
        self._stack.close()

    def ask(self, question: Question) -> Answer:
        """The answer to a question.

        Raises:
            ConfigurationError: nothing was embedded yet, or a condition is none.
            ProviderError: the query cannot be embedded.
        """
        with correlate():
            serving = select_for_search(self.settings, self.database, self._provider).column
            patient = self.settings.with_patience(_PATIENCE_SECONDS)
            return Answer(tuple(Sides(question, patient, self.database, self._provider).run(serving)))

    async def ask_async(self, question: Question) -> Answer:
        """The same in a thread, so that other tasks go on."""
        return await asyncio.to_thread(self.ask, question)

    def search(
        self,
        query: str,
        *,
        k: int = 5,
        where: Mapping[str, str] | Sequence[Condition | str] = (),
        mode: SearchMode = "vector",
    ) -> Answer:
        """The answer to a question of these parts."""
        return self.ask(Question(query, k=k, where=conditions_of(where), mode=mode))


def search(
    query: str,
    *,
    k: int = 5,
    where: Mapping[str, str] | Sequence[Condition | str] = (),
    mode: SearchMode = "vector",
    settings: Settings | None = None,
    database: Database | None = None,
    provider: EmbeddingProvider | None = None,
) -> Answer:
    """The ``k`` chunks nearest to ``query``, best first.

    Chunks that so far only the fallback has embedded are searched in its space, with the query embedded by its model,
    and the two rankings are merged by reciprocal rank. While the serving space's provider is down, the fallback's space
    alone is searched, and a warning logged with the number of chunks that this leaves out.

    Args:
        query: a question in plain words.
        k: how many, at least 1.
        where: only chunks of which this holds: fields of their metadata that must be equal to a value, or conditions
            such as ``"price<10"``, all of which must hold.
        mode: by what the chunks are ranked.
        settings: default: from the environment.
        database: default: the configured one, opened for this call.
        provider: one of your own, for the question in its space; default: that of each space.

    Raises:
        ConfigurationError: nothing was embedded yet, the query is blank, ``k`` is out of bounds, or a condition
            is none.
        ProviderError: the query cannot be embedded.
    """
    question = Question(query, k=k, where=conditions_of(where), mode=mode)
    with Searcher(settings, database=database, provider=provider) as searcher:
        return searcher.ask(question)
