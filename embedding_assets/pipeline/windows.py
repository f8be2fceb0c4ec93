"""Windows of due chunks: fetched ahead, and looked at again where they have grown old before they are encoded."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.planning import contiguous
from embedding_assets.postgres.backlog import PendingChunk, fetch_pending, still_due

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.locks import PrefixLocks
    from embedding_assets.spaces import SpaceColumn

_FRESH_SECONDS: Final = 2.0
"""For which what was fetched is taken to be as it was; a window on a GPU is encoded within that."""

_LOOK_AT: Final = 2048
"""Chunks that are looked at by one query."""


@dataclass(frozen=True, slots=True)
class Window:
    """Chunks that were due when they were fetched, which was begun at ``fetched_at`` by ``time.monotonic``."""

    chunks: list[PendingChunk]
    fetched_at: float


class Windows:
    """The due chunks of the buckets that a run holds, window by window.

    Args:
        database: where.
        column: the space to embed in.
        locks: those of the run.
        limit: most chunks in a window.
        also_in: a second space in which the chunks must be due too.
        prepare: is given the texts of a window once they are fetched, while those before are worked on.

    Attributes:
        fetching: the window that is fetched, or was last.
    """

    def __init__(
        self,
        database: Database,
        column: SpaceColumn,
        locks: PrefixLocks,
        *,
        limit: int,
        also_in: SpaceColumn | None = None,
        prepare: Callable[[Sequence[str]], object] = lambda _: None,
    ) -> None:
        self._prepare = prepare
        self.fetching: Future[Window] | None = None
        self._database = database
        self._column = column
        self._locks = locks
        self._limit = limit
        self._also_in = also_in
        self._unsure_until = float("-inf")

    def fetch(self, executor: ThreadPoolExecutor) -> Iterator[Window]:
        """Windows in hash order; while one is worked on, the next is fetched."""
        for buckets in contiguous(self._locks.held):
            future = self._begin(executor, buckets, "")
            while (window := future.result()).chunks:
                future = self._begin(executor, buckets, window.chunks[-1].chunk_hash)
                yield window

    def check_locks(self) -> None:
        """Make sure that the buckets are held; where they were not for a moment, what was fetched is looked at again.

        Raises:
            DatabaseError: they cannot be taken again.
        """
        if not self._locks.check():
            self._unsure_until = time.monotonic()

    def due_of(self, window: Window) -> tuple[list[PendingChunk], list[PendingChunk]]:
        """The chunks of a window that are to be encoded, and those that no longer are due; neither those of others."""
        mine = self._mine(window.chunks)
        wanted = self.still_due(mine, window.fetched_at)
        return [chunk for chunk in mine if chunk.chunk_hash in wanted], [
            chunk for chunk in mine if chunk.chunk_hash not in wanted
        ]

    def still_due(self, chunks: Sequence[PendingChunk], fetched_at: float) -> Collection[str]:
        """The hashes of those of ``chunks`` that are this run's, have no vector, and the text that was fetched.

        The table is asked only where they were fetched some seconds ago, or before the locks were lost.
        """
        mine = self._mine(chunks)
        if time.monotonic() - fetched_at < _FRESH_SECONDS and fetched_at > self._unsure_until:
            return {chunk.chunk_hash for chunk in mine}
        due: set[str] = set()
        for start in range(0, len(mine), _LOOK_AT):
            due |= still_due(self._database, self._column, mine[start : start + _LOOK_AT])
        return due

    def _mine(self, chunks: Sequence[PendingChunk]) -> list[PendingChunk]:
        held = set(self._locks.held)
        return [chunk for chunk in chunks if int(chunk.chunk_hash[:2], 16) in held]

    def _begin(self, executor: ThreadPoolExecutor, buckets: range, after: str) -> Future[Window]:
        # In a copy of the context, so that what the helper thread logs carries the run's id.
        self.fetching = executor.submit(copy_context().run, self._fetch, buckets, after)
        return self.fetching

    def _fetch(self, buckets: range, after: str) -> Window:
        fetched_at = time.monotonic()
        chunks = fetch_pending(
            self._database, self._column, buckets, after=after, limit=self._limit, also_in=self._also_in
        )
        self._prepare([chunk.text for chunk in chunks])
        return Window(chunks, fetched_at)
