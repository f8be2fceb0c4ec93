"""The embedding loop: pending chunks of a prefix range become vectors in the table."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING

import numpy as np

from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import EmbeddingAssetsError, ProviderError, ProviderUnavailableError
from embedding_assets.logs import correlate
from embedding_assets.models import EmbeddingStats, PrefixStats
from embedding_assets.planning import PrefixRange, contiguous
from embedding_assets.postgres.backlog import PendingChunk, fetch_pending
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import save_failures
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.runs import save_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.selection import open_space, provider_for, stand_in_settings
from embedding_assets.spaces import SpaceColumn

if TYPE_CHECKING:
    from embedding_assets.providers.base import EmbeddedBatch, EmbeddingProvider


logger = logging.getLogger(__name__)

COMMIT_CHUNKS = 1024
"""An embedded portion of this size is committed at once, before ``EMBEDDING_COMMIT_SECONDS`` have passed."""


class EmbeddingGenerator:
    """Embeds what is pending in a range of prefixes.

    What is pending is read from the table, so a run that was killed is finished by the next one. Fetching the next
    window and writing the last portion overlap with encoding; no transaction is open meanwhile.

    While the provider is down, the fallback, if there is one, goes on in its own space. The chunks stay pending in the
    provider's, and the next run after the outage embeds them there.

    Args:
        settings: default: from the environment.
        prefixes: the range to work on; default: all.
        database: default: the configured one, opened and migrated for each call.
        provider: default: the configured one.
        on_progress: called with the number of chunks finished since the last call, from the calling thread.
        before_writing: called once, before the first vectors are written, and not for the fallback's: what should only
            happen once the provider is known to work. If it fails, so does the run.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        prefixes: PrefixRange | None = None,
        database: Database | None = None,
        provider: EmbeddingProvider | None = None,
        on_progress: Callable[[int], None] | None = None,
        before_writing: Callable[[], object] | None = None,
    ) -> None:
        self._settings = settings or get_settings()
        self._prefixes = prefixes or PrefixRange("0", "f")
        self._database = database
        self._provider = provider
        self._on_progress = on_progress or (lambda _: None)
        self._before_writing = before_writing

    def generate_embeddings_batch(self, batch_size: int | None = None) -> EmbeddingStats:
        """Embed until nothing is due in the range.

        Args:
            batch_size: most texts in one forward pass, 1 to 512; default ``EMBEDDING_BATCH_SIZE``.

        Returns:
            What was done. Chunks that failed alone are counted and recorded, not raised.

        Raises:
            ProviderUnavailableError: the provider is down, and so is the fallback, or there is none.
            EmbeddingAssetsError: the run cannot go on; what was committed stays, and the next run continues there.
        """
        settings = self._settings
        if batch_size is not None:
            settings = settings.with_embedding(batch_size=batch_size)
        with ExitStack() as stack:
            database = self._database or stack.enter_context(open_database(settings))
            if self._provider is None:
                column = open_space(settings, database)
                provider = provider_for(settings, column, database)
            else:
                provider = self._provider
                column = register_space(database, provider.space, new_space=settings.embedding.new_space)
            stack.enter_context(correlate())
            buckets = self._prefixes.buckets
            run = _Run(
                settings,
                database,
                column,
                provider,
                buckets=buckets,
                on_progress=self._on_progress,
                before_writing=self._before_writing,
            )
            try:
                return run.execute()
            except ProviderUnavailableError as outage:
                try:
                    stand_in = stand_in_settings(settings, column.space)
                    fallback = self._fall_back(stand_in, database, run) if stand_in else None
                except EmbeddingAssetsError as error:
                    raise error from outage
                if fallback is None:
                    raise
            return run.stats.model_copy(update={"fallback": fallback})

    def _fall_back(self, settings: Settings, database: Database, stopped: _Run) -> EmbeddingStats:
        """Go on with what a run could not finish, in the fallback's space."""
        column = open_space(settings, database)
        logger.warning(
            "%s is down: what is pending in space %s is embedded in the fallback's, %s, and stays pending in the first",
            stopped.column.space.provider,
            stopped.column.space.name,
            column.space.name,
            extra={"space": stopped.column.space.name, "fallback_space": column.space.name},
        )
        return _Run(
            settings,
            database,
            column,
            provider_for(settings, column, database),
            buckets=stopped.held,
            on_progress=self._on_progress,
            also_in=stopped.column,
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
    """One pass over some lock buckets: owns the locks, the two helper threads and the counters.

    With ``also_in``, only over chunks that are due in that space too.

    Attributes:
        column: the space written to.
        held: the buckets that no other run has.
        stats: what was done, once that is recorded.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        column: SpaceColumn,
        provider: EmbeddingProvider,
        *,
        buckets: Sequence[int],
        on_progress: Callable[[int], None],
        before_writing: Callable[[], object] | None = None,
        also_in: SpaceColumn | None = None,
    ) -> None:
        self.column = column
        self.held: list[int] = []
        self.stats = EmbeddingStats(space=column.space.name)
        self._config = settings.embedding
        self._database = database
        self._provider = provider
        self._buckets = buckets
        self._also_in = also_in
        self._on_progress = on_progress
        self._before_writing = before_writing
        self._counts: dict[str, Counter[str]] = {}
        self._usd = 0.0
        self._load_seconds = 0.0
        self._pending_write: Future[set[str]] | None = None
        self._written_portion = _Portion()

    def execute(self) -> EmbeddingStats:
        """Embed what is due; returns ``stats``.

        Raises:
            ProviderError: nothing more can be embedded now; what was embedded before is committed and recorded.
        """
        self._started = self._committed = time.monotonic()
        with ExitStack() as stack:
            self._take_locks(stack)
            fetcher = stack.enter_context(ThreadPoolExecutor(1, "fetch"))
            writer = stack.enter_context(ThreadPoolExecutor(1, "write"))
            try:
                for window in self._windows(fetcher):
                    if not self._load_seconds:
                        # Only now: a range without work must not pay for loading a model.
                        self._load_seconds = self._provider.load()
                    self._locks.check()
                    self._embed_window(window, writer)
            except BaseException as error:
                # What is on its way will be committed, so the log must say so too.
                with suppress(EmbeddingAssetsError):
                    self._finish_write()
                    if isinstance(error, ProviderError):
                        # Up to the last commit, without the time that an outage was waited out.
                        self._record(self._committed)
                raise
            self._finish_write()
        self._record(time.monotonic())
        stats = self.stats
        logger.info(
            "run finished: %d embedded, %d failed, %d skipped, %.1f chunks/s",
            stats.embedded,
            stats.failed,
            stats.skipped,
            stats.chunks_per_second,
            extra=stats.model_dump(exclude={"prefixes"}),
        )
        return stats

    def _take_locks(self, stack: ExitStack) -> None:
        self._locks = PrefixLocks(self._database, self.column.space.name)
        stack.callback(self._locks.close)
        self.held = [bucket for part in contiguous(self._buckets) for bucket in self._locks.acquire(part)]
        self._busy = sorted(set(self._buckets) - set(self.held))
        if self._busy:
            logger.warning(
                "%d of %d hash ranges are held by another run and left to it", len(self._busy), len(self._buckets)
            )

    def _windows(self, fetcher: ThreadPoolExecutor) -> Iterator[list[PendingChunk]]:
        """Windows of due chunks in hash order; while one is worked on, the next is fetched."""
        for buckets in contiguous(self.held):
            # In copies of the context, so that what the helper threads log carries the run's id.
            future = fetcher.submit(copy_context().run, self._fetch, buckets, "")
            while window := future.result():
                future = fetcher.submit(copy_context().run, self._fetch, buckets, window[-1].chunk_hash)
                yield window

    def _fetch(self, buckets: range, after: str) -> list[PendingChunk]:
        limit = max(self._config.window_size, self._provider.window_texts)
        return fetch_pending(self._database, self.column, buckets, after=after, limit=limit, also_in=self._also_in)

    def _embed_window(self, window: list[PendingChunk], writer: ThreadPoolExecutor) -> None:
        portion = _Portion()
        # ``load`` refuses blank texts, but an adopted table may hold them; a vector of nothing would match anything.
        readable = [chunk for chunk in window if chunk.text.strip()]
        for chunk in window:
            if not chunk.text.strip():
                portion.fail(chunk, "blank_text")
        self._on_progress(portion.size)
        try:
            # Closed: an API's requests must not go on behind a run that has failed.
            with closing(embed_checked(self._provider, [chunk.text for chunk in readable])) as batches:
                for batch in batches:
                    self._collect(readable, batch, portion)
                    self._on_progress(len(batch.indices) + len(batch.errors))
                    overdue = time.monotonic() - portion.begun >= self._config.commit_seconds
                    # What was paid for waits for nothing: after a kill it would be paid for again.
                    if portion.size and (portion.size >= COMMIT_CHUNKS or overdue or batch.usd > 0):
                        self._submit(portion, writer)
                        portion = _Portion()
        except ProviderError:
            if portion.size:
                self._submit(portion, writer)
            raise
        if portion.size:
            self._submit(portion, writer)

    def _collect(self, window: list[PendingChunk], batch: EmbeddedBatch, portion: _Portion) -> None:
        self._usd += batch.usd
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
        save_failures(
            self._database,
            self.column.space.name,
            portion.failed,
            self._config,
            text_versions=portion.failed_versions,
        )
        written: set[str] = set()
        if portion.chunks:
            if self._before_writing is not None:
                self._before_writing()
                self._before_writing = None
            written = write_vectors(self._database, self.column, portion.chunks, np.stack(portion.vectors))
        self._committed = time.monotonic()
        return written

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

    def _record(self, ended: float) -> None:
        """Work out ``stats`` and keep them."""
        prefixes = {prefix: PrefixStats(**counts) for prefix, counts in sorted(self._counts.items())}
        total: Counter[str] = sum(self._counts.values(), Counter())
        length = self._config.prefix_length
        self.stats = EmbeddingStats(
            space=self.column.space.name,
            embedded=total["embedded"],
            failed=total["failed"],
            skipped=total["skipped"],
            truncated=total["truncated"],
            tokens=total["tokens"],
            usd=self._usd,
            seconds=max(0.0, ended - self._started - self._load_seconds),
            model_load_seconds=self._load_seconds,
            peak_memory_bytes=peak_memory_bytes(),
            device=self._provider.device,
            precision=self._provider.precision,
            busy_prefixes=sorted({format(bucket, "02x")[:length] for bucket in self._busy}),
            prefixes=prefixes,
        )
        save_run(self._database, self.stats)


def peak_memory_bytes() -> int:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes elsewhere
