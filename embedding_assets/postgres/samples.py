"""Rows of the table at random, and stored vectors with the texts they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from embedding_assets.models import embedded_text

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
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
    text: str = field(repr=False)
    text_version: int
    vector: NDArray[np.float32] = field(repr=False)


def table_sample(rows: int) -> sql.Composed:
    """The clause behind ``knowledge_base`` that reads about so many rows at random; all of a smaller table."""
    return sql.SQL("""
        TABLESAMPLE SYSTEM ((
            SELECT least(100, 100.0 * {} / greatest(reltuples, 1)) FROM pg_class WHERE oid = 'knowledge_base'::regclass
        ))
    """).format(sql.Literal(rows))


def sample_vectors(database: Database, column: SpaceColumn, rows: int) -> list[StoredVector]:
    """At most ``rows`` stored vectors of a space, picked at random; all of them if there are no more.

    Pages are drawn by TABLESAMPLE SYSTEM: 64 of a million rows take ten milliseconds. Where fewer rows have a vector
    more of the table is read, in the end all of it, which takes a second or two for a million rows. Probing the index
    of the hashes at random places is as quick for a full column, but takes over a minute for a nearly empty one, and
    takes the hashes to be spread evenly, which those of an adopted table need not be.
    """
    return database.run(lambda connection: _sample(connection, column, rows))


def _sample(connection: Connection, column: SpaceColumn, rows: int) -> list[StoredVector]:
    table: Any = connection.execute("SELECT reltuples FROM pg_class WHERE oid = 'knowledge_base'::regclass").fetchone()
    candidates = _CANDIDATES * rows
    while True:
        # Picked first and read afterwards: the vectors lie out of line, those of other candidates need not be fetched.
        picked = sql.SQL(
            "SELECT * FROM knowledge_base {} WHERE {} IS NOT NULL ORDER BY random() LIMIT %(rows)s"
        ).format(table_sample(candidates), sql.Identifier(column.name))
        found = _read(connection, column, picked, {"rows": rows})
        if len(found) == rows or candidates >= table[0]:
            return found
        candidates *= _WIDEN


def read_vectors(database: Database, column: SpaceColumn, hashes: Sequence[str]) -> list[StoredVector]:
    """The stored vectors of these chunks; chunks that have none are left out."""
    wanted = sql.SQL("SELECT * FROM knowledge_base WHERE chunk_hash = ANY(%(hashes)s) AND {} IS NOT NULL").format(
        sql.Identifier(column.name)
    )
    return database.run(lambda connection: _read(connection, column, wanted, {"hashes": list(hashes)}))


def sample_sources(database: Database, column: SpaceColumn, rows: int) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """At most ``rows`` stored vectors of a space, shape (n, dimensions), and the source of each one's document.

    The first in the order of the hashes: any of them, as hashes are uniform, and the same ones each time.
    """
    query = sql.SQL("""
        SELECT {column}::real[], coalesce(document_metadata ->> 'source', '') FROM knowledge_base
        WHERE {column} IS NOT NULL ORDER BY chunk_hash LIMIT %s
    """).format(column=sql.Identifier(column.name))
    found = database.run(lambda connection: connection.execute(query, [rows]).fetchall())
    vectors = np.array([vector for vector, _ in found], dtype=np.float32).reshape(len(found), column.space.dimensions)
    return vectors, tuple(source for _, source in found)


def _read(
    connection: Connection, column: SpaceColumn, chosen: sql.Composed, parameters: dict[str, Any]
) -> list[StoredVector]:
    query = sql.SQL("""
        SELECT chunk_hash, coalesce(context_header, ''), coalesce(chunk_text, ''), text_version, {}::real[]
        FROM ({}) AS chosen
    """).format(sql.Identifier(column.name), chosen)
    return [
        StoredVector(chunk_hash, embedded_text(header, text), version, np.array(vector, dtype=np.float32))
        for chunk_hash, header, text, version, vector in connection.execute(query, parameters)
    ]
