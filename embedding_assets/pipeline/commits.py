"""Chunks on their way into the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from embedding_assets.postgres.failures import FailedChunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedding_assets.postgres.backlog import PendingChunk
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.interruption import Interruptible
    from embedding_assets.postgres.vectors import WriteOutcome

_PATIENCE_SECONDS: Final = 2.0
"""With what is written after an interrupt, before somebody's lock on it is reason enough to cancel that."""

_MOST_PATIENCE_SECONDS: Final = 20.0


class CommitBatch:
    """Chunks that are written together: embedded ones with their vectors, and those that failed."""

    def __init__(self) -> None:
        self.failed: list[FailedChunk] = []
        self.begun = time.monotonic()
        # In pairs: an interrupt between two lists would leave one of them longer.
        self._embedded: list[tuple[list[PendingChunk], NDArray[np.float32]]] = []

    def __len__(self) -> int:
        return len(self.chunks) + len(self.failed)

    @property
    def chunks(self) -> list[PendingChunk]:
        """Those with a vector."""
        return [chunk for chunks, _ in self._embedded for chunk in chunks]

    def add(self, chunks: list[PendingChunk], vectors: NDArray[np.float32]) -> None:
        """Add chunks with their vectors, shape (len(chunks), dimensions)."""
        self._embedded.append((chunks, vectors))

    def fail(self, chunk: PendingChunk, code: str) -> None:
        """Add a chunk that could not be embedded."""
        self.failed.append(FailedChunk(chunk.chunk_hash, code, chunk.key, chunk.fingerprint))

    def vectors(self) -> NDArray[np.float32]:
        """Those of ``chunks``, shape (len(chunks), dimensions)."""
        return np.concatenate([vectors for _, vectors in self._embedded])


class Writer:
    """Writes commit batches in the background; at most one write is under way, so memory stays bounded.

    Args:
        executor: of one thread.
        write: writes a batch; returns what became of it.
        note: is given each batch, once it is written, with what ``write`` returned; by the thread that calls this.
    """

    def __init__(
        self,
        executor: ThreadPoolExecutor,
        write: Callable[[CommitBatch], WriteOutcome],
        note: Callable[[CommitBatch, WriteOutcome], None],
    ) -> None:
        self._executor = executor
        self._write = write
        self._note = note
        self._under_way: tuple[CommitBatch, Future[WriteOutcome]] | None = None

    def submit(self, batch: CommitBatch) -> None:
        """Begin to write a batch, when the last one is written.

        Raises:
            EmbeddingAssetsError: that could not be.
        """
        self.finish()
        self._under_way = batch, self._executor.submit(copy_context().run, self._write, batch)

    def finish(self) -> None:
        """Wait for the write that is under way.

        Raises:
            EmbeddingAssetsError: it failed.
        """
        if self._under_way is None:
            return
        batch, future = self._under_way
        try:
            outcome = future.result()
        except Exception:
            self._under_way = None  # raised once
            raise
        self._under_way = None
        self._note(batch, outcome)

    def wind_up(
        self, last: CommitBatch, work: Interruptible, database: Database, *, besides: Future[Any] | None
    ) -> None:
        """After an interrupt: write what is embedded, unless that waits for somebody else, and end the work.

        Args:
            last: embedded, and perhaps not submitted yet.
            work: what the writing and ``besides`` are part of.
            database: where.
            besides: other work to end, from which nothing is expected.

        Raises:
            EmbeddingAssetsError: not all was written.
        """
        batches = [last] if last and (self._under_way is None or self._under_way[0] is not last) else []
        while self._is_free(work, database) and batches:
            self.submit(batches.pop())
        work.give_up([future for future in (besides, self._under_way and self._under_way[1]) if future])
        self.finish()

    def _is_free(self, work: Interruptible, database: Database) -> bool:
        """Wait for the write that is under way; False if it waits for somebody else, or takes far too long."""
        if self._under_way is None:
            return True
        deadline = time.monotonic() + _MOST_PATIENCE_SECONDS
        while not wait([self._under_way[1]], timeout=_PATIENCE_SECONDS).done:
            if time.monotonic() > deadline or work.is_blocked(database.session):
                return False
        self.finish()
        return True
