"""Indexes: built without blocking readers or writers, built anew where they are not as they should be."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from psycopg import Error, sql
from psycopg.errors import DiskFull

from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.build_progress import BuildProgress, OnBuildProgress, watch_build
from embedding_assets.postgres.graph_size import graph_memory_mb
from embedding_assets.postgres.index_state import (
    DISTANCE_OPERATORS,
    IndexState,
    RepairReason,
    count_vectors,
    describe,
    describe_index,
)
from embedding_assets.postgres.locks import TABLE_LOCK, hold

if TYPE_CHECKING:
    from psycopg.errors import Diagnostic

    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.spaces import SpaceRecord

__all__ = [
    "DISTANCE_OPERATORS",
    "BuildProgress",
    "IndexState",
    "build_vector_index",
    "describe_index",
    "drop_index",
    "ensure_index",
    "ensure_pending_index",
]

logger = logging.getLogger(__name__)

_WORKER_MEMORY_MB: Final = 32
"""PostgreSQL starts a worker only for this much of maintenance_work_mem, and as much for the leader."""

_PARALLEL_FROM: Final = "256kB"
"""Size of a table from which its index is built in parallel, a few hundred chunks. PostgreSQL's 8 MB do not count the
vectors, which are stored out of line."""


def ensure_index(database: Database, name: str, definition: sql.Composable) -> bool:
    """Build index ``name`` unless a valid one exists; one process builds, others wait for it.

    CONCURRENTLY, so neither readers nor writers are blocked; what a failed build left behind is dropped first.

    Args:
        database: where.
        name: of the index.
        definition: what follows the name in CREATE INDEX.

    Returns:
        Whether it was built.

    Raises:
        DatabaseError: it could not be built.
    """
    with database.session() as connection:
        if describe(connection, name).valid:
            return False
        with hold(connection, TABLE_LOCK):
            if describe(connection, name).valid:
                return False
            _lift_time_limit(connection)
            _build(connection, name, definition, {})
            connection.execute("ANALYZE knowledge_base")
    return True


def ensure_pending_index(database: Database, record: SpaceRecord) -> None:
    """Build the partial index that finds chunks without a vector in a space, unless it is there.

    Raises:
        DatabaseError: it could not be built.
    """
    ensure_index(
        database,
        record.pending_index,
        sql.SQL('ON knowledge_base (chunk_hash COLLATE "C") WHERE {} IS NULL').format(sql.Identifier(record.column)),
    )


def drop_index(connection: Connection, name: str) -> None:
    """Drop an index without blocking readers; the connection must be in autocommit mode.

    Raises:
        DatabaseError: it could not be dropped.
    """
    try:
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name)))
    except Error as error:
        raise DatabaseError(f"index {name} was not dropped: {_reason(error)}") from None


def build_vector_index(
    database: Database, record: SpaceRecord, config: IndexConfig, *, on_progress: OnBuildProgress | None = None
) -> float | None:
    """Build the HNSW index of a space; build it anew when it is invalid, not as configured, or bloated.

    A valid index serves searches until its successor is complete and takes over its name. The partial index of
    pending chunks is built first if it had waited for the load. The log tells every ten seconds how far it is.

    Args:
        database: where.
        record: whose index.
        config: how it is to be, and from which ``bloat_ceiling`` it is built anew.
        on_progress: called about every second while it is built, in another thread; must not raise.

    Returns:
        Seconds the build took; None if there was nothing to do.

    Raises:
        DatabaseError: it could not be built; the index that was there stays.
    """
    ensure_pending_index(database, record)
    with database.session() as connection:
        if _is_settled(connection, record, config):
            return None
        with hold(connection, TABLE_LOCK):
            return _build_vector_index(database, connection, record, config, on_progress)


def _build_vector_index(
    database: Database,
    connection: Connection,
    record: SpaceRecord,
    config: IndexConfig,
    on_progress: OnBuildProgress | None,
) -> float | None:
    _lift_time_limit(connection)
    successor, retired = _transitional_names(record)
    drop_index(connection, retired)
    state, vectors, reason = _inspect(connection, record, config)
    if reason is None:
        drop_index(connection, successor)
        return None
    definition = sql.SQL("ON knowledge_base USING hnsw ({} {}) WITH (m = {}, ef_construction = {})").format(
        sql.Identifier(record.column),
        sql.Identifier(config.operator_class),
        sql.Literal(config.m),
        sql.Literal(config.ef_construction),
    )
    started = time.monotonic()
    if state.valid:
        _log_replacement(record, state, reason, state.bloat(vectors, record.space.dimensions))
    # PostgreSQL completes a build whose process has died meanwhile.
    left = describe(connection, successor)
    if not state.valid or left.repair_reason(config, vectors, record.space.dimensions) is not None:
        drop_index(connection, successor)
        try:
            settings = _prepare_build(connection, record, config, vectors, replaces=state.valid)
        except Error as error:
            raise _not_built(record.index, error) from None
        with watch_build(database, connection, record.index, vectors, on_progress):
            _build(connection, successor if state.valid else record.index, definition, settings)
    if state.valid:
        # Renaming an index locks neither the table nor its readers.
        with connection.transaction():
            _rename(connection, record.index, retired)
            _rename(connection, successor, record.index)
        drop_index(connection, retired)
    if _inspect(connection, record, config)[2] == "bloated":
        logger.warning(
            "%s is larger than EMBEDDING_INDEX_BLOAT_CEILING=%g allows although it was just built; raise it, or every "
            "run builds the index again",
            record.index,
            config.bloat_ceiling,
            extra={"index": record.index},
        )
    return time.monotonic() - started


def _inspect(
    connection: Connection, record: SpaceRecord, config: IndexConfig
) -> tuple[IndexState, int, RepairReason | None]:
    """The state of a space's index, the vectors it should hold, why it must be built."""
    state = describe(connection, record.index)
    vectors = count_vectors(connection, record)
    return state, vectors, state.repair_reason(config, vectors, record.space.dimensions)


def _log_replacement(record: SpaceRecord, state: IndexState, reason: RepairReason, bloat: float | None) -> None:
    what = f"is {bloat:.1f} times as large as a fresh one" if reason == "bloated" else "differs from its configuration"
    logger.info(
        "index %s %s and is built anew",
        record.index,
        what,
        extra={"index": record.index, "reason": reason, "size_bytes": state.size_bytes},
    )


def _prepare_build(
    connection: Connection, record: SpaceRecord, config: IndexConfig, vectors: int, *, replaces: bool
) -> dict[str, str]:
    """Clear away what the load left, and choose the settings of the build by what there is to index."""
    # Every vector written has left a dead row. Now this takes a moment; with the index there it would have to be
    # scanned too, and mended at great length, so one that is to go is left as it is. TRUNCATE would lock out readers.
    connection.execute(
        "VACUUM (ANALYZE, TRUNCATE false, INDEX_CLEANUP false) knowledge_base"
        if replaces
        else "VACUUM (ANALYZE, TRUNCATE false) knowledge_base"
    )
    wanted = graph_memory_mb(vectors, record.space.dimensions, config.m)
    memory = min(config.memory_mb, max(wanted, _WORKER_MEMORY_MB * (config.workers + 1)))
    logger.info(
        "building %s over %d vectors with up to %d workers and %d MB",
        record.index,
        vectors,
        config.workers,
        memory,
        extra={"index": record.index, "vectors": vectors, "memory_mb": memory},
    )

    def explain(notice: Diagnostic) -> None:
        if "no longer fits into maintenance_work_mem" in (notice.message_primary or ""):
            logger.warning(
                "the graph of %s does not fit into %d MB, which slows its build down; "
                "set EMBEDDING_INDEX_MEMORY_MB to %d if the database server has that much to spare",
                record.index,
                memory,
                wanted,
                extra={"index": record.index, "memory_mb": memory, "wanted_mb": wanted},
            )

    connection.add_notice_handler(explain)
    return {
        "client_min_messages": "notice",
        "maintenance_work_mem": f"{memory}MB",
        "max_parallel_maintenance_workers": str(config.workers),
        "min_parallel_table_scan_size": _PARALLEL_FROM,
    }


def _lift_time_limit(connection: Connection) -> None:
    """A server's limit on statements is meant for others: a build would run into it each time, and never be done."""
    connection.execute("SELECT set_config('statement_timeout', '0', false)")


def _transitional_names(record: SpaceRecord) -> tuple[str, str]:
    """What an index is called while it is built to replace another, and after it was replaced."""
    return f"{record.index}_new", f"{record.index}_old"


def _is_settled(connection: Connection, record: SpaceRecord, config: IndexConfig) -> bool:
    """Whether the index is as it should be, and a replacement that was interrupted left nothing behind."""
    left_behind = any(describe(connection, name).exists for name in _transitional_names(record))
    return not left_behind and _inspect(connection, record, config)[2] is None


def _build(connection: Connection, name: str, definition: sql.Composable, settings: Mapping[str, str]) -> None:
    try:
        drop_index(connection, name)
        for parameter, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", [parameter, value])
        connection.execute(sql.SQL("CREATE INDEX CONCURRENTLY {} {}").format(sql.Identifier(name), definition))
    except DiskFull as error:
        if settings.get("max_parallel_maintenance_workers", "0") == "0":
            raise _not_built(name, error) from None
        # A parallel build takes its memory from /dev/shm, of which a container has 64 MB unless told otherwise.
        logger.warning(
            "no parallel build of %s (%s); trying without workers. In a container give the server more shared memory "
            "(--shm-size), or set EMBEDDING_INDEX_WORKERS=0",
            name,
            _reason(error),
            extra={"index": name},
        )
        _build(connection, name, definition, {**settings, "max_parallel_maintenance_workers": "0"})
    except Error as error:
        raise _not_built(name, error) from None


def _not_built(name: str, error: Error) -> DatabaseError:
    return DatabaseError(f"index {name} was not built: {_reason(error)}; run again to try once more")


def _rename(connection: Connection, name: str, new_name: str) -> None:
    connection.execute(sql.SQL("ALTER INDEX {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(new_name)))


def _reason(error: Error) -> str:
    return error.diag.message_primary or "the connection was lost"
