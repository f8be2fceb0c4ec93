"""Progress of an index build, for the log and for a progress bar."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from psycopg import errors

from embedding_assets.errors import DatabaseError
from embedding_assets.formatting import duration, share
from embedding_assets.postgres.interruption import check_stopped

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database

logger = logging.getLogger(__name__)

_POLL_SECONDS: Final = 1.0
_LOG_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """A moment of a build.

    Attributes:
        index: its name.
        phase: in PostgreSQL's words, e.g. ``building index: loading tuples``
            (https://www.postgresql.org/docs/current/progress-reporting.html#CREATE-INDEX-PHASES).
        done: of this phase.
        total: of this phase; 0 where that is not known.
        unit: what is counted; ``sessions`` are transactions of others that the build has to wait for.
        seconds: since the build began.
    """

    index: str
    phase: str
    done: int
    total: int
    unit: Literal["vectors", "blocks", "sessions"]
    seconds: float

    @property
    def share(self) -> float | None:
        """Of this phase, 0 to 1; None where it is not known."""
        return min(1.0, self.done / self.total) if self.total else None

    def __str__(self) -> str:
        progress = "" if self.share is None else f", {self.done:,} of {self.total:,} {self.unit} ({share(self.share)})"
        return f"{self.index}: {self.phase}{progress}, {duration(self.seconds)}"


OnBuildProgress = Callable[[BuildProgress], None]


@contextmanager
def watch_build(
    database: Database, connection: Connection, name: str, vectors: int, on_progress: OnBuildProgress | None = None
) -> Iterator[None]:
    """Report on the index that ``connection`` builds inside: to the log every ten seconds, to ``on_progress`` each.

    What the context's work is stopped by ends the build, too, and is raised. Later lines of a long build are a
    sixtieth of its time apart.

    Asks on a connection of its own every second, and not before one has passed. That may fail without harm to the
    build. ``on_progress`` is called in another thread and must not raise.
    """
    over, stopped = threading.Event(), list[BaseException]()
    # With the context of the caller, so that its log lines carry the run's id.
    thread = threading.Thread(
        target=contextvars.copy_context().run,
        args=(_watch, database, over, connection, stopped),
        kwargs={"name": name, "vectors": vectors, "on_progress": on_progress},
        name=f"progress of {name}",
        daemon=True,
    )
    thread.start()
    try:
        yield
    except errors.QueryCanceled:
        if stopped:
            raise stopped[0] from None
        raise
    finally:
        over.set()
        # Not for long: it may be trying to reach a server that is gone.
        thread.join(timeout=_POLL_SECONDS)


def _watch(
    database: Database,
    over: threading.Event,
    builder: Connection,
    stopped: list[BaseException],
    *,
    name: str,
    vectors: int,
    on_progress: OnBuildProgress | None,
) -> None:
    started = logged = time.monotonic()
    pid = builder.info.backend_pid
    if over.wait(_POLL_SECONDS):
        return
    try:
        with database.session() as connection:
            while not over.wait(_POLL_SECONDS):
                if _is_stopped(stopped):
                    builder.cancel_safe()
                    return
                now = time.monotonic()
                progress = _read(connection, pid, name, vectors, now - started)
                if progress is None:
                    continue
                if on_progress is not None:
                    on_progress(progress)
                if now - logged >= max(_LOG_SECONDS, (now - started) / 60):
                    logged = now
                    logger.info("%s", progress, extra={"index": name, "phase": progress.phase, "share": progress.share})
    except DatabaseError as error:
        logger.warning("the progress of %s is not shown: %s", name, error)


def _is_stopped(stopped: list[BaseException]) -> bool:
    try:
        check_stopped()
    except BaseException as stop:  # noqa: BLE001 (raised where the build is waited for)
        stopped.append(stop)
    return bool(stopped)


def _read(connection: Connection, pid: int, name: str, vectors: int, seconds: float) -> BuildProgress | None:
    query = """
        SELECT phase, lockers_done, lockers_total, blocks_done, blocks_total, tuples_done
        FROM pg_stat_progress_create_index WHERE pid = %s
    """
    row = connection.execute(query, [pid]).fetchone()
    if row is None or row[0] is None:  # between two statements; or a role that may not see the other connection
        return None
    phase, lockers_done, lockers_total, blocks_done, blocks_total, tuples_done = row
    if phase.startswith("waiting"):
        return BuildProgress(name, phase, lockers_done, lockers_total, "sessions", seconds)
    if phase.endswith("loading tuples") and vectors:
        # Those that all workers have done together.
        return BuildProgress(name, phase, tuples_done, max(vectors, tuples_done), "vectors", seconds)
    return BuildProgress(name, phase, blocks_done, blocks_total, "blocks", seconds)
