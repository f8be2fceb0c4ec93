"""The embedding loop: pending chunks of a prefix range become vectors in the table."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import EmbeddingAssetsError, ProviderUnavailableError, TableRefusesError
from embedding_assets.logs import correlate
from embedding_assets.models import EmbeddingStats, PrefixStats
from embedding_assets.pipeline.commits import CommitBatch, Writer
from embedding_assets.pipeline.memory import peak_memory_bytes
from embedding_assets.pipeline.repeats import Repeats
from embedding_assets.pipeline.run_lines import RunLines
from embedding_assets.pipeline.windows import Window, Windows
from embedding_assets.planning import PrefixRange, contiguous
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.failures import FailedChunk, forget_outdated, save_failures
from embedding_assets.postgres.interruption import check_stopped, interruptible, within
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.runs import save_run
from embedding_assets.postgres.spaces import check_registered
from embedding_assets.postgres.vectors import REFUSED, WriteOutcome, write_vectors
from embedding_assets.providers.base import PreparingProvider, ThreadedProvider, embed_checked
from embedding_assets.providers.fallback import fallback_settings
from embedding_assets.providers.space_selection import Selection, select_for_run

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddedBatch, EmbeddingProvider
    from embedding_assets.spaces import SpaceColumn

logger = logging.getLogger(__name__)

COMMIT_CHUNKS = 1024
"""A commit batch of this size is written at once, before ``EMBEDDING_COMMIT_SECONDS`` have passed."""

_SAVING_SECONDS: Final = 3.0
"""For the record of a run that was interrupted."""


class EmbeddingGenerator:
    """Embeds what is pending in a range of prefixes; ``embed_pending`` does the same and maintains the index.

    What is pending is read from the table, so a run that was killed is finished by the next one. Fetching the next
    window and writing the last commit batch overlap with encoding; no transaction is open meanwhile.

    While the provider is down, the fallback, if there is one, goes on in its own space. The chunks stay pending in the
    provider's, and the next run after the outage embeds them there.

    Args:
        settings: default: from the environment.
        prefixes: the range to work on; default: all.
        database: default: the configured one, opened and migrated for each call.
        provider: default: the configured one.
        selection: the space to embed in, where it is known already; default: what settings and provider lead to.
        on_progress: called with the number of chunks finished since the last call, from the calling thread.
        before_writing: called once, before the first vectors are written, and not for the fallback's: what should only
            happen once the provider is known to work. If it fails, so does the run.
        keep_stats: given the statistics of each space once what was embedded in it is committed, also of a run that
            then fails or is interrupted; default: they are saved as those of a run. With it, this is a part of one.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        prefixes: PrefixRange | None = None,
        database: Database | None = None,
        provider: EmbeddingProvider | None = None,
        selection: Selection | None = None,
        on_progress: Callable[[int], object] | None = None,
        before_writing: Callable[[], object] | None = None,
        keep_stats: Callable[[EmbeddingStats], object] | None = None,
    ) -> None:
        self._settings = settings or get_settings()
        self._prefixes = prefixes or PrefixRange("0", "f")
        self._database = database
        self._provider = provider
        self._selection = selection
        self._on_progress = on_progress or (lambda _: None)
        self._before_writing = before_writing
        self._keep_stats = keep_stats

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
            selection = self._selection or select_for_run(settings, database, self._provider)
            if batch_size is not None:
                selection = selection.with_batch_size(batch_size)
            column, provider = selection.column, selection.open_provider()
            stack.enter_context(correlate())
            run = _SpaceRun(
                settings,
                database,
                column,
                provider,
                buckets=self._prefixes.buckets,
                on_progress=self._on_progress,
                before_writing=self._before_writing,
                keep_stats=self._keep_stats or partial(save_run, database),
                name=f"range {self._prefixes}" if self._keep_stats else "run",
            )
            try:
                return run.execute()
            except ProviderUnavailableError as outage:
                try:
                    substitute = fallback_settings(settings, column.space)
                    fallback = self._fall_back(substitute, database, run) if substitute else None
                except EmbeddingAssetsError as error:
                    raise error from outage
                if fallback is None:
                    raise
            return run.stats.model_copy(update={"fallback": fallback})

    def _fall_back(self, settings: Settings, database: Database, stopped: _SpaceRun) -> EmbeddingStats:
        """Go on with what a run could not finish, in the fallback's space."""
        selection = select_for_run(settings, database)
        logger.warning(
            "%s is down: what is pending in space %s is embedded in the fallback's, %s, and stays pending in the first",
            stopped.column.space.provider,
            stopped.column.space.name,
            selection.column.space.name,
            extra={"space": stopped.column.space.name, "fallback_space": selection.column.space.name},
        )
        return _SpaceRun(
            settings,
            database,
            selection.column,
            selection.open_provider(),
            buckets=stopped.held,
            on_progress=self._on_progress,
            keep_stats=self._keep_stats or partial(save_run, database),
            name=stopped.name,
            also_in=stopped.column,
        ).execute()


class _SpaceRun:
    """One pass over some lock buckets in one space: owns the locks, the two helper threads and the counters.

    With ``also_in``, only over chunks that are due in that space too.

    Attributes:
        column: the space written to.
        name: what the log calls it.
        stats: what was done, once that is saved.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        column: SpaceColumn,
        provider: EmbeddingProvider,
        *,
        buckets: Sequence[int],
        on_progress: Callable[[int], object],
        keep_stats: Callable[[EmbeddingStats], object],
        name: str = "run",
        before_writing: Callable[[], object] | None = None,
        also_in: SpaceColumn | None = None,
    ) -> None:
        self.column = column
        self.name = name
        self.stats = EmbeddingStats(space=column.space.name)
        self._config = settings.embedding
        self._database = database
        self._provider = provider
        self._buckets = buckets
        self._also_in = also_in
        self._on_progress = on_progress
        self._keep_stats = keep_stats
        self._before_writing = before_writing
        self._locks: PrefixLocks | None = None
        self._counts: dict[str, Counter[str]] = {}
        self._usd = 0.0
        self._load_seconds = 0.0
        self._started = self._committed = time.monotonic()
        self._collecting = CommitBatch()
        self._lines = RunLines()

    @property
    def held(self) -> list[int]:
        """The buckets that no other run has, ascending."""
        return self._locks.held if self._locks else []

    def execute(self) -> EmbeddingStats:
        """Embed what is due; returns ``stats``.

        Raises:
            ProviderError: nothing more can be embedded now; what was embedded before is committed and recorded.
        """
        with ExitStack() as stack:
            work = stack.enter_context(interruptible())
            self._locks = stack.enter_context(closing(PrefixLocks(self._database, self.column.space.name)))
            self._acquire(self._locks)
            forget_outdated(self._database)
            windows = Windows(
                self._database,
                self.column,
                self._locks,
                limit=max(self._config.window_size, self._provider.window_texts),
                also_in=self._also_in,
                prepare=self._provider.prepare if isinstance(self._provider, PreparingProvider) else lambda _: None,
            )
            fetcher = stack.enter_context(ThreadPoolExecutor(1, "fetch"))
            writer = Writer(stack.enter_context(ThreadPoolExecutor(1, "write")), self._commit, self._note_written)
            try:
                self._work_off(windows, fetcher, writer)
            except BaseException as error:
                # What is on its way will be committed, so the log must say so too.
                with suppress(EmbeddingAssetsError):
                    interrupted = not isinstance(error, Exception)
                    if interrupted:
                        # What is embedded is written, unless that waits for somebody else.
                        writer.wind_up(self._collecting, work, self._database, besides=windows.fetching)
                    else:
                        writer.finish()
                    # Up to the last commit, without the time that an outage was waited out.
                    if interrupted:
                        within(_SAVING_SECONDS, partial(self._save_stats, self._committed))
                    elif isinstance(error, EmbeddingAssetsError):
                        self._save_stats(self._committed)
                raise
        self._save_stats(time.monotonic())
        stats = self.stats
        logger.info("%s finished: %s", self.name, stats.summary, extra=stats.model_dump(exclude={"prefixes"}))
        return stats

    def _acquire(self, locks: PrefixLocks) -> None:
        for part in contiguous(self._buckets):
            locks.acquire(part)
        # Under another name it would lock beside others, and its column may be another's by now.
        check_registered(self._database, self.column)
        busy = len(self._buckets) - len(self.held)
        if busy:
            logger.warning(
                "%d of %d hash ranges are held by another run and left to it: %s",
                busy,
                len(self._buckets),
                locks.describe_others() or "which has just ended",
            )

    def _work_off(self, windows: Windows, fetcher: ThreadPoolExecutor, writer: Writer) -> None:
        for window in windows.fetch(fetcher):
            if not self._load_seconds:
                # Only now: a range without work must not pay for loading a model.
                self._load_seconds = self._provider.load()
            windows.check_locks()
            with closing(self._embed(window, windows, writer)) as handed_over:
                for _ in handed_over:
                    # After the hand-over: what is embedded is written, also if another run has the locks now.
                    windows.check_locks()
        writer.finish()

    def _embed(self, window: Window, windows: Windows, writer: Writer) -> Generator[None, None, None]:
        """Embed the chunks of a window; stops whenever some were handed over to be written.

        Raises:
            EmbeddingAssetsError: nothing more can be embedded now; what was embedded before has been handed over.
        """
        chunks, aged = windows.due_of(window)
        for chunk in aged:
            self._count(chunk.chunk_hash)["skipped"] += 1
        texts = Repeats(self._database, self.column, chunks)
        for chunk in texts.blank:
            self._collecting.fail(chunk, "blank_text")
        if texts.known:
            self._collecting.add(texts.known, texts.known_vectors)
        self._on_progress(len(aged) + len(self._collecting))

        def still_wanted(positions: Sequence[int]) -> list[int]:
            due = windows.still_due(texts.chunks(positions), window.fetched_at)
            return [at for at in positions if any(chunk.chunk_hash in due for chunk in texts.chunks([at]))]

        batches = embed_checked(self._provider, texts.texts, still_wanted=still_wanted)
        try:
            # Closed: an API's requests must not go on behind a run that has failed.
            with closing(batches):
                for batch in batches:
                    self._collect(texts, batch)
                    self._on_progress(len(texts.chunks([*batch.indices, *batch.errors, *batch.unwanted])))
                    check_stopped()
                    overdue = time.monotonic() - self._collecting.begun >= self._config.commit_seconds
                    # What was paid for waits for nothing: after a kill it would be paid for again.
                    if len(self._collecting) >= COMMIT_CHUNKS or overdue or batch.usd > 0:
                        yield from self._hand_over(writer)
        except EmbeddingAssetsError:
            yield from self._hand_over(writer)
            raise
        yield from self._hand_over(writer)

    def _hand_over(self, writer: Writer) -> Iterator[None]:
        if self._collecting:
            writer.submit(self._collecting)
            self._collecting = CommitBatch()
            yield

    def _collect(self, texts: Repeats, batch: EmbeddedBatch) -> None:
        self._usd += batch.usd
        if batch.indices:
            self._collecting.add(texts.chunks(batch.indices), texts.repeat(batch.indices, batch.vectors))
        for index, tokens, truncated in zip(batch.indices, batch.token_counts, batch.truncated, strict=True):
            counts = self._count(texts.chunks([index])[0].chunk_hash)
            counts["tokens"] += tokens
            counts["truncated"] += truncated
        for index, code in batch.errors.items():
            for chunk in texts.chunks([index]):
                self._collecting.fail(chunk, code)
        for chunk in texts.chunks(batch.unwanted):
            self._count(chunk.chunk_hash)["skipped"] += 1

    def _commit(self, batch: CommitBatch) -> WriteOutcome:
        """Write a batch; the vectors first, which are paid for."""
        outcome = WriteOutcome()
        if batch.chunks:
            if self._before_writing is not None:
                self._before_writing()
                self._before_writing = None
            try:
                outcome = write_vectors(self._database, self.column, batch.chunks, batch.vectors())
            except TableRefusesError as error:
                # Recorded, so that the next run tries others.
                self._save_refused(batch, error.refused)
                raise
            for chunk in batch.chunks:
                if chunk.chunk_hash in outcome.refused:
                    batch.fail(chunk, REFUSED)
        save_failures(self._database, self.column.space.name, batch.failed, self._config)
        self._committed = time.monotonic()
        return outcome

    def _save_refused(self, batch: CommitBatch, refused: frozenset[str]) -> None:
        failed = [
            FailedChunk(chunk.chunk_hash, REFUSED, chunk.key, chunk.fingerprint)
            for chunk in batch.chunks
            if chunk.chunk_hash in refused
        ]
        save_failures(self._database, self.column.space.name, failed, self._config)

    def _note_written(self, batch: CommitBatch, outcome: WriteOutcome) -> None:
        for chunk in batch.chunks:
            if chunk.chunk_hash not in outcome.refused:
                self._count(chunk.chunk_hash)["embedded" if chunk.chunk_hash in outcome.written else "skipped"] += 1
        for failed in batch.failed:
            self._count(failed.chunk_hash)["failed"] += 1
            self._lines.failed(failed)
        self._lines.committed(len(outcome.written))

    def _count(self, chunk_hash: str) -> Counter[str]:
        return self._counts.setdefault(chunk_hash[: self._config.prefix_length], Counter())

    def _save_stats(self, ended: float) -> None:
        total: Counter[str] = sum(self._counts.values(), Counter())
        length = self._config.prefix_length
        busy = set(self._buckets) - set(self.held)
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
            threads=self._provider.threads if isinstance(self._provider, ThreadedProvider) else 0,
            streams=self._provider.streams if isinstance(self._provider, ThreadedProvider) else 0,
            busy_prefixes=sorted({format(bucket, "02x")[:length] for bucket in busy}),
            prefixes={prefix: PrefixStats(**counts) for prefix, counts in sorted(self._counts.items())},
        )
        self._keep_stats(self.stats)
