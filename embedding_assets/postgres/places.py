"""Where the chunks of the table stand, read one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.planning import looks_at_all
from embedding_assets.postgres.conditions.document import file_name
from embedding_assets.postgres.estimates import estimate_rows

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table

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
    return _read(database, _places_of(database.table, with_text=with_text), {}, work)


def find_places(
    database: Database,
    work: Callable[[ChunkPlace], None],
    *,
    sources: Collection[str],
    metadata: Collection[Mapping[str, str | int | float | bool]],
    with_text: bool = False,
) -> int:
    """Call ``work`` with the rows of ``knowledge_base`` that indexes find by these names; returns how many.

    Looks for none where that takes longer than to read the table, nor in a table that was adopted. Like
    ``read_places`` it may show a row twice.

    Args:
        database: where.
        work: what to do with each.
        sources: sources, their ends from a folder's name on, or hashes.
        metadata: fields with their values; of each, rows that have them all.
        with_text: whether to read the texts too.
    """
    table = database.table
    rows = database.run(lambda connection: estimate_rows(connection, table))
    if not table.is_own or looks_at_all(rows, len(sources) + len(metadata)):
        return 0
    document = sql.SQL("k.document_metadata")
    chosen = _places_of(table, with_text=with_text)
    query = sql.SQL("""
        {chosen} WHERE k.chunk_hash = ANY(%(sources)s)
        UNION ALL {chosen} WHERE {file} = ANY(%(files)s)
        UNION ALL {chosen} JOIN unnest(%(metadata)s::jsonb[]) AS wanted ON {document} @> wanted
    """).format(chosen=chosen, file=file_name(document), document=document)
    parameters = {
        "sources": list(sources),
        "files": list({source.rpartition("/")[2] for source in sources}),
        "metadata": [json.dumps(fields) for fields in metadata],
    }
    return _read(database, query, parameters, work)


def _places_of(table: Table, *, with_text: bool) -> sql.Composed:
    return sql.SQL("SELECT {}, {}, {}, {}, {} FROM {} k").format(
        table.hash(),
        table.source(),
        table.headings(),
        table.metadata_of(),
        table.body() if with_text else sql.SQL("''"),
        table.rows,
    )


def _read(
    database: Database, query: sql.Composed, parameters: Mapping[str, Any], work: Callable[[ChunkPlace], None]
) -> int:
    def read(connection: Connection) -> int:
        count = 0
        with connection.cursor(name="embedding_assets_places") as cursor:
            cursor.itersize = _PORTION
            cursor.execute(query, parameters)
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
