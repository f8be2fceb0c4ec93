"""Searching again and again, by one that keeps its models and its connections."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from embedding_assets.config import SearchMode, Settings, get_settings
from embedding_assets.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError
from embedding_assets.logs import correlate
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.conditions import Where, conditions_of
from embedding_assets.retrieval.answering import Answering
from embedding_assets.retrieval.known import Known
from embedding_assets.retrieval.question import Question

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.retrieval.answer import Answer

_PATIENCE_SECONDS: Final = 5.0
"""Longest time that a question waits for an API that is down, or has no room within its limits."""


class Searcher:
    """One table to be asked, by any number of threads or tasks; models and connections are kept until ``close``.

    As many questions are answered side by side as there are connections (``EMBEDDING_DATABASE_POOL_SIZE``); others wait
    for their turn. What is known of the table's spaces is some seconds old at most. After a fork the child has
    connections and models of its own.

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
        self._known = Known(self.settings.with_patience(_PATIENCE_SECONDS), self.database, provider)
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(self.settings.database.pool_size)
        self._threads: ThreadPoolExecutor | None = None
        _searchers.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way, and close the connections; the database too if it was opened by this."""
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)
        self._known.close()
        self._stack.close()

    def ask(self, question: Question) -> Answer:
        """The answer to a question.

        Raises:
            ConfigurationError: nothing was embedded yet, there is no such space, or a condition is none.
            ProviderError: the query cannot be embedded.
            DatabaseError: PostgreSQL cannot be reached, or refuses.
        """
        with correlate(), self._places:
            seen = self._known.seen()
            try:
                return Answering(question, self._known).run()
            except DatabaseUnavailableError:
                raise
            except (DatabaseError, ConfigurationError):
                # A space may have been dropped, or another one may serve, since they were read.
                if not self._known.has_changed(seen):
                    raise
            return Answering(question, self._known).run()

    async def ask_async(self, question: Question) -> Answer:
        """The same in a thread, so that other tasks go on. A task that is cancelled waits no longer.

        Raises:
            ConfigurationError: as ``ask`` does.
            ProviderError: as ``ask`` does.
            DatabaseError: as ``ask`` does.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor(), copy_context().run, self.ask, question)

    def search(
        self,
        query: str,
        *,
        k: int = 5,
        mode: SearchMode | None = None,
        where: Where = (),
        min_score: float | None = None,
        context: int = 0,
        rerank: bool = False,
        space: str | None = None,
        ef_search: int | None = None,
    ) -> Answer:
        """The answer to a question of these parts."""
        return self.ask(
            Question(
                query,
                k=k,
                mode=mode,
                where=conditions_of(where),
                min_score=min_score,
                context=context,
                rerank=rerank,
                space=space,
                ef_search=ef_search,
            )
        )

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(
                    self.settings.database.pool_size, thread_name_prefix="embedding-assets-search"
                )
            return self._threads

    def _renew(self) -> None:
        """In a forked process: its threads are none of the parent's."""
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(self.settings.database.pool_size)
        self._threads = None
        self._known.renew()


_searchers: weakref.WeakSet[Searcher] = weakref.WeakSet()


def _renew_all() -> None:
    for searcher in list(_searchers):
        searcher._renew()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_all)
