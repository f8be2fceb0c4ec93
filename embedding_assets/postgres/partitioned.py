"""Indexes of a partitioned table, which PostgreSQL builds without blocking writers one partition at a time only."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import tenacity
from psycopg import errors as pg
from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection
    from embedding_assets.postgres.table import Table

_LONGEST_STEM: Final = 46

_PATIENCE_SECONDS: Final = 300.0


def create_partitioned_index(connection: Connection, table: Table, name: str, definition: sql.Composable) -> None:
    """Build an index on every partition CONCURRENTLY, and attach each to that of the table.

    It is valid once all are attached. What an interrupted build left on a partition is dropped first. A partition that
    is added later gets its index from PostgreSQL.

    Args:
        connection: in autocommit mode.
        table: a partitioned one.
        name: of the index, which is not there.
        definition: what follows the table in CREATE INDEX.
    """
    _drop_left_behind(connection, table, name)
    rows = connection.execute(
        """
        SELECT relid::bigint, parentrelid::bigint, isleaf, nspname, relname
        FROM pg_partition_tree(to_regclass(format('%%I.%%I', %s::text, %s::text))) JOIN pg_class c ON c.oid = relid
        JOIN pg_namespace n ON n.oid = relnamespace ORDER BY level, relid
        """,
        [table.schema, table.name],
    ).fetchall()
    indexes: dict[int, sql.Identifier] = {}
    for relid, parent, is_leaf, schema, relation in rows:
        target = sql.Identifier(schema, relation.replace("%", "%%"))
        own = name if parent is None else f"{name[:_LONGEST_STEM]}_{uuid.uuid4().hex[:8]}"
        how = "CREATE INDEX CONCURRENTLY {} ON {} {}" if is_leaf else "CREATE INDEX {} ON ONLY {} {}"
        execute = connection.execute if is_leaf else partial(_execute_briefly, connection)
        execute(sql.SQL(how).format(sql.Identifier(own), target, definition), [])
        indexes[relid] = sql.Identifier(schema, own)
        if parent is not None:
            attach = sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(indexes[parent], indexes[relid])
            _execute_briefly(connection, attach)


def drop_partitioned_index(connection: Connection, table: Table, name: str) -> None:
    """Drop an index with all its parts, for which readers wait a moment: it cannot be done CONCURRENTLY."""
    _execute_briefly(connection, sql.SQL("DROP INDEX {}").format(sql.Identifier(table.schema, name)))


def _execute_briefly(connection: Connection, statement: sql.Composed, parameters: Sequence[object] = ()) -> None:
    """Execute what locks the whole table, without letting others wait behind it for long; again if need be."""

    def attempt() -> None:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '2s'")
            connection.execute(statement, parameters)

    tenacity.Retrying(
        stop=tenacity.stop_after_delay(_PATIENCE_SECONDS),
        wait=tenacity.wait_random(0.5, 2),
        retry=tenacity.retry_if_exception_type(pg.LockNotAvailable),
        reraise=True,
    )(attempt)


def _drop_left_behind(connection: Connection, table: Table, name: str) -> None:
    rows: list[tuple[Any, ...]] = connection.execute(
        """
        SELECT nspname, c.relname FROM pg_index i JOIN pg_class c ON c.oid = indexrelid
        JOIN pg_namespace n ON n.oid = relnamespace
        JOIN pg_partition_tree(to_regclass(format('%%I.%%I', %s::text, %s::text))) t ON t.relid = indrelid AND isleaf
        WHERE NOT c.relispartition AND left(c.relname, -9) = %s AND right(c.relname, 9) ~ '^_[0-9a-f]{8}$'
        """,
        [table.schema, table.name, name[:_LONGEST_STEM]],
    ).fetchall()
    for schema, index in rows:
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(schema, index)))
