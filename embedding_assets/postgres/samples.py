"""Rows of the table at random, and stored vectors with the texts they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

SAMPLE_ROWS: Final = 100_000
"""Rows that are read of a large table where all of them would take too long."""

_CANDIDATES: Final = 20
"""Rows of the pages looked at for each row that is wanted, so that few of those picked share a page."""

_WIDEN: Final = 16
"""Factor by which the sample grows when its rows have too few vectors."""


@dataclass(frozen=True, slots=True)
class StoredVector:
    """A vector and the text it was computed from, as they were at one moment."""

    chunk_hash: str
    key: tuple[str, ...]
    text: str = field(repr=False)
    vector: NDArray[np.float32] = field(repr=False)


def table_sample(table: Table, rows: int) -> sql.Composed:
    """The table with the clause behind it that reads about so many rows at random; all of a smaller table."""
    return sql.SQL("{} k TABLESAMPLE SYSTEM ((SELECT least(100, 100.0 * {} / greatest(({}), 1))))").format(
        table.relation, sql.Literal(rows), estimated_rows(table)
    )


def estimated_rows(table: Table) -> sql.Composed:
    """The number of rows that the last vacuum or ANALYZE counted, as a query; less than 0 before the first."""
    # Of a partitioned table ANALYZE alone counts the rows, and nothing calls that by itself.
    return sql.SQL(
        "SELECT sum(reltuples)::real FROM pg_class WHERE relkind = 'r' AND oid IN "
        "(SELECT {0}::regclass UNION ALL SELECT relid FROM pg_partition_tree({0}))"
    ).format(sql.Literal(table.relation.as_string()))


def sample_vectors(database: Database, column: SpaceColumn, rows: int) -> list[StoredVector]:
    """At most ``rows`` stored vectors of a space, picked at random; all of them if there are no more.

    Pages are drawn by TABLESAMPLE SYSTEM: 64 of a million rows take ten milliseconds. Where fewer rows have a vector
    more of the table is read, in the end all of it, which takes a second or two for a million rows. Probing the index
    of the hashes at random places is as quick for a full column, but takes over a minute for a nearly empty one, and
    takes the hashes to be spread evenly, which those of an adopted table need not be.
    """
    return database.run(lambda connection: _sample(connection, database.table, column, rows))


def _sample(connection: Connection, table: Table, column: SpaceColumn, rows: int) -> list[StoredVector]:
    estimated: Any = connection.execute(estimated_rows(table), []).fetchone()
    candidates = _CANDIDATES * rows
    while True:
        # Picked first and read afterwards: the vectors lie out of line, those of other candidates need not be fetched.
        picked = sql.SQL("SELECT * FROM {} WHERE {} IS NOT NULL AND {} ORDER BY random() LIMIT %(rows)s").format(
            table_sample(table, candidates), sql.Identifier(column.name), table.condition
        )
        found = _read(connection, table, column, picked, {"rows": rows})
        if len(found) == rows or candidates >= estimated[0]:
            return found
        candidates *= _WIDEN


def read_vectors(database: Database, column: SpaceColumn, keys: Sequence[tuple[str, ...]]) -> list[StoredVector]:
    """The stored vectors of the rows with these keys; rows that have none are left out."""
    table = database.table
    wanted = sql.SQL("""
        SELECT k.* FROM jsonb_to_recordset(%(keys)s) AS wanted (key text[]) JOIN {} k ON {} WHERE k.{} IS NOT NULL
    """).format(table.rows, table.key_equals(sql.SQL("wanted.key")), sql.Identifier(column.name))
    parameters = {"keys": Jsonb([{"key": key} for key in keys])}
    return database.run(lambda connection: _read(connection, table, column, wanted, parameters))


def has_vectors(database: Database, column: SpaceColumn) -> bool:
    """Whether any row has a vector in a space; reads up to the first that has."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} k WHERE k.{} IS NOT NULL)").format(
        database.table.rows, sql.Identifier(column.name)
    )
    return database.run(lambda connection: connection.execute(query, []).fetchone()) == (True,)


def sample_sources(database: Database, column: SpaceColumn, rows: int) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """At most ``rows`` stored vectors of a space, shape (n, dimensions), and the source of each one's document.

    The first in the order of the table's key, the same ones each time. In ``knowledge_base`` that is any of them, as
    hashes are uniform.
    """
    query = sql.SQL("""
        SELECT {column}::real[], {source} FROM {rows} k WHERE {column} IS NOT NULL ORDER BY {order} LIMIT %s
    """).format(
        column=sql.Identifier(column.name),
        source=database.table.source(),
        rows=database.table.rows,
        order=database.table.key_order(),
    )
    found = database.run(lambda connection: connection.execute(query, [rows]).fetchall())
    vectors = np.array([vector for vector, _ in found], dtype=np.float32).reshape(len(found), column.space.dimensions)
    return vectors, tuple(source for _, source in found)


def _read(
    connection: Connection, table: Table, column: SpaceColumn, chosen: sql.Composed, parameters: dict[str, Any]
) -> list[StoredVector]:
    query = sql.SQL("SELECT {}, {}, {}, k.{}::real[] FROM ({}) AS k").format(
        table.hash(), table.key_texts(), table.text(), sql.Identifier(column.name), chosen
    )
    return [
        StoredVector(chunk_hash, tuple(key), text, np.array(vector, dtype=np.float32))
        for chunk_hash, key, text, vector in connection.execute(query, parameters)
    ]
