"""The table of chunks: documents are stored in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Jsonb

from embedding_assets.errors import ConfigurationError
from embedding_assets.models import ProcessedChunk

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database

_LOADED_COLUMNS = sql.SQL(
    "chunk_hash, chunk_text, context_header, document_metadata, chunk_index, total_chunks, token_count"
)

_RECORD_DOCUMENT = """
    INSERT INTO loaded_documents (origin, digest, chunks) VALUES (%s, %s, %s)
    ON CONFLICT (origin) DO UPDATE SET digest = excluded.digest, chunks = excluded.chunks, loaded_at = now()
"""


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """A document that was loaded completely: where it came from, its fingerprint, its chunks."""

    origin: str
    digest: str
    hashes: frozenset[str]


def is_unchanged(database: Database, origin: str, digest: str) -> bool:
    """True if a document is loaded as it is now, with all its chunks still there."""
    query = """
        SELECT 1 FROM loaded_documents d WHERE d.origin = %s AND d.digest = %s
        AND d.chunks = (SELECT count(*) FROM knowledge_base k WHERE k.document_metadata ->> 'origin' = d.origin)
    """
    return database.run(lambda connection: connection.execute(query, [origin, digest]).fetchone()) is not None


def store_chunks(
    database: Database, chunks: Sequence[ProcessedChunk], completed: Sequence[LoadedDocument]
) -> tuple[int, int]:
    """Add chunks that are new, update the position of known ones, and close the documents that are complete.

    One transaction. Closing a document removes the chunks it no longer has; chunks that stay keep their vectors.

    Returns:
        How many chunks were added, and how many removed.

    Raises:
        ConfigurationError: the table is one that somebody else fills.
    """
    check_is_own(database)
    return database.run(lambda connection: _store(connection, chunks, completed))


def check_is_own(database: Database) -> None:
    """Make sure that chunks may be stored.

    Raises:
        ConfigurationError: the table is one that somebody else fills.
    """
    if not database.table.is_own:
        raise ConfigurationError(f"{database.table} is filled by others; set EMBEDDING_TABLE=knowledge_base to load")


def _store(
    connection: Connection, chunks: Sequence[ProcessedChunk], completed: Sequence[LoadedDocument]
) -> tuple[int, int]:
    # Not LIKE knowledge_base: an adopted table may have other integer types, and further columns that must be filled.
    connection.execute("""
        CREATE TEMP TABLE IF NOT EXISTS incoming_chunks (
            chunk_hash text, chunk_text text, context_header text, document_metadata jsonb, chunk_index integer,
            total_chunks integer, token_count integer
        ) ON COMMIT DELETE ROWS
    """)
    with connection.cursor().copy(
        sql.SQL("COPY incoming_chunks ({}) FROM STDIN (FORMAT BINARY)").format(_LOADED_COLUMNS)
    ) as copy:
        copy.set_types(["text", "text", "text", "jsonb", "int4", "int4", "int4"])
        for chunk in chunks:
            copy.write_row(
                (
                    chunk.chunk_hash,
                    chunk.chunk_text,
                    chunk.context_header,
                    Jsonb(chunk.metadata.model_dump(mode="json")),
                    chunk.chunk_index,
                    chunk.total_chunks,
                    chunk.token_count,
                )
            )
    # In one order, so that two loads of the same document meet its rows in it. Not that of the hashes: neighbours are
    # embedded together, and the new versions of all rows of a page would not fit into it.
    added = connection.execute(
        sql.SQL("""
            INSERT INTO knowledge_base ({0}) SELECT {0} FROM incoming_chunks ORDER BY reverse(chunk_hash)
            ON CONFLICT (chunk_hash) DO NOTHING
        """).format(_LOADED_COLUMNS)
    ).rowcount
    connection.execute("""
        UPDATE knowledge_base k
        SET (chunk_text, context_header, document_metadata, chunk_index, total_chunks, token_count) = (
            i.chunk_text, i.context_header, i.document_metadata, i.chunk_index, i.total_chunks, i.token_count
        )
        FROM incoming_chunks i
        WHERE i.chunk_hash = k.chunk_hash AND (
            k.chunk_text, k.context_header, k.document_metadata, k.chunk_index, k.total_chunks, k.token_count
        ) IS DISTINCT FROM (
            i.chunk_text, i.context_header, i.document_metadata, i.chunk_index, i.total_chunks, i.token_count
        )
    """)
    removed = 0
    for document in sorted(completed, key=lambda document: document.origin):
        # First, since it waits for another load of the document, whose chunks are then there to be removed.
        connection.execute(_RECORD_DOCUMENT, [document.origin, document.digest, len(document.hashes)])
        removed += connection.execute(
            """
            DELETE FROM knowledge_base k WHERE document_metadata ->> 'origin' = %s
              AND NOT EXISTS (SELECT FROM unnest(%s::text[]) AS kept (chunk_hash) WHERE kept.chunk_hash = k.chunk_hash)
            """,
            [document.origin, list(document.hashes)],
        ).rowcount
    return added, removed


def has_chunks(database: Database) -> bool:
    """True if there is any chunk, whatever its state."""
    query = sql.SQL("SELECT 1 FROM {} k LIMIT 1").format(database.table.rows)
    return database.run(lambda connection: connection.execute(query, []).fetchone()) is not None


def count_chunks(database: Database) -> int:
    """All chunks, whatever their state."""
    query = sql.SQL("SELECT count(*) FROM {} k").format(database.table.rows)
    row: Any = database.run(lambda connection: connection.execute(query, []).fetchone())
    return int(row[0])


def count_documents(database: Database) -> int:
    """Documents that were loaded; rows that something else wrote belong to none."""
    row: Any = database.run(lambda connection: connection.execute("SELECT count(*) FROM loaded_documents").fetchone())
    return int(row[0])
