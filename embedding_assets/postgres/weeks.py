"""Vectors by the week in which the documents of their chunks were loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn


@dataclass(frozen=True, slots=True)
class Week:
    """Chunks with a vector of those documents that were new, or last changed, in one week.

    Attributes:
        monday: on which it begins in UTC; None for all the time before the weeks that were asked for.
        chunks: how many.
        documents: how many they are of.
        vectors: of at most as many of them as were asked for, unit length, shape (n, dimensions); those with the first
            hashes, which are any. Zero vectors are left out.
        origins: the document of each of these.
    """

    monday: date | None
    chunks: int
    documents: int
    vectors: NDArray[np.float32] = field(repr=False)
    origins: tuple[str, ...] = field(repr=False)


def read_weeks(database: Database, column: SpaceColumn, *, weeks: int, vectors: int) -> tuple[list[Week], int]:
    """The last ``weeks`` weeks up to the last load, and what was before, oldest first; and chunks without a date.

    Weeks in which nothing was loaded are left out. ``knowledge_base`` only: of other tables no date is known.

    Args:
        database: where.
        column: whose vectors.
        weeks: how many.
        vectors: to read in all; as many of each week, of a smaller one all.
    """
    parts = {
        "name": sql.Identifier(column.name),
        "table": database.table.relation,
        "dated": sql.SQL("""
            SELECT k.chunk_hash, d.origin, d.origin IS NULL AS undated,
                   CASE WHEN week >= latest - {} THEN week END AS monday
            FROM {} k
            LEFT JOIN (
                SELECT origin, week, max(week) OVER () AS latest
                FROM (SELECT origin, date_trunc('week', loaded_at AT TIME ZONE 'UTC')::date AS week
                      FROM loaded_documents) AS weekly
            ) AS d ON d.origin = k.document_metadata ->> 'origin'
            WHERE k.{} IS NOT NULL
        """).format(sql.Literal(7 * (weeks - 1)), database.table.relation, sql.Identifier(column.name)),
    }
    counted = sql.SQL("""
        SELECT undated, monday, count(*), count(DISTINCT origin) FROM ({dated}) AS dated
        GROUP BY undated, monday ORDER BY undated, monday NULLS FIRST
    """).format(**parts)
    # By the hash alone first: the vectors lie out of line, and are read of few rows.
    picked = sql.SQL("""
        SELECT monday, origin, k.{name}::vector FROM (
            SELECT monday, origin, chunk_hash, row_number() OVER (PARTITION BY monday ORDER BY chunk_hash) AS number
            FROM ({dated}) AS dated WHERE NOT undated
        ) AS numbered JOIN {table} k USING (chunk_hash) WHERE number <= %(each)s ORDER BY monday, chunk_hash
    """).format(**parts)

    def read(connection: Connection) -> tuple[list[Week], int]:
        counts = connection.execute(counted, []).fetchall()
        dated = [row[1:] for row in counts if not row[0]]
        each = max(1, vectors // max(1, len(dated)))
        found: dict[date | None, list[tuple[str, NDArray[np.float32]]]] = {}
        for monday, origin, vector in connection.execute(picked, {"each": each}):
            numbers = vector.to_numpy()
            length = np.linalg.norm(numbers)
            if length > 0:
                found.setdefault(monday, []).append((origin, numbers / length))
        return [
            _week(monday, chunks, documents, found.get(monday, []), column.space.dimensions)
            for monday, chunks, documents in dated
        ], sum(row[2] for row in counts if row[0])

    return database.run(read, without_limits=True)


def _week(
    monday: date | None,
    chunks: int,
    documents: int,
    found: list[tuple[str, NDArray[np.float32]]],
    dimensions: int,
) -> Week:
    vectors = np.array([vector for _, vector in found], dtype=np.float32).reshape(len(found), dimensions)
    return Week(monday, chunks, documents, vectors, tuple(origin for origin, _ in found))
