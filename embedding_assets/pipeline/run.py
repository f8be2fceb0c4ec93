"""One load with its index: planned, embedded, built, also when the provider gives up in the middle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from embedding_assets.config import Settings, get_settings
from embedding_assets.encoder.occupied import occupied
from embedding_assets.errors import DatabaseError, ProviderError
from embedding_assets.logs import current_run_id
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.backlog import due_in_range
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.catalog import ensure_pending_index
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.index.lifecycle import build_missing, drop_before_load
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets.postgres.interruption import within
from embedding_assets.postgres.locks import announced, hold_alone, is_loading
from embedding_assets.postgres.search_indexes import check_language
from embedding_assets.providers.space_selection import Selection, select_for_run

if TYPE_CHECKING:
    from embedding_assets.models import EmbeddingStats
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.spaces import SpaceColumn

logger = logging.getLogger(__name__)

_COUNTING_SECONDS: Final = 5.0
"""For saying what a run has left, when it was stopped."""

Progress = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Given the number of due chunks, a context whose value is called with the number of chunks just finished."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a run has to embed, and how.

    Attributes:
        settings: of the run.
        database: opened.
        selection: the space to embed in, and its provider.
        prefixes: the range to work on.
        due: chunks of it that are due.
        batch_size: most texts in one forward pass; None: as configured.
        before_writing: to be called once, before the first vectors are written; None: there is nothing to be done.
    """

    settings: Settings
    database: Database
    selection: Selection
    prefixes: PrefixRange
    due: int
    batch_size: int | None
    before_writing: Callable[[], object] | None


Engine = Callable[[Load, Callable[[int], object]], "EmbeddingStats"]
"""Embeds a load elsewhere than in this process; is given what to call with the number of chunks just finished."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The outcome of a run.

    Attributes:
        column: the space embedded into, and its column.
        stats: what was embedded.
        index_seconds: how long building indexes took afterwards; None if none had to be built, or none was to be.
    """

    column: SpaceColumn
    stats: EmbeddingStats
    index_seconds: float | None


def embed_pending(
    settings: Settings | None = None,
    *,
    prefixes: PrefixRange | None = None,
    database: Database | None = None,
    provider: EmbeddingProvider | None = None,
    selection: Selection | None = None,
    batch_size: int | None = None,
    defer_index: bool | None = None,
    build_index: Literal["always", "on_failure", "never"] = "always",
    wait_for_device: bool = False,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> RunOutcome:
    """Embed what is pending in a range of prefixes, and maintain the index around it.

    When a load outweighs what the index holds, the index is dropped before the first vectors are written and built
    afterwards. It is built, too, when the provider gives up: it may be a day until a limit resets or an outage is
    over, and until then what there is is searched.

    Args:
        settings: default: from the environment.
        prefixes: the range to work on; default: all.
        database: default: the configured one, opened and migrated for this call.
        provider: default: the configured one.
        selection: the space to embed in, where it is known already; default: what settings and provider lead to.
        batch_size: most texts in one forward pass, 1 to 512; default ``EMBEDDING_BATCH_SIZE``.
        defer_index: whether a first load may drop the index before it starts; default: unless it is never built.
        build_index: ``always``, ``never``, or only ``on_failure``, where a later step builds it otherwise.
        wait_for_device: with a local model, whether to wait for other such runs on the same GPU, or on any of the same
            cores, to end: two models on one device only slow each other down.
        engine: where to embed; default: in this process. A cluster gives out its devices itself.
        progress: how to follow the run; default: not at all.

    Raises:
        ProviderError: nothing more can be embedded now; a note says how much is left, and an index that could not be
            built either is only logged.
        EmbeddingAssetsError: the run cannot go on; what was committed stays, and the next run continues there.
    """
    settings = settings or get_settings()
    if defer_index is None:
        defer_index = build_index != "never"
    prefixes = prefixes or PrefixRange("0", "f")
    buckets = prefixes.buckets
    with ExitStack() as stack:
        database = database or stack.enter_context(open_database(settings))
        if run_id := current_run_id():
            stack.enter_context(announced(database, run_id))
        selection = selection or select_for_run(settings, database, provider)
        column = selection.column
        if build_index != "never":
            check_language(database, settings.search.language)  # rather than when all is embedded
        due = due_in_range(database, column, buckets)
        # Not before there is something to write: a model that cannot be loaded must not cost an index.
        before_writing = partial(drop_before_load, database, column, loading=due) if defer_index else None
        load = Load(settings, database, selection, prefixes, due, batch_size, before_writing)
        if not due:
            engine = None  # nothing to start a cluster for
        alone = engine is None and wait_for_device and due and column.space.provider == "local"
        try:
            with _device_turn(load) if alone else nullcontext(), (progress or _unseen)(due) as advance:
                stats = (engine or _embed_here)(load, advance)
        except BaseException as stop:
            if isinstance(stop, Exception) and not isinstance(stop, ProviderError):
                raise
            with suppress(DatabaseError):  # what ended the run is the news
                left = within(_COUNTING_SECONDS, partial(due_in_range, database, column, buckets))
                stop.add_note(f"{left:,} of {due:,} due chunks are left.")
            if isinstance(stop, ProviderError) and build_index != "never":
                _build_what_is_there(database, column, settings)
            raise
        index_seconds = None
        # Also after a run without work: one that was killed may have left the table without its index. Not while
        # another run is loading, for which the index may have been left out, and which builds it when it is done.
        if build_index == "always" and not stats.busy_prefixes and has_chunks(database):
            written = stats.embedded + (stats.fallback.embedded if stats.fallback else 0)
            index_seconds = build_missing(database, column, settings.index, written=written)
            build_for_searches(database, settings.index, settings.search.language)
        elif build_index == "never" and not stats.busy_prefixes:
            # Without it whatever looks for due chunks reads the table; the vector index alone is not wanted.
            ensure_pending_index(database, column)
        return RunOutcome(column, stats, index_seconds)


def _build_what_is_there(database: Database, column: SpaceColumn, settings: Settings) -> None:
    try:
        if not is_loading(database, column.space.name):
            build_missing(database, column, settings.index)
            build_for_searches(database, settings.index, settings.search.language)
    except DatabaseError as error:
        # What ended the run is the news.
        logger.warning("no index until the next run: %s", error)


def _embed_here(load: Load, advance: Callable[[int], object]) -> EmbeddingStats:
    return EmbeddingGenerator(
        load.settings,
        prefixes=load.prefixes,
        database=load.database,
        selection=load.selection,
        on_progress=advance,
        before_writing=load.before_writing,
    ).generate_embeddings_batch(load.batch_size)


@contextmanager
def _device_turn(load: Load) -> Iterator[None]:
    """Locks, which end with the process: the slot of a Dagster pool outlives a run that is killed."""
    with hold_alone(load.database, *occupied(load.selection.settings.embedding.device)):
        yield


@contextmanager
def _unseen(_: int) -> Iterator[Callable[[int], object]]:
    yield lambda _: None
