"""Indexes as PostgreSQL knows them: their definition and state; created and dropped without blocking anybody."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import tenacity
from psycopg import Error, sql
from psycopg.errors import DeadlockDetected, DiskFull, DuplicateTable, NumericValueOutOfRange, OutOfMemory

from embedding_assets.errors import DatabaseError
from embedding_assets.identifiers import unquoted
from embedding_assets.planning import EXACT_SEARCH_ROWS
from embedding_assets.postgres.estimates import estimate_rows
from embedding_assets.postgres.index_form import IndexForm, form_to_build, plain_form, possible_forms
from embedding_assets.postgres.locks import TABLE_LOCK, hold
from embedding_assets.postgres.partitioned import create_partitioned_index, drop_partitioned_index

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

logger = logging.getLogger(__name__)

_NAME: Final = r'(?:"(?:[^"]|"")+"|[^\s".():]+)'
_EXPRESSIONS: Final = (
    re.compile(rf"\(*(?P<column>{_NAME})\)*::(?:{_NAME}\.)?(?P<cast>halfvec\(\d+\))\)*"),
    re.compile(rf"\(*(?:{_NAME}\.)?binary_quantize\((?P<column>{_NAME})\)\)*::(?P<cast>bit\(\d+\))\)*"),
)
"""Expressions over a column as pg_get_indexdef writes them, which may be qualified by pgvector's schema."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """Definition and state of a vector index, as PostgreSQL's catalog has them.

    Attributes:
        column: that is indexed, or is in the expression that is; empty where that is another expression than ours.
        cast: the type in which the expression ends, such as ``halfvec(768)``; empty for a column itself.
    """

    name: str
    exists: bool
    valid: bool = False
    size_bytes: int = 0
    operator_class: str = ""
    m: int = 0
    ef_construction: int = 0
    method: str = "hnsw"
    column: str = ""
    cast: str = ""

    def form(self, column: SpaceColumn) -> IndexForm | None:
        """The form of index of the space's column that it is; None if it is none."""
        mine = (self.method, self.column, self.cast, self.operator_class)
        return next(
            (form for form in possible_forms(column) if mine == ("hnsw", column.name, form.cast, form.operator_class)),
            None,
        )

    def matches(self, column: SpaceColumn, config: IndexConfig) -> bool:
        """True if it is usable and was built as the space needs it and as configured, whatever its type if that is not.

        A default that changes thus rebuilds nothing.
        """
        form = self.form(column)
        if not self.valid or form is None or (config.type and form != form_to_build(column, config.type)):
            return False
        return (self.m, self.ef_construction) == (config.m, config.ef_construction)

    def vector_bytes(self, column: SpaceColumn) -> int:
        """Bytes of the numbers that it holds of a vector."""
        return (self.form(column) or plain_form(column)).vector_bytes

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
        SELECT c.relname, i.indisvalid, o.opcname, coalesce(c.reloptions, '{}'), a.amname, i.indkey[0] = 0,
               pg_get_indexdef(c.oid, 1, false),
               pg_relation_size(c.oid) + coalesce(
                   (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(c.oid) WHERE relid <> c.oid), 0
               )::bigint
        FROM pg_class c
        JOIN pg_am a ON a.oid = c.relam
        JOIN pg_index i ON i.indexrelid = c.oid
        JOIN pg_opclass o ON o.oid = i.indclass[0]
        WHERE c.relname = %s AND i.indrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
    """
    row = connection.execute(query, [name, table.schema, table.name]).fetchone()
    return IndexState(name, exists=False) if row is None else state_of(row)


def vector_indexes(connection: Connection, table: Table, column: SpaceColumn) -> list[IndexState]:
    """The indexes that searches in a space can use, without their sizes: the space's own first, then the most exact."""
    query = """
        SELECT c.relname, i.indisvalid, o.opcname, coalesce(c.reloptions, '{}'), a.amname, i.indkey[0] = 0,
               pg_get_indexdef(c.oid, 1, false)
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam
        JOIN pg_opclass o ON o.oid = i.indclass[0]
        WHERE i.indrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND a.amname = 'hnsw'
          AND i.indisvalid AND i.indpred IS NULL
        ORDER BY c.relname
    """
    rows = connection.execute(query, [table.schema, table.name]).fetchall()
    return _of_column(map(state_of, rows), column)


def form_of(states: Iterable[IndexState], column: SpaceColumn, rows: int) -> IndexForm | None:
    """The form of the index that is there, of whatever type, by which a search is worded; None: it is to be exact.

    It is where there is no index, and where the column itself is as quickly read as an index of signs.

    Args:
        states: of the table's vector indexes.
        column: of the space.
        rows: of the table, about.
    """
    found = _of_column(states, column)
    form = found[0].form(column) if found else None
    return None if form is not None and form.is_rough and rows <= EXACT_SEARCH_ROWS else form


def form_for_search(connection: Connection, table: Table, column: SpaceColumn) -> IndexForm | None:
    """As ``form_of``, on a connection at hand."""
    return form_of(vector_indexes(connection, table, column), column, estimate_rows(connection, table))


def _of_column(states: Iterable[IndexState], column: SpaceColumn) -> list[IndexState]:
    """The space's own first, then the most exact."""
    return sorted(
        (state for state in states if state.form(column) is not None),
        key=lambda state: (state.name != column.index, -state.vector_bytes(column), state.name),
    )


IndexRow = tuple[Any, ...]
"""Name, validity, operator class, options, method, whether it is of an expression, its key, and its size if known."""


def state_of(row: IndexRow) -> IndexState:
    """The state that a row of the catalog says."""
    name, valid, operator_class, options, method, is_expression, key, *size = row
    # An option that was left to its default is not recorded; these are pgvector's.
    values = {"m": "16", "ef_construction": "64", **dict(option.split("=", 1) for option in options)}
    column, cast = _parse_key(key) if is_expression else (unquoted(key), "")
    return IndexState(
        name,
        exists=True,
        valid=valid,
        size_bytes=size[0] if size else 0,
        operator_class=operator_class,
        m=int(values["m"]),
        ef_construction=int(values["ef_construction"]),
        method=method,
        column=column,
        cast=cast,
    )


def _parse_key(key: str) -> tuple[str, str]:
    """The column and the type of an indexed expression; both empty for any other than ours."""
    found: Any = next(filter(None, (pattern.fullmatch(key) for pattern in _EXPRESSIONS)), None)
    return (unquoted(found["column"]), found["cast"]) if found else ("", "")


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
        for parameter, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", [parameter, value])
        _create_index(connection, table, name, definition)
    except (DiskFull, OutOfMemory) as error:
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


# A build waits for transactions that began before it. One of them may wait for it in turn; PostgreSQL then ends either.
@tenacity.retry(
    retry=tenacity.retry_if_exception_type(DeadlockDetected),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_random(0.2, 1.0),
    reraise=True,
)
def _create_index(connection: Connection, table: Table, name: str, definition: sql.Composable) -> None:
    drop_index(connection, table, name)
    if table.is_partitioned:
        create_partitioned_index(connection, table, name, definition)
    else:
        create = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} {}")
        connection.execute(create.format(sql.Identifier(name), table.relation, definition), [])


def not_built(name: str, error: Error) -> DatabaseError:
    """The error of a build that failed."""
    if isinstance(error, DuplicateTable):
        return DatabaseError(
            f"index {name} was not built: something else in the table's schema has this name, as after a swap of the "
            "table; drop that or give it another name, and run again"
        )
    if isinstance(error, NumericValueOutOfRange):
        return DatabaseError(
            f"index {name} was not built: a vector has a number that 2 bytes cannot hold; set "
            "EMBEDDING_INDEX_TYPE=vector, and run again"
        )
    return DatabaseError(f"index {name} was not built: {_reason(error)}; run again to try once more")


def _reason(error: Error) -> str:
    return error.diag.message_primary or "the connection was lost"
