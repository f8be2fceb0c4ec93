"""Rows that have one text."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from psycopg import sql

from embedding_assets.postgres.duplicates.place import MOST_PLACES, Place, digest, read_places

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database


@dataclass(frozen=True, slots=True)
class EqualGroup:
    """Rows of one text.

    Attributes:
        rows: how many.
        places: of the first ten, by their hashes.
    """

    rows: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class EqualTexts:
    """The texts that several rows have.

    Attributes:
        rows: with a text.
        groups_in_all: texts that several rows have.
        repeats: rows beyond the first of each text.
        groups: the largest.
    """

    rows: int
    groups_in_all: int
    repeats: int
    groups: tuple[EqualGroup, ...]


def find_equal_texts(database: Database, limit: int) -> EqualTexts:
    """The ``limit`` texts that most rows have; blanks between words make no difference.

    Reads every text once. PostgreSQL keeps a digest and a key of each row meanwhile, on its disk where they are many.
    """
    table = database.table
    query = sql.SQL("""
        WITH digests AS MATERIALIZED (SELECT {hash} AS hash, {key} AS key, {digest} AS digest FROM {rows} k),
        repeated AS MATERIALIZED (
            SELECT digest, count(*) AS rows FROM digests WHERE digest IS NOT NULL GROUP BY digest HAVING count(*) > 1
        ),
        largest AS (SELECT * FROM repeated ORDER BY rows DESC, digest LIMIT %(limit)s),
        numbered AS (
            SELECT digest, key, rows, row_number() OVER (PARTITION BY digest ORDER BY hash) AS number
            FROM digests JOIN largest USING (digest)
        )
        SELECT totals.*, numbered.digest, numbered.rows, numbered.key
        FROM (
            SELECT (SELECT count(*) FROM digests WHERE digest IS NOT NULL), count(*), coalesce(sum(rows - 1), 0)::bigint
            FROM repeated
        ) AS totals
        LEFT JOIN numbered ON number <= {places} ORDER BY numbered.rows DESC, digest, number
    """).format(
        hash=table.hash(),
        key=table.key_texts(),
        digest=digest(table),
        rows=table.rows,
        places=sql.Literal(MOST_PLACES),
    )
    found: list[tuple[Any, ...]] = database.run(
        lambda connection: connection.execute(query, {"limit": limit}).fetchall(), without_limits=True
    )
    rows, groups, repeats = found[0][:3]
    members = [(one, count, tuple(key)) for *_, one, count, key in found if one is not None]
    places = read_places(database, [key for _, _, key in members]) if members else {}
    return EqualTexts(
        rows,
        groups,
        repeats,
        tuple(
            EqualGroup(count, tuple(places[key] for _, _, key in group if key in places))
            for (_, count), group in groupby(members, key=lambda member: member[:2])
        ),
    )
