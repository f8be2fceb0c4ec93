"""The embedding loop: pending chunks of a prefix range become vectors in the table."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING

import numpy as np

from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import EmbeddingAssetsError
from embedding_assets.logs import correlate
from embedding_assets.models import EmbeddingStats, PrefixStats
from embedding_assets.planning import PrefixRange, contiguous
from embedding_assets.postgres.chunks import PendingChunk, fetch_pending
from embedding_assets.postgres.connection import Database, open_database
from embedding_assets.postgres.failures import record_failures
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.runs import record_run
from embedding_assets.postgres.spaces import SpaceRecord, register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.factory import open_space, provider_for

if TYPE_CHECKING:
    from embedding_assets.providers.base import EmbeddedBatch, EmbeddingProvider

__all__ = ["EmbeddingGenerator"]

logger = logging.getLogger(__name__)

COMMIT_CHUNKS = 1024
"""An embedded portion of this size is committed at once, before ``EMBEDDING_COMMIT_SECONDS`` have passed."""


class EmbeddingGenerator:
    """Embeds what is pending in a range of prefixes.

    What is pending is read from the table, so a run that was killed is finished by the next one. Fetching the next
    window and writing the last portion overlap with encoding; no transaction is open meanwhile.

    Args:
        settings: default: from the environment.
        prefixes: the range to work on; default: all.
        database: default: the configured one, opened and migrated for each call.
        provider: default: the configured one.
        on_progress: called with the number of chunks finished since the last call, from the calling thread.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        prefixes: PrefixRange | None = None,
        database: Database | None = None,
        provider: EmbeddingProvider | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self._settings = settings or get_settings()
        self._prefixes = prefixes or PrefixRange("0", "f")
        self._database = database
        self._provider = provider
        self._on_progress = on_progress or (lambda _: None)

    def generate_embeddings_batch(self, batch_size: int | None = None) -> EmbeddingStats:
        """Embed until nothing is due in the range.

        Args:
            batch_size: most texts in one forward pass, 1 to 512; default ``EMBEDDING_BATCH_SIZE``.

        Returns:
            What was done. Chunks that failed alone are counted and recorded, not raised.

        Raises:
            EmbeddingAssetsError: the run cannot go on; what was committed stays, and the next run continues there.
        """
        settings = self._settings
        if batch_size is not None:
            settings = settings.with_embedding(batch_size=batch_size)
        with ExitStack() as stack:
            database = self._database or stack.enter_context(open_database(settings))
            if self._provider is None:
                record = open_space(settings, database)
                provider = provider_for(settings, record, database)
            else:
                provider = self._provider
                record = register_space(database, provider.space, new_space=settings.embedding.new_space)
            stack.enter_context(correlate())
            return _Run(
                settings=settings,
                database=database,
                record=record,
                provider=provider,
                prefixes=self._prefixes,
                on_progress=self._on_progress,
            ).execute()


class _Portion:
    """Embedded chunks that wait for one commit."""

    def __init__(self) -> None:
        self.chunks: list[PendingChunk] = []
        self.vectors: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
        self.failed: dict[str, str] = {}
        self.failed_versions: dict[str, int] = {}
        self.begun = time.monotonic()

    def fail(self, chunk: PendingChunk, code: str) -> None:
        self.failed[chunk.chunk_hash] = code
        self.failed_versions[chunk.chunk_hash] = chunk.text_version

    @property
    def size(self) -> int:
        return len(self.chunks) + len(self.failed)


class _Run:
    """One pass over a prefix range: owns the locks, the two helper threads and the counters."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        record: SpaceRecord,
        provider: EmbeddingProvider,
        prefixes: PrefixRange,
        on_progress: Callable[[int], None],
    ) -> None:
        self._config = settings.embedding
        self._database = database
        self._record = record
        self._provider = provider
        self._prefixes = prefixes
        self._on_progress = on_progress
        self._counts: dict[str, Counter[str]] = {}
        self._pending_write: Future[set[str]] | None = None
        self._written_portion = _Portion()

    def execute(self) -> EmbeddingStats:
        load_seconds = 0.0
        started = time.monotonic()
        with ExitStack() as stack:
            self._locks = PrefixLocks(self._database, self._record.space.name)
            stack.callback(self._locks.close)
            held = self._locks.acquire(self._prefixes.buckets)
            busy = sorted(set(self._prefixes.buckets) - set(held))
            if busy:
                logger.warning(
                    "%d of %d hash ranges are held by another run and left to it",
                    len(busy),
                    len(self._prefixes.buckets),
                )
            fetcher = stack.enter_context(ThreadPoolExecutor(1, "fetch"))
            writer = stack.enter_context(ThreadPoolExecutor(1, "write"))
            try:
                for window in self._windows(held, fetcher):
                    if not load_seconds:
                        # Only now: a range without work must not pay for loading a model.
                        load_seconds = self._provider.load()
                    self._locks.check()
                    self._embed_window(window, writer)
            except BaseException:
                # What is on its way will be committed, so the log must say so too.
                with suppress(EmbeddingAssetsError):
                    self._finish_write()
                raise
            self._finish_write()
        stats = self._stats(time.monotonic() - started - load_seconds, load_seconds, busy)
        record_run(self._database, stats)
        logger.info(
            "run finished: %d embedded, %d failed, %d skipped, %.1f chunks/s",
            stats.embedded,
            stats.failed,
            stats.skipped,
            stats.chunks_per_second,
            extra=stats.model_dump(exclude={"prefixes"}),
        )
        return stats

    def _windows(self, held: list[int], fetcher: ThreadPoolExecutor) -> Iterator[list[PendingChunk]]:
        """Windows of due chunks in hash order; while one is worked on, the next is fetched."""
        for buckets in contiguous(held):
            # In copies of the context, so that what the helper threads log carries the run's id.
            future = fetcher.submit(copy_context().run, self._fetch, buckets, "")
            while window := future.result():
                future = fetcher.submit(copy_context().run, self._fetch, buckets, window[-1].chunk_hash)
                yield window

    def _fetch(self, buckets: range, after: str) -> list[PendingChunk]:
        limit = max(self._config.window_size, self._provider.window_texts)
        return fetch_pending(self._database, self._record, buckets, after=after, limit=limit)

    def _embed_window(self, window: list[PendingChunk], writer: ThreadPoolExecutor) -> None:
        portion = _Portion()
        # ``load`` refuses blank texts, but an adopted table may hold them; a vector of nothing would match anything.
        readable = [chunk for chunk in window if chunk.text.strip()]
        for chunk in window:
            if not chunk.text.strip():
                portion.fail(chunk, "blank_text")
        self._on_progress(portion.size)
        for batch in embed_checked(self._provider, [chunk.text for chunk in readable]):
            self._collect(readable, batch, portion)
            self._on_progress(len(batch.indices) + len(batch.errors))
            overdue = time.monotonic() - portion.begun >= self._config.commit_seconds
            if portion.size >= COMMIT_CHUNKS or (overdue and portion.size):
                self._submit(portion, writer)
                portion = _Portion()
        if portion.size:
            self._submit(portion, writer)

    def _collect(self, window: list[PendingChunk], batch: EmbeddedBatch, portion: _Portion) -> None:
        for row, index in enumerate(batch.indices):
            chunk = window[index]
            portion.chunks.append(chunk)
            portion.vectors.append(batch.vectors[row])
            counts = self._count(chunk.chunk_hash)
            counts["tokens"] += batch.token_counts[row]
            counts["truncated"] += batch.truncated[row]
        for index, code in batch.errors.items():
            portion.fail(window[index], code)

    def _submit(self, portion: _Portion, writer: ThreadPoolExecutor) -> None:
        """Write in the background; at most one write is under way, so memory stays bounded."""
        self._finish_write()
        self._written_portion = portion
        self._pending_write = writer.submit(copy_context().run, self._write, portion)
        # After handing over what is embedded: if the locks are gone, another run may be at the same chunks.
        self._locks.check()

    def _write(self, portion: _Portion) -> set[str]:
        record_failures(
            self._database,
            self._record.space.name,
            portion.failed,
            self._config,
            text_versions=portion.failed_versions,
        )
        if not portion.chunks:
            return set()
        return write_vectors(self._database, self._record, portion.chunks, np.stack(portion.vectors))

    def _finish_write(self) -> None:
        if self._pending_write is None:
            return
        future, self._pending_write = self._pending_write, None
        written = future.result()
        for chunk in self._written_portion.chunks:
            self._count(chunk.chunk_hash)["embedded" if chunk.chunk_hash in written else "skipped"] += 1
        for chunk_hash, code in self._written_portion.failed.items():
            self._count(chunk_hash)["failed"] += 1
            logger.warning(
                "chunk %s failed: %s", chunk_hash, code, extra={"chunk_hash": chunk_hash, "error_code": code}
            )
        failed = len(self._written_portion.failed)
        logger.info("committed %d vectors", len(written), extra={"embedded": len(written), "failed": failed})

    def _count(self, chunk_hash: str) -> Counter[str]:
        return self._counts.setdefault(chunk_hash[: self._config.prefix_length], Counter())

    def _stats(self, seconds: float, load_seconds: float, busy: list[int]) -> EmbeddingStats:
        prefixes = {prefix: PrefixStats(**counts) for prefix, counts in sorted(self._counts.items())}
        total: Counter[str] = sum(self._counts.values(), Counter())
        length = self._config.prefix_length
        return EmbeddingStats(
            space=self._record.space.name,
            embedded=total["embedded"],
            failed=total["failed"],
            skipped=total["skipped"],
            truncated=total["truncated"],
            tokens=total["tokens"],
            seconds=seconds,
            model_load_seconds=load_seconds,
            peak_memory_bytes=peak_memory_bytes(),
            device=self._provider.device,
            precision=self._provider.precision,
            busy_prefixes=sorted({format(bucket, "02x")[:length] for bucket in busy}),
            prefixes=prefixes,
        )


def peak_memory_bytes() -> int:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes elsewhere
