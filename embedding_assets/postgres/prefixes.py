"""The chunks of a space by the first characters of their hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from embedding_assets.postgres.chunks import count_pending_by_prefix
from embedding_assets.postgres.failures import count_quarantined

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.spaces import SpaceRecord

__all__ = ["PrefixRows", "count_by_prefix"]


@dataclass(frozen=True, slots=True)
class PrefixRows:
    """Chunks of a prefix: with a vector, without one but not quarantined, quarantined."""

    prefix: str
    embedded: int
    pending: int
    quarantined: int = 0


def count_by_prefix(database: Database, record: SpaceRecord, length: int) -> tuple[PrefixRows, ...]:
    """Ascending, those without a chunk left out; reads indexes only: two seconds for a million chunks.

    Args:
        database: where.
        record: the space.
        length: of the prefixes, in lowercase hex characters.
    """
    embedded = _embedded_by_prefix(database, record, length)
    pending = count_pending_by_prefix(database, record, length)
    quarantined = count_quarantined(database, record.space.name, length)
    return tuple(
        PrefixRows(prefix, embedded.get(prefix, 0), pending.get(prefix, 0), quarantined.get(prefix, 0))
        for prefix in sorted({*embedded, *pending, *quarantined})
    )


def _embedded_by_prefix(database: Database, record: SpaceRecord, length: int) -> dict[str, int]:
    """Counted as the rows of a prefix less those without a vector: both by an index alone."""
    query = sql.SQL("""
        SELECT prefix, sum(rows)::bigint FROM (
            SELECT left(chunk_hash, %(length)s) AS prefix, count(*) AS rows FROM knowledge_base
            WHERE {reachable} GROUP BY 1
            UNION ALL
            SELECT left(chunk_hash, %(length)s), -count(*) FROM knowledge_base
            WHERE {reachable} AND {column} IS NULL GROUP BY 1
        ) AS counts GROUP BY 1
    """).format(column=sql.Identifier(record.column), reachable=sql.SQL("chunk_hash ~ '^[0-9a-f]{2,}$'"))
    return dict(database.run(lambda connection: connection.execute(query, {"length": length}).fetchall()))
