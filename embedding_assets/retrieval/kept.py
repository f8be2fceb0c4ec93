"""Searching by a call: what answers is kept for the next one."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from embedding_assets.config import SearchMode, Settings, get_settings
from embedding_assets.postgres.conditions import Where, conditions_of
from embedding_assets.retrieval.question import Question
from embedding_assets.retrieval.searcher import Searcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.retrieval.answer import Answer

_MOST_KEPT: Final = 8
"""Settings that a process searches under in turn; beyond, the first is opened again."""

_kept: list[Searcher] = []
_lock = threading.Lock()


def search(
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
    settings: Settings | None = None,
    database: Database | None = None,
    provider: EmbeddingProvider | None = None,
) -> Answer:
    """The ``k`` chunks that answer ``query``, best first, each text once.

    Model and connections are kept for the next call under the same settings, until the process ends; ``Searcher`` keeps
    them for as long as you want.

    Chunks that so far only the fallback has embedded are found in its space; their texts are then embedded as those of
    the serving space are, and compared as they are. While the serving space's provider is down, the fallback's space
    alone is asked, beside the words. The notes of the answer say what is left out.

    Args:
        query: a question in plain words, or an identifier.
        k: how many, 1 to 1,000.
        mode: by what the chunks are ranked: ``hybrid``, ``vector`` or ``text``; default: as configured.
        where: only chunks of which this holds: fields of their metadata that must be equal to a value, or to one of
            several, or conditions such as ``"price<10"``, one or a list, all of which must hold.
        min_score: least similarity; chunks that hold every word of the query, rare ones, need not have it.
        context: neighbours within the document to show on either side of a chunk.
        rerank: whether the configured reranker puts the first chunks in order.
        space: name of the vector space to ask in, or its beginning; default: the one that serves searches.
        ef_search: how thoroughly the vector index is searched; default: as configured.
        settings: default: from the environment.
        database: default: the configured one, which is kept open.
        provider: one of your own, for the question in its space; default: that of each space.

    Raises:
        ConfigurationError: nothing was embedded yet, the query is blank, a value is out of bounds, or a condition is
            none.
        ProviderError: the query cannot be embedded.
        DatabaseError: PostgreSQL cannot be reached, or refuses.
    """
    question = Question(query, k, mode, conditions_of(where), min_score, context, rerank, space, ef_search)
    with _searcher(settings, database, provider) as searcher:
        return searcher.ask(question)


async def search_async(
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
    settings: Settings | None = None,
) -> Answer:
    """As ``search``, in a thread, so that other tasks go on.

    As many searches run side by side as there are connections; others wait for their turn.

    Raises:
        ConfigurationError: as ``search`` does.
        ProviderError: as ``search`` does.
        DatabaseError: as ``search`` does.
    """
    question = Question(query, k, mode, conditions_of(where), min_score, context, rerank, space, ef_search)
    # Opening it may take seconds: a server is started, or waited for.
    searcher = _find(settings)
    if searcher is None:
        searcher = await asyncio.to_thread(_keep, settings)
    return await searcher.ask_async(question)


def close_searchers() -> None:
    """Close what ``search`` and ``search_async`` keep; a later call opens it again."""
    with _lock:
        searchers, _kept[:] = _kept[:], []
    for searcher in searchers:
        searcher.close()


@contextmanager
def _searcher(
    settings: Settings | None, database: Database | None, provider: EmbeddingProvider | None
) -> Iterator[Searcher]:
    """The one of these settings; one for this call where database or provider are the caller's."""
    if database is None and provider is None:
        yield _find(settings) or _keep(settings)
        return
    with Searcher(settings, database=database, provider=provider) as searcher:
        yield searcher


def _find(settings: Settings | None) -> Searcher | None:
    wanted = settings or get_settings()
    with _lock:
        return next((one for one in _kept if _are_same(one.settings, wanted)), None)


def _keep(settings: Settings | None) -> Searcher:
    """One of these settings, opened unless another thread has done so meanwhile."""
    wanted = settings or get_settings()
    opened = Searcher(wanted)
    with _lock:
        known = next((one for one in _kept if _are_same(one.settings, wanted)), None)
        dropped = [opened] if known else _kept[: max(0, len(_kept) - _MOST_KEPT + 1)]
        if known is None:
            _kept[:] = [*_kept[len(dropped) :], opened]
    for searcher in dropped:
        searcher.close()
    return known if known is not None else opened


def _are_same(one: Settings, other: Settings) -> bool:
    """Whether two settings agree, also in what was set and what is a default: a table's model is followed by that."""
    groups = Settings.model_fields
    return one == other and all(
        getattr(getattr(one, name), "model_fields_set", None) == getattr(getattr(other, name), "model_fields_set", None)
        for name in groups
    )


def _forget_all() -> None:
    """In a forked process: what is kept is the parent's, who goes on with it."""
    global _lock  # noqa: PLW0603 (a thread of the parent may have held it, and is not here)
    _lock = threading.Lock()
    _left_to_parents.extend(_kept)
    _kept.clear()


_left_to_parents: list[Searcher] = []
"""Not closed, and not collected either."""

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)

atexit.register(close_searchers)
