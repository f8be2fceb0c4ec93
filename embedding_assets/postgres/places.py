"""Where the chunks of the table stand, read one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database

_PORTION: Final = 2000


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk stands.

    Attributes:
        chunk_hash: the row's hash.
        source: as searches show it.
        header: headings above the text.
        metadata: what searches show of the row.
        text: without the header; empty if it was not asked for.
    """

    chunk_hash: str
    source: str
    header: str
    metadata: dict[str, Any] = field(repr=False)
    text: str = field(repr=False)


def read_places(database: Database, work: Callable[[ChunkPlace], None], *, with_text: bool = False) -> int:
    """Call ``work`` with every row; returns how many. Reads the table once, some thousand rows at a time.

    After a transient failure the table is read again from its start, so ``work`` may see a row twice.
    """
    table = database.table
    query = sql.SQL("SELECT {}, {}, {}, {}, {} FROM {} k").format(
        table.hash(),
        table.source(),
        table.headings(),
        table.metadata_of(),
        table.body() if with_text else sql.SQL("''"),
        table.rows,
    )

    def read(connection: Connection) -> int:
        count = 0
        with connection.cursor(name="embedding_assets_places") as cursor:
            cursor.itersize = _PORTION
            cursor.execute(query, [])
            for row in cursor:
                work(_place(row))
                count += 1
        return count

    return database.run(read, without_limits=True)


def sample_places(database: Database, rows: int) -> list[ChunkPlace]:
    """Rows with their texts, at most one of a source and its headings, picked evenly over the hashes.

    The same ones each time, while the table is the same.
    """
    table = database.table
    query = sql.SQL("""
        SELECT * FROM (
            SELECT DISTINCT ON (source, header) * FROM (
                SELECT {hash} AS hash, {source} AS source, {header} AS header, {metadata} AS metadata, {text} AS text
                FROM {rows} k
            ) AS places
            ORDER BY source, header, hash
        ) AS firsts ORDER BY md5(hash) LIMIT %s
    """).format(
        hash=table.hash(),
        source=table.source(),
        header=table.headings(),
        metadata=table.metadata_of(),
        text=table.body(),
        rows=table.rows,
    )
    found = database.run(lambda connection: connection.execute(query, [rows]).fetchall(), without_limits=True)
    return [_place(row) for row in found]


def _place(row: tuple[Any, ...]) -> ChunkPlace:
    chunk_hash, source, header, metadata, text = row
    # An adopted table may hold any JSON.
    return ChunkPlace(chunk_hash, source, header, metadata if isinstance(metadata, dict) else {}, text)
