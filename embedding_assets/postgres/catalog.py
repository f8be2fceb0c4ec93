"""Indexes as PostgreSQL knows them: their definition and state; created and dropped without blocking anybody."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from psycopg import Error, sql
from psycopg.errors import DiskFull, DuplicateTable

from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.locks import TABLE_LOCK, hold
from embedding_assets.postgres.partitioned import create_partitioned_index, drop_partitioned_index

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import Similarity, SpaceColumn

logger = logging.getLogger(__name__)

DISTANCE_OPERATORS: Final[Mapping[Similarity, sql.SQL]] = {
    "cosine": sql.SQL("<=>"),
    "dot": sql.SQL("<#>"),
    "euclidean": sql.SQL("<->"),
    "manhattan": sql.SQL("<+>"),
}
"""pgvector's distances: 1 - cosine, the negative inner product, the Euclidean and the Manhattan distance."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """Definition and state of a vector index, as PostgreSQL's catalog has them."""

    name: str
    exists: bool
    valid: bool = False
    size_bytes: int = 0
    operator_class: str = ""
    m: int = 0
    ef_construction: int = 0
    method: str = "hnsw"

    def matches(self, column: SpaceColumn, config: IndexConfig) -> bool:
        """True if it is usable and was built as the space needs it and as configured."""
        return self.valid and self.definition == ("hnsw", column.operator_class, config.m, config.ef_construction)

    @property
    def status(self) -> Literal["valid", "invalid", "missing"]:
        """In a word; ``invalid``: a build of it failed."""
        return "valid" if self.valid else "invalid" if self.exists else "missing"

    @property
    def definition(self) -> tuple[str, str, int, int]:
        """Method, operator class, m and ef_construction that it was built with."""
        return self.method, self.operator_class, self.m, self.ef_construction


def describe_index(database: Database, name: str) -> IndexState:
    """The state of an index; ``exists`` is False when there is none of that name."""
    return database.run(lambda connection: describe(connection, database.table, name))


def describe(connection: Connection, table: Table, name: str) -> IndexState:
    """As ``describe_index``, on a connection at hand."""
    query = """
        SELECT i.indisvalid,
               pg_relation_size(c.oid) + coalesce(
                   (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(c.oid) WHERE relid <> c.oid), 0
               )::bigint,
               o.opcname, coalesce(c.reloptions, '{}'), a.amname
        FROM pg_class c
        JOIN pg_am a ON a.oid = c.relam
        JOIN pg_index i ON i.indexrelid = c.oid
        JOIN pg_opclass o ON o.oid = i.indclass[0]
        WHERE c.relname = %s AND i.indrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
    """
    row = connection.execute(query, [name, table.schema, table.name]).fetchone()
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


def parts_of_index(connection: Connection, table: Table, name: str) -> frozenset[str]:
    """Names of an index and of its parts on the table's partitions, by which plans call it."""
    query = """
        SELECT relname FROM pg_class WHERE oid IN (
            SELECT relid FROM pg_partition_tree(to_regclass(format('%%I.%%I', %s::text, %s::text)))
        )
    """
    return frozenset([name, *(row[0] for row in connection.execute(query, [table.schema, name]).fetchall())])


def ensure_index(database: Database, name: str, definition: sql.Composable) -> bool:
    """Build index ``name`` unless a valid one exists; one process builds, others wait for it.

    CONCURRENTLY, so neither readers nor writers are blocked; what a failed build left behind is dropped first.

    Args:
        database: where.
        name: of the index.
        definition: what follows the table in CREATE INDEX.

    Returns:
        Whether it was built.

    Raises:
        DatabaseError: it could not be built.
    """
    with database.session() as connection:
        table = database.table
        if describe(connection, table, name).valid:
            return False
        with hold(connection, TABLE_LOCK):
            if describe(connection, table, name).valid:
                return False
            lift_time_limit(connection)
            create_index(connection, table, name, definition, {})
            connection.execute(sql.SQL("ANALYZE {}").format(table.relation), [])
    return True


def ensure_pending_index(database: Database, column: SpaceColumn) -> None:
    """Build the partial index that finds chunks without a vector in a space, unless it is there.

    Raises:
        DatabaseError: it could not be built.
    """
    table = database.table
    conditions: list[sql.Composable] = [sql.SQL("{} IS NULL").format(sql.Identifier(column.name))]
    if table.where is not None:
        conditions.append(table.condition)
    ensure_index(
        database,
        column.pending_index,
        sql.SQL("({}) WHERE {}").format(table.order(""), sql.SQL(" AND ").join(conditions)),
    )


def drop_index(connection: Connection, table: Table, name: str) -> None:
    """Drop an index of the table without blocking readers; the connection must be in autocommit mode.

    Raises:
        DatabaseError: it could not be dropped.
    """
    try:
        if not describe(connection, table, name).exists:
            return
        if table.is_partitioned:
            drop_partitioned_index(connection, table, name)
        else:
            connection.execute(
                sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(table.schema, name))
            )
    except Error as error:
        raise DatabaseError(f"index {name} was not dropped: {_reason(error)}") from None


def lift_time_limit(connection: Connection) -> None:
    """Lift ``statement_timeout`` for a build, which would run into it each time and never end."""
    connection.execute("SELECT set_config('statement_timeout', '0', false)")


def create_index(
    connection: Connection, table: Table, name: str, definition: sql.Composable, settings: Mapping[str, str]
) -> None:
    """Create an index CONCURRENTLY on an autocommit connection; drops what a failed build of that name left behind.

    Args:
        connection: outside a transaction, under ``TABLE_LOCK``.
        table: whose index.
        name: of the index.
        definition: what follows the table in CREATE INDEX.
        settings: server parameters for the build, e.g. ``maintenance_work_mem``.

    Raises:
        DatabaseError: it could not be built.
    """
    try:
        drop_index(connection, table, name)
        for parameter, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", [parameter, value])
        if table.is_partitioned:
            create_partitioned_index(connection, table, name, definition)
        else:
            create = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} {}")
            connection.execute(create.format(sql.Identifier(name), table.relation, definition), [])
    except DiskFull as error:
        if settings.get("max_parallel_maintenance_workers", "0") == "0":
            raise not_built(name, error) from None
        # A parallel build takes its memory from /dev/shm, of which a container has 64 MB by default.
        logger.warning(
            "no parallel build of %s (%s); trying without workers. In a container give the server more shared memory "
            "(--shm-size), or set EMBEDDING_INDEX_WORKERS=0",
            name,
            _reason(error),
            extra={"index": name},
        )
        create_index(connection, table, name, definition, {**settings, "max_parallel_maintenance_workers": "0"})
    except Error as error:
        raise not_built(name, error) from None


def not_built(name: str, error: Error) -> DatabaseError:
    """The error of a build that failed."""
    if isinstance(error, DuplicateTable):
        return DatabaseError(
            f"index {name} was not built: something else in the table's schema has this name, as after a swap of the "
            "table; drop that or give it another name, and run again"
        )
    return DatabaseError(f"index {name} was not built: {_reason(error)}; run again to try once more")


def _reason(error: Error) -> str:
    return error.diag.message_primary or "the connection was lost"
