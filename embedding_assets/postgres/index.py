"""Indexes: built without blocking readers or writers, described, measured against exact search."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import Error, sql
from psycopg.errors import DiskFull

from embedding_assets.config import IndexConfig
from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.locks import TABLE_LOCK, hold

if TYPE_CHECKING:
    from psycopg.errors import Diagnostic

    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.spaces import SpaceRecord

__all__ = [
    "DISTANCE_OPERATORS",
    "IndexState",
    "RecallSample",
    "build_vector_index",
    "describe_index",
    "drop_index",
    "ensure_index",
    "ensure_pending_index",
    "graph_memory_mb",
    "measure_recall",
]

logger = logging.getLogger(__name__)

_WORKER_MEMORY_MB: Final = 32
"""PostgreSQL starts a worker only for this much of maintenance_work_mem, and as much for the leader."""

_PARALLEL_FROM: Final = "256kB"
"""Size of a table from which its index is built in parallel, a few hundred chunks. PostgreSQL's 8 MB do not count the
vectors, which are stored out of line."""

DISTANCE_OPERATORS: Final = {
    "vector_cosine_ops": sql.SQL("<=>"),
    "vector_ip_ops": sql.SQL("<#>"),
    "vector_l2_ops": sql.SQL("<->"),
}


@dataclass(frozen=True, slots=True)
class IndexState:
    """What PostgreSQL knows of a vector index."""

    name: str
    exists: bool
    valid: bool = False
    size_bytes: int = 0
    operator_class: str = ""
    m: int = 0
    ef_construction: int = 0
    method: str = "hnsw"

    def matches(self, config: IndexConfig) -> bool:
        """Whether it is usable and was built as configured."""
        return self.valid and (self.method, self.operator_class, self.m, self.ef_construction) == (
            "hnsw",
            config.operator_class,
            config.m,
            config.ef_construction,
        )


@dataclass(frozen=True, slots=True)
class RecallSample:
    """Recall of the index, measured on stored vectors.

    Attributes:
        queries: vectors asked for their nearest neighbours.
        recall: share of the true ``k`` nearest that the index returned; None without an index or enough vectors.
        planner_uses_index: whether PostgreSQL picks the index by itself; in a small table it rightly does not.
        p50_milliseconds: median latency of the queries that were answered by the index.
    """

    queries: int
    recall: float | None
    planner_uses_index: bool
    p50_milliseconds: float | None


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
        if _describe(connection, name).valid:
            return False
        with hold(connection, TABLE_LOCK):
            if _describe(connection, name).valid:
                return False
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


def build_vector_index(database: Database, record: SpaceRecord, config: IndexConfig) -> float | None:
    """Build the HNSW index of a space, or build it anew when it is invalid or not as configured.

    A valid index serves searches until its successor is complete and takes over its name. The partial index of
    pending chunks is built first if it had waited for the load.

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
            return _build_vector_index(connection, record, config)


def _build_vector_index(connection: Connection, record: SpaceRecord, config: IndexConfig) -> float | None:
    successor, retired = _transitional_names(record)
    for name in (successor, retired):
        drop_index(connection, name)
    state = _describe(connection, record.index)
    if state.matches(config):
        return None
    definition = sql.SQL("ON knowledge_base USING hnsw ({} {}) WITH (m = {}, ef_construction = {})").format(
        sql.Identifier(record.column),
        sql.Identifier(config.operator_class),
        sql.Literal(config.m),
        sql.Literal(config.ef_construction),
    )
    started = time.monotonic()
    try:
        settings = _prepare_build(connection, record, config)
    except Error as error:
        raise _not_built(record.index, error) from None
    if state.valid:
        logger.info("index differs from its configuration and is built anew", extra={"index": record.index})
        _build(connection, successor, definition, settings)
        # Renaming an index locks neither the table nor its readers.
        with connection.transaction():
            _rename(connection, record.index, retired)
            _rename(connection, successor, record.index)
        drop_index(connection, retired)
    else:
        _build(connection, record.index, definition, settings)
    return time.monotonic() - started


def _prepare_build(connection: Connection, record: SpaceRecord, config: IndexConfig) -> dict[str, str]:
    """Clear away what the load left, and choose the settings of the build by what there is to index."""
    # Every vector written has left a dead row. Now this takes a moment; with the index there it would have to be
    # scanned too. TRUNCATE would lock out readers.
    connection.execute("VACUUM (ANALYZE, TRUNCATE false) knowledge_base")
    row = connection.execute(
        sql.SQL("SELECT count({}) FROM knowledge_base").format(sql.Identifier(record.column))
    ).fetchone()
    rows = row[0] if row else 0
    wanted = graph_memory_mb(rows, record.space.dimensions, config.m)
    memory = min(config.memory_mb, max(wanted, _WORKER_MEMORY_MB * (config.workers + 1)))
    logger.info(
        "building %s over %d vectors with up to %d workers and %d MB",
        record.index,
        rows,
        config.workers,
        memory,
        extra={"index": record.index, "vectors": rows, "memory_mb": memory},
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


def graph_memory_mb(rows: int, dimensions: int, m: int) -> int:
    """Memory in which an HNSW graph is built without being written out half way, in MiB.

    An element of pgvector 0.8 (HnswElementData in src/hnsw.h) takes its vector (8 bytes and 4 a dimension), 2 m
    neighbours of 16 bytes in the lowest layer, and 200 bytes; the notice that comes when the memory is used up agrees
    within 5 % for 8 to 2,000 dimensions. A quarter is added for chunks that arrive meanwhile, and 8 MiB for the rest.
    """
    return math.ceil(rows * (208 + 4 * dimensions + 32 * m) * 1.25 / 2**20) + 8


def _transitional_names(record: SpaceRecord) -> tuple[str, str]:
    """What an index is called while it is built to replace another, and after it was replaced."""
    return f"{record.index}_new", f"{record.index}_old"


def _is_settled(connection: Connection, record: SpaceRecord, config: IndexConfig) -> bool:
    """Whether the index is as configured, and a replacement that was interrupted left nothing behind."""
    left_behind = any(_describe(connection, name).exists for name in _transitional_names(record))
    return not left_behind and _describe(connection, record.index).matches(config)


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


def describe_index(database: Database, name: str) -> IndexState:
    """The state of an index; ``exists`` is False when there is none of that name."""
    return database.run(lambda connection: _describe(connection, name))


def _describe(connection: Connection, name: str) -> IndexState:
    query = """
        SELECT i.indisvalid, pg_relation_size(c.oid), o.opcname, coalesce(c.reloptions, '{}'), a.amname
        FROM pg_class c
        JOIN pg_am a ON a.oid = c.relam
        JOIN pg_index i ON i.indexrelid = c.oid
        JOIN pg_opclass o ON o.oid = i.indclass[0]
        WHERE c.oid = to_regclass(quote_ident(%s))
    """
    row = connection.execute(query, [name]).fetchone()
    if row is None:
        return IndexState(name, exists=False)
    options = dict(option.split("=", 1) for option in row[3])
    # An option that was left to its default is not recorded; these are pgvector's.
    return IndexState(
        name,
        exists=True,
        valid=row[0],
        size_bytes=row[1],
        operator_class=row[2],
        m=int(options.get("m", 16)),
        ef_construction=int(options.get("ef_construction", 64)),
        method=row[4],
    )


def measure_recall(
    database: Database, record: SpaceRecord, config: IndexConfig, *, k: int = 10, queries: int = 100
) -> RecallSample:
    """Compare the index with exact search for a random sample of stored vectors.

    A query's own row is left out. Equal distances count as equally right, so duplicates do not lower the recall.
    Method: https://github.com/pgvector/pgvector#monitoring
    """
    return database.run(lambda connection: _measure_recall(connection, record, config, k, queries))


def _measure_recall(
    connection: Connection, record: SpaceRecord, config: IndexConfig, k: int, queries: int
) -> RecallSample:
    column = sql.Identifier(record.column)
    sample = _sample(connection, column, queries)
    neighbours = sql.SQL(
        "SELECT {column} {operator} %(vector)s FROM knowledge_base WHERE {column} IS NOT NULL "
        "ORDER BY {column} {operator} %(vector)s LIMIT %(limit)s"
    ).format(column=column, operator=DISTANCE_OPERATORS[config.operator_class])
    if len(sample) <= k:
        return RecallSample(len(sample), None, planner_uses_index=False, p50_milliseconds=None)
    parameters = {"vector": sample[0], "limit": k + 1}
    _approximate(connection, config, k)
    planner_uses_index = _uses_index(connection, record.index, neighbours, parameters)
    connection.execute("SET LOCAL enable_seqscan = off")
    if not _uses_index(connection, record.index, neighbours, parameters):
        return RecallSample(len(sample), None, planner_uses_index=False, p50_milliseconds=None)
    found = right = 0
    latencies: list[float] = []
    for vector in sample:
        parameters = {"vector": vector, "limit": k + 1}
        _approximate(connection, config, k)
        connection.execute("SET LOCAL enable_seqscan = off")
        started = time.perf_counter()
        # Unprepared: the plan of a prepared query is kept when the settings that decide it change.
        approximate = [row[0] for row in connection.execute(neighbours, parameters, prepare=False).fetchall()]
        latencies.append((time.perf_counter() - started) * 1000)
        connection.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = on")
        exact = [row[0] for row in connection.execute(neighbours, parameters, prepare=False).fetchall()]
        # The first of both is the row itself, at distance 0 (or the most negative inner product).
        limit = exact[-1] + 1e-6
        right += sum(distance <= limit for distance in approximate[1 : k + 1])
        found += len(exact) - 1
    return RecallSample(len(sample), right / found, planner_uses_index, sorted(latencies)[len(sample) // 2])


def _sample(connection: Connection, column: sql.Identifier, size: int) -> list[Any]:
    """Stored vectors from a random place in hash order: hashes are uniform, and sorting by chance would read it all."""
    start = secrets.token_hex(4)
    vectors: list[Any] = []
    for comparison in (">=", "<"):
        vectors += connection.execute(
            sql.SQL(
                'SELECT {0} FROM knowledge_base WHERE {0} IS NOT NULL AND chunk_hash COLLATE "C" {1} %s '
                'ORDER BY chunk_hash COLLATE "C" LIMIT %s'
            ).format(column, sql.SQL(comparison)),
            [start, size - len(vectors)],
        ).fetchall()
    return [row[0] for row in vectors]


def _approximate(connection: Connection, config: IndexConfig, k: int) -> None:
    connection.execute("SET LOCAL enable_indexscan = on")
    connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(max(config.ef_search, k + 1))])


def _uses_index(connection: Connection, name: str, query: sql.Composed, parameters: dict[str, Any]) -> bool:
    rows = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(query), parameters, prepare=False).fetchall()
    return f"'Index Name': {name!r}" in str(rows)
