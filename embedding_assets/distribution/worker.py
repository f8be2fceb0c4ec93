"""A worker: a process of the cluster that embeds the ranges of lock buckets it is handed."""

from __future__ import annotations

import logging
import os
import platform
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from embedding_assets.distribution.board import Board, RelayHandler, Report, StopEmbedding
from embedding_assets.encoder.threads import let_threads_sleep
from embedding_assets.errors import ClusterError, ConfigurationError, EmbeddingAssetsError
from embedding_assets.logs import correlate
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.locks import is_announced
from embedding_assets.providers.space_selection import Selection

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.distribution.portable import PortableSettings
    from embedding_assets.models import EmbeddingStats
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn

_REPORT_SECONDS: Final = 1.0
"""Longest wait of the driver for a report without news."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do. All of the cluster may see it: it holds no secret and no text.

    Attributes:
        run_id: of the driver's run, in whose name an API is asked.
        mark: announced in the driver's database, which is how a worker sees that its own is the same.
        settings: the driver's.
        space_settings: those under which the space's provider and model are the configured ones.
        column: the space to embed in, and its column.
        table_oid: the table's.
        threads: to compute with.
        pool_size: most connections of its pool.
        host: the driver's machine, where the database is the embedded one; else empty.
    """

    run_id: str
    mark: str
    settings: PortableSettings
    space_settings: PortableSettings
    column: SpaceColumn
    table_oid: int
    threads: int
    pool_size: int
    host: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker is, and what is installed there."""

    node: str
    python: str
    package: str

    @classmethod
    def here(cls) -> Place:
        """This process's."""
        python = ".".join(platform.python_version_tuple()[:2])
        return cls(platform.node(), python, version("embedding-assets"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of something that a worker was asked for.

    Attributes:
        stats: of what is committed, one for each space written to.
        error: as a plain run raises it; None: it was done, or stopped.
        load_seconds: what loading the model took.
    """

    stats: list[EmbeddingStats] = field(default_factory=list)
    error: EmbeddingAssetsError | None = None
    load_seconds: float = 0.0


class Worker:
    """Embeds ranges for a driver. ``embed`` is called one at a time, all else also meanwhile, from other threads."""

    def __init__(self, order: Order) -> None:
        # Before torch is imported, which reads it.
        for name in ("EMBEDDING_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
            os.environ[name] = str(order.threads)
        let_threads_sleep()
        self._order = order
        self._board = Board()
        self._stack = ExitStack()
        self._work: tuple[Settings, Database, Selection] | None = None

    def place(self) -> Place:
        """Where it is."""
        return Place.here()

    def prepare(self) -> Outcome:
        """Open the database and load the model."""
        return _outcome_of(self._prepare, [])

    def embed(self, first: int, last: int) -> Outcome:
        """Embed what is due in the buckets ``first`` to ``last``."""
        kept: list[EmbeddingStats] = []
        return _outcome_of(partial(self._embed, PrefixRange(f"{first:02x}", f"{last:02x}"), kept), kept)

    def report(self) -> Report:
        """What has happened since the last report; waits a moment for something to happen."""
        return self._board.take(_REPORT_SECONDS)

    def allow(self) -> None:
        """Give leave to write vectors."""
        self._board.allow()

    def stop(self) -> None:
        """Have ``embed`` stop soon: what is embedded is written, then it returns."""
        self._board.stop()

    def close(self) -> None:
        """Close the connections."""
        self._stack.close()

    def _prepare(self) -> float:
        order = self._order
        settings = order.settings.restore()
        logging.basicConfig(level=logging.WARNING, handlers=[RelayHandler(self._board)], force=True)
        logging.getLogger("embedding_assets").setLevel(settings.logging.level)
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        if order.host not in ("", platform.node()):
            raise ConfigurationError(
                f"the database is the embedded one of {order.host}, which {platform.node()} cannot reach; set "
                "EMBEDDING_DATABASE_URL to a server that all nodes reach, for the run and for `ray start` on every node"
            )
        database = self._stack.enter_context(open_database(settings))
        if not is_announced(database, order.mark) or database.table.oid != order.table_oid:
            raise ConfigurationError(
                f"on {platform.node()} the settings lead to {database.address}, table {database.table}, which is not "
                "what the run works on; set the same EMBEDDING_DATABASE_URL for the run and for `ray start` on every "
                "node"
            )
        selection = Selection(order.space_settings.restore(), order.column, database)
        provider = selection.open_provider()
        seconds = provider.load()
        self._work = settings, database, replace(selection, provider=provider)
        return seconds

    def _embed(self, prefixes: PrefixRange, kept: list[EmbeddingStats]) -> float:
        if self._work is None:
            raise ClusterError("the worker is not prepared")
        settings, database, selection = self._work
        self._board.check_stopped()
        with correlate(self._order.run_id):
            EmbeddingGenerator(
                settings,
                prefixes=prefixes,
                database=database,
                selection=selection,
                on_progress=self._board.advance,
                before_writing=self._board.wait_until_allowed,
                keep_stats=kept.append,
            ).generate_embeddings_batch()
        return 0.0


def _outcome_of(work: Callable[[], float], kept: list[EmbeddingStats]) -> Outcome:
    """An error is a result: one that is raised goes into the cluster's logs, with what it says and where."""
    error: EmbeddingAssetsError | None = None
    seconds = 0.0
    try:
        seconds = work()
    except StopEmbedding:
        pass
    except EmbeddingAssetsError as known:
        error = known
        error.__cause__ = error.__context__ = None
    except Exception as unknown:  # noqa: BLE001 (whatever it is, its message may quote a text)
        error = ClusterError(f"a worker on {platform.node()} failed: {_described(unknown)}")
    return Outcome(kept, error and error.with_traceback(None), seconds)


def _described(error: Exception) -> str:
    """The type of an unexpected error, and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "embedding_assets" in frame.filename] or frames
    places = dict.fromkeys(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in (own[-1], frames[-1]))
    return f"{type(error).__module__}.{type(error).__qualname__} at {', '.join(places)}"
