"""The HNSW index of a space: built without blocking readers or writers, rebuilt where it is not as configured."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Literal

from psycopg import Error, sql

from embedding_assets.postgres.backlog import count_vectors
from embedding_assets.postgres.catalog import (
    IndexState,
    create_index,
    describe,
    drop_index,
    ensure_pending_index,
    not_built,
)
from embedding_assets.postgres.index.progress import OnBuildProgress, watch_build
from embedding_assets.postgres.index.resources import choose_resources
from embedding_assets.postgres.index.size import graph_memory_mb, index_bloat, is_bloated
from embedding_assets.postgres.index_form import IndexForm, form_to_build
from embedding_assets.postgres.locks import TABLE_LOCK, hold
from embedding_assets.postgres.server_version import read_limits

if TYPE_CHECKING:
    from psycopg.errors import Diagnostic

    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

logger = logging.getLogger(__name__)

RepairReason = Literal["missing", "invalid", "differs", "bloated"]

_PARALLEL_FROM: Final = "256kB"
"""Size of a table from which its index is built in parallel, a few hundred chunks. PostgreSQL's 8 MB do not count the
vectors, which are stored out of line."""


def build_vector_index(
    database: Database,
    column: SpaceColumn,
    config: IndexConfig,
    *,
    on_progress: OnBuildProgress | None = None,
    written: int | None = None,
) -> float | None:
    """Build the HNSW index of a space; rebuild it when it is invalid, not as configured, or bloated.

    A valid index serves searches until its successor is complete and takes over its name. The partial index of
    pending chunks is built first if it had waited for the load. The log has its progress every ten seconds.

    Args:
        database: where.
        column: whose index.
        config: how it is to be, and from which ``bloat_ceiling`` on it is rebuilt.
        on_progress: called about every second while it is built, in another thread; must not raise.
        written: vectors written by the run that asks; the vectors of a table that is far larger are only estimated to
            find that nothing is to be done.

    Returns:
        Seconds the build took; None if there was nothing to do.

    Raises:
        DatabaseError: it could not be built; the index that was there stays.
    """
    ensure_pending_index(database, column)
    with database.session() as connection:
        if _is_settled(connection, database.table, column, config, written):
            return None
        with hold(connection, TABLE_LOCK):
            return _build_vector_index(database, connection, column, config, on_progress)


def _build_vector_index(
    database: Database,
    connection: Connection,
    column: SpaceColumn,
    config: IndexConfig,
    on_progress: OnBuildProgress | None,
) -> float | None:
    table = database.table
    successor, retired = _transitional_names(column)
    drop_index(connection, table, retired)
    state, vectors, reason = _inspect(connection, table, column, config)
    if reason is None:
        drop_index(connection, table, successor)
        return None
    form = form_to_build(column, config.type)
    definition = sql.SQL("USING hnsw ({}) WITH (m = {}, ef_construction = {})").format(
        form.key,
        sql.Literal(config.m),
        sql.Literal(config.ef_construction),
    )
    started = time.monotonic()
    if state.valid:
        _log_replacement(column, state, reason, index_bloat(state, vectors, state.vector_bytes(column)))
    # PostgreSQL completes a build whose process has died meanwhile.
    left = describe(connection, table, successor)
    if not state.valid or repair_reason(left, column, config, vectors) is not None:
        drop_index(connection, table, successor)
        try:
            settings = _prepare_build(connection, table, form, config, vectors, replaces=state.valid)
        except Error as error:
            raise not_built(column.index, error) from None
        with watch_build(database, connection, column.index, vectors, on_progress):
            create_index(connection, table, successor if state.valid else column.index, definition, settings)
    if state.valid:
        # Renaming an index locks neither the table nor its readers.
        with connection.transaction():
            _rename(connection, table, column.index, retired)
            _rename(connection, table, successor, column.index)
        drop_index(connection, table, retired)
    if _inspect(connection, table, column, config)[2] == "bloated":
        logger.warning(
            "%s is larger than EMBEDDING_INDEX_BLOAT_CEILING=%g allows although it was just built; raise it, or every "
            "run builds the index again",
            column.index,
            config.bloat_ceiling,
            extra={"index": column.index},
        )
    return time.monotonic() - started


def _inspect(
    connection: Connection, table: Table, column: SpaceColumn, config: IndexConfig, *, written: int | None = None
) -> tuple[IndexState, int, RepairReason | None]:
    """The state of a space's index, the vectors it should hold, why it must be built."""
    state = describe(connection, table, column.index)
    vectors = count_vectors(connection, table, column, written=written)
    return state, vectors, repair_reason(state, column, config, vectors)


def repair_reason(state: IndexState, column: SpaceColumn, config: IndexConfig, vectors: int) -> RepairReason | None:
    """The reason to build the index of a space; None when it is as it should be."""
    if not state.exists:
        return "missing"
    if not state.valid:
        return "invalid"
    if not state.matches(column, config):
        return "differs"
    bloat = index_bloat(state, vectors, state.vector_bytes(column))
    return "bloated" if is_bloated(state.size_bytes, bloat, config.bloat_ceiling) else None


def _log_replacement(column: SpaceColumn, state: IndexState, reason: RepairReason, bloat: float | None) -> None:
    what = f"is {bloat:.1f} times as large as a fresh one" if reason == "bloated" else "differs from its configuration"
    logger.info(
        "index %s %s and is rebuilt",
        column.index,
        what,
        extra={"index": column.index, "reason": reason, "size_bytes": state.size_bytes},
    )


def _prepare_build(
    connection: Connection, table: Table, form: IndexForm, config: IndexConfig, vectors: int, *, replaces: bool
) -> dict[str, str]:
    """Clear away what the load left, and choose the settings of the build by what there is to index."""
    # Every vector written has left a dead row. Now this takes a moment; with the index there it would have to be
    # scanned too, and repaired at great length, so one that is to go is left as it is. TRUNCATE would lock out readers.
    limits = read_limits(connection)
    vacuum = (
        "VACUUM (ANALYZE, TRUNCATE false, INDEX_CLEANUP false) {}"
        if replaces or not limits.vacuums_indexes
        else "VACUUM (ANALYZE, TRUNCATE false) {}"
    )
    connection.execute(sql.SQL(vacuum).format(table.relation), [])
    wanted = graph_memory_mb(vectors, form.vector_bytes, config.m)
    workers, memory = choose_resources(connection, config, wanted, in_parallel=limits.builds_in_parallel)
    index = form.column.index
    logger.info(
        "building %s of type %s over %d vectors with up to %d workers and %d MB",
        index,
        form.type,
        vectors,
        workers,
        memory,
        extra={"index": index, "type": form.type, "vectors": vectors, "workers": workers, "memory_mb": memory},
    )

    def explain(notice: Diagnostic) -> None:
        if "no longer fits into maintenance_work_mem" in (notice.message_primary or ""):
            logger.warning(
                "the graph of %s does not fit into %d MB, which slows its build down; "
                "set EMBEDDING_INDEX_MEMORY_MB to %d if the database server has that much to spare",
                index,
                memory,
                wanted,
                extra={"index": index, "memory_mb": memory, "wanted_mb": wanted},
            )

    connection.add_notice_handler(explain)
    return {
        "client_min_messages": "notice",
        "maintenance_work_mem": f"{memory}MB",
        "max_parallel_maintenance_workers": str(workers),
        "min_parallel_table_scan_size": _PARALLEL_FROM,
    }


def _transitional_names(column: SpaceColumn) -> tuple[str, str]:
    """Name of an index while it is built to replace another, and after it was replaced."""
    return f"{column.index}_new", f"{column.index}_old"


def _is_settled(
    connection: Connection, table: Table, column: SpaceColumn, config: IndexConfig, written: int | None
) -> bool:
    """True if the index is as it should be, and a replacement that was interrupted left nothing behind."""
    left_behind = any(describe(connection, table, name).exists for name in _transitional_names(column))
    return not left_behind and _inspect(connection, table, column, config, written=written)[2] is None


def _rename(connection: Connection, table: Table, name: str, new_name: str) -> None:
    connection.execute(
        sql.SQL("ALTER INDEX {} RENAME TO {}").format(sql.Identifier(table.schema, name), sql.Identifier(new_name))
    )
