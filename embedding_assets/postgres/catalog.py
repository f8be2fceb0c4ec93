"""Indexes as PostgreSQL knows them: their definition and state; created and dropped without blocking anybody."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from psycopg import Error, sql
from psycopg.errors import DiskFull

from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.locks import TABLE_LOCK, hold

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
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
    return database.run(lambda connection: describe(connection, name))


def describe(connection: Connection, name: str) -> IndexState:
    """As ``describe_index``, on a connection at hand."""
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
            lift_time_limit(connection)
            create_index(connection, name, definition, {})
            connection.execute("ANALYZE knowledge_base")
    return True


def ensure_pending_index(database: Database, column: SpaceColumn) -> None:
    """Build the partial index that finds chunks without a vector in a space, unless it is there.

    Raises:
        DatabaseError: it could not be built.
    """
    ensure_index(
        database,
        column.pending_index,
        sql.SQL('ON knowledge_base (chunk_hash COLLATE "C") WHERE {} IS NULL').format(sql.Identifier(column.name)),
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


def lift_time_limit(connection: Connection) -> None:
    """Lift ``statement_timeout`` for a build, which would run into it each time and never end."""
    connection.execute("SELECT set_config('statement_timeout', '0', false)")


def create_index(connection: Connection, name: str, definition: sql.Composable, settings: Mapping[str, str]) -> None:
    """Create an index CONCURRENTLY on an autocommit connection; drops what a failed build of that name left behind.

    Args:
        connection: outside a transaction, under ``TABLE_LOCK``.
        name: of the index.
        definition: what follows the name in CREATE INDEX.
        settings: server parameters for the build, e.g. ``maintenance_work_mem``.

    Raises:
        DatabaseError: it could not be built.
    """
    try:
        drop_index(connection, name)
        for parameter, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", [parameter, value])
        connection.execute(sql.SQL("CREATE INDEX CONCURRENTLY {} {}").format(sql.Identifier(name), definition))
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
        create_index(connection, name, definition, {**settings, "max_parallel_maintenance_workers": "0"})
    except Error as error:
        raise not_built(name, error) from None


def not_built(name: str, error: Error) -> DatabaseError:
    """The error of a build that failed."""
    return DatabaseError(f"index {name} was not built: {_reason(error)}; run again to try once more")


def _reason(error: Error) -> str:
    return error.diag.message_primary or "the connection was lost"
