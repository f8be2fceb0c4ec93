"""The table of chunks: documents are stored in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.chunk_rows import ChunkRow

if TYPE_CHECKING:
    from embedding_assets.models import ProcessedChunk
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.hash_set import Hashes
    from embedding_assets.postgres.table import Table

_LOADED_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, ChunkRow._fields))

_COPY = sql.SQL("COPY incoming_chunks ({}) FROM STDIN (FORMAT BINARY)").format(_LOADED_COLUMNS)
_COPIED_TYPES = ("text", "text", "text", "text", "int4", "int4", "int4")

_JSONB_VERSION = "\x01"
"""In binary, jsonb is JSON behind the number of its version."""

_UPDATE_KNOWN = """
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
"""

# Chunks of a document that is not complete are counted: some may be there from before.
_RECORD_DOCUMENTS = """
    INSERT INTO loaded_documents (origin, digest, chunks, collection, content, rejected, mark)
    SELECT d.origin, d.digest, CASE WHEN d.digest <> '' THEN d.chunks ELSE (
        SELECT count(*) FROM knowledge_base k WHERE k.document_metadata ->> 'origin' = d.origin
    ) END, d.collection, d.content, d.rejected, d.mark
    FROM unnest(%b::text[], %b::text[], %s::integer[], %b::text[], %b::text[], %s::integer[], %s::text[])
        AS d (origin, digest, chunks, collection, content, rejected, mark)
    ORDER BY d.origin
    ON CONFLICT (origin) DO UPDATE SET
        digest = excluded.digest, chunks = excluded.chunks, collection = excluded.collection,
        content = excluded.content, rejected = excluded.rejected, mark = excluded.mark, loaded_at = now()
    RETURNING origin, chunks
"""

_RECORD_BEGUN = """
    INSERT INTO loaded_documents (origin, digest, chunks, collection) VALUES (%s, '', 0, %s)
    ON CONFLICT (origin) DO NOTHING
"""

# One probe of the index for each document: without statistics PostgreSQL takes them for much of the table.
_CHUNKS_OF = """
    SELECT k.chunk_hash, d.origin FROM unnest(%b::text[]) AS d (origin)
    CROSS JOIN LATERAL (
        SELECT chunk_hash FROM knowledge_base WHERE document_metadata ->> 'origin' = d.origin OFFSET 0
    ) AS k
"""

_FETCHED_HASHES = 10_000

MOST_STALE = 100_000
"""Chunks that wait to be removed, at most: what has the same text elsewhere may yet come and take their vectors."""


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """A document that was loaded: where it came from, its fingerprint, its chunks.

    Attributes:
        origin: what it is called.
        digest: of all that its chunks depend on; empty if it was not read to its end, or parts of it were rejected:
            its record is that of a document that is not complete, and nothing of it is removed.
        hashes: those of its chunks.
        collection: the documents that it belongs to.
        content: digest of the file's bytes; where parts were rejected, of all that this depended on.
        rejected: rows or parts of it that were rejected.
        mark: of a file elsewhere: by what its version is known there; where parts were rejected, of that and all that
            this depended on.
    """

    origin: str
    digest: str
    hashes: Hashes
    collection: str | None = None
    content: str | None = None
    rejected: int = 0
    mark: str | None = None


@dataclass(slots=True)
class Stored:
    """What became of chunks that were stored.

    Attributes:
        added: chunks that are new.
        reused: of these, chunks that got the vector of another one with the same text, in any space.
        removed: chunks that went.
        kept: chunks of documents that are not complete, beside those that they were found to have.
        stale: hash and origin of chunks that their documents no longer have, and that are still there.
    """

    added: int = 0
    reused: int = 0
    removed: int = 0
    kept: int = 0
    stale: list[tuple[str, str]] = field(default_factory=list)


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
    stored = database.run(lambda connection: _store(connection, chunks, completed))
    return stored.added, stored.removed


def store_documents(
    database: Database,
    chunks: Sequence[ProcessedChunk | ChunkRow],
    completed: Sequence[LoadedDocument],
    *,
    begun: tuple[str, str | None] | None = None,
    keep_stale: bool = False,
) -> Stored:
    """As ``store_chunks``; a new chunk also gets the vectors of another one whose embedded text is the same.

    Args:
        database: where.
        chunks: those to store.
        completed: documents whose last chunks these are.
        begun: origin and collection of a document whose first chunks these are: recorded, so that nothing of it is
            without a record if the rest never comes.
        keep_stale: leave chunks there that their documents no longer have, so that their vectors can be used for the
            same text elsewhere, and return them; ``remove_stale`` removes them.

    Raises:
        ConfigurationError: the table is one that somebody else fills.
    """
    check_is_own(database)
    table = database.table
    return database.run(
        lambda connection: _store(connection, chunks, completed, table, begun=begun, keep_stale=keep_stale)
    )


def remove_stale(database: Database, stale: Sequence[tuple[str, str]]) -> int:
    """Remove chunks, by hash and origin, unless another document has them by now. Returns how many were there."""
    return database.run(lambda connection: _remove(connection, stale)) if stale else 0


def _remove(connection: Connection, stale: Sequence[tuple[str, str]]) -> int:
    query = """
        DELETE FROM knowledge_base k USING unnest(%s::text[], %s::text[]) AS s (chunk_hash, origin)
        WHERE k.chunk_hash = s.chunk_hash AND k.document_metadata ->> 'origin' = s.origin
    """
    hashes, origins = [chunk_hash for chunk_hash, _ in stale], [origin for _, origin in stale]
    return connection.execute(query, [hashes, origins]).rowcount


def check_is_own(database: Database) -> None:
    """Make sure that chunks may be stored.

    Raises:
        ConfigurationError: the table is one that somebody else fills.
    """
    if not database.table.is_own:
        raise ConfigurationError(f"{database.table} is filled by others; set EMBEDDING_TABLE=knowledge_base to load")


def _store(
    connection: Connection,
    chunks: Sequence[ProcessedChunk | ChunkRow],
    completed: Sequence[LoadedDocument],
    sharing: Table | None = None,
    *,
    begun: tuple[str, str | None] | None = None,
    keep_stale: bool = False,
) -> Stored:
    stored = Stored()
    if chunks:
        _copy_in(connection, chunks)
        sources = _same_texts(connection, sharing) if sharing is not None else {}
        stored.added, stored.reused = _insert(connection, sources)
        if stored.added < len(chunks):
            connection.execute(_UPDATE_KNOWN)
    if begun is not None:
        connection.execute(_RECORD_BEGUN, begun)
    if completed:
        _complete(connection, completed, stored, keep_stale=keep_stale)
    return stored


def _copy_in(connection: Connection, chunks: Sequence[ProcessedChunk | ChunkRow]) -> None:
    # Not LIKE knowledge_base: an adopted table may have other integer types, and further columns that must be filled.
    connection.execute("""
        CREATE TEMP TABLE IF NOT EXISTS incoming_chunks (
            chunk_hash text, chunk_text text, context_header text, document_metadata jsonb, chunk_index integer,
            total_chunks integer, token_count integer
        ) ON COMMIT DELETE ROWS
    """)
    with connection.cursor().copy(_COPY) as copy:
        copy.set_types(_COPIED_TYPES)
        for chunk in chunks:
            row = chunk if isinstance(chunk, ChunkRow) else ChunkRow.of(chunk)
            chunk_hash, text, header, metadata, *numbers = row
            copy.write_row((chunk_hash, text, header, f"{_JSONB_VERSION}{metadata}", *numbers))


def _same_texts(connection: Connection, table: Table) -> dict[str, list[tuple[str, str]]]:
    """For each space's column: hashes of incoming chunks that are new, each with one that has a vector of its text."""
    columns = connection.execute("""
        SELECT column_name FROM embedding_spaces JOIN pg_attribute
            ON attrelid = to_regclass('knowledge_base') AND attname = column_name AND NOT attisdropped
        WHERE EXISTS (
            SELECT FROM pg_index WHERE indexrelid = to_regclass('idx_embedded_text') AND indisvalid AND indisready
        )
        ORDER BY column_name
    """).fetchall()
    if not columns:
        return {}
    new = connection.execute(
        sql.SQL("""
            SELECT DISTINCT ON (i.chunk_hash) i.chunk_hash, {} FROM incoming_chunks i
            WHERE NOT EXISTS (SELECT FROM knowledge_base k WHERE k.chunk_hash = i.chunk_hash)
        """).format(table.fingerprint("i")),
        [],
    ).fetchall()
    if not new:
        return {}
    # By the index alone: without statistics PostgreSQL would rather read the table up to the first row that fits.
    [[before]] = connection.execute("SELECT current_setting('enable_seqscan')").fetchall()
    connection.execute("SELECT set_config('enable_seqscan', 'off', true)")
    sources = {}
    for (column,) in columns:
        query = sql.SQL("""
            SELECT n.chunk_hash, known.chunk_hash
            FROM unnest(%s::text[], %s::text[]) AS n (chunk_hash, fingerprint)
            CROSS JOIN LATERAL (
                SELECT k.chunk_hash FROM knowledge_base k
                WHERE {} = n.fingerprint AND k.{} IS NOT NULL LIMIT 1
            ) AS known
        """).format(table.fingerprint(), sql.Identifier(column))
        sources[column] = connection.execute(
            query, [[chunk_hash for chunk_hash, _ in new], [fingerprint for _, fingerprint in new]]
        ).fetchall()
    connection.execute("SELECT set_config('enable_seqscan', %s, true)", [before])
    return {column: found for column, found in sources.items() if found}


def _insert(connection: Connection, sources: dict[str, list[tuple[str, str]]]) -> tuple[int, int]:
    """Insert what is new, with the vectors of the chunks in ``sources``; returns how many, and how many of them."""
    columns: list[sql.Composable] = []
    joins: list[sql.Composable] = []
    parameters: list[list[str]] = []
    for number, (column, pairs) in enumerate(sources.items()):
        columns.append(sql.Identifier(column))
        # Compared as a whole: a digest alone could be that of another text.
        joins.append(
            sql.SQL("""
                LEFT JOIN unnest(%s::text[], %s::text[]) AS {pair} (new, known) ON {pair}.new = i.chunk_hash
                LEFT JOIN knowledge_base {row} ON {row}.chunk_hash = {pair}.known
                    AND concat_ws(E'\\n', nullif({row}.context_header, ''), {row}.chunk_text)
                        = concat_ws(E'\\n', nullif(i.context_header, ''), i.chunk_text)
            """).format(pair=sql.Identifier(f"p{number}"), row=sql.Identifier(f"k{number}"))
        )
        parameters += [[new for new, _ in pairs], [known for _, known in pairs]]
    vectors = [sql.SQL("{}.{}").format(sql.Identifier(f"k{n}"), column) for n, column in enumerate(columns)]
    loaded = sql.SQL(", ").join(sql.Identifier("i", name) for name in ChunkRow._fields)
    # In one order, so that two loads of the same document meet its rows in it. Not that of the hashes: neighbours are
    # embedded together, and the new versions of all rows of a page would not fit into it.
    query = sql.SQL("""
        INSERT INTO knowledge_base ({target}) SELECT {values} FROM incoming_chunks i {joins}
        ORDER BY reverse(i.chunk_hash) ON CONFLICT (chunk_hash) DO NOTHING {returning}
    """).format(
        target=sql.SQL(", ").join([_LOADED_COLUMNS, *columns]),
        values=sql.SQL(", ").join([loaded, *vectors]),
        joins=sql.SQL("").join(joins),
        returning=sql.SQL("RETURNING {}").format(
            sql.SQL(" OR ").join(sql.SQL("{} IS NOT NULL").format(column) for column in columns)
        )
        if columns
        else sql.SQL(""),
    )
    cursor = connection.execute(query, parameters)
    reused = sum(has_vector for (has_vector,) in cursor.fetchall()) if columns else 0
    return cursor.rowcount, reused


def _complete(connection: Connection, completed: Sequence[LoadedDocument], stored: Stored, *, keep_stale: bool) -> None:
    documents = list({document.origin: document for document in completed}.values())
    # First, since it waits for another load of a document, whose chunks are then there to be removed.
    counts = connection.execute(
        _RECORD_DOCUMENTS,
        [
            [document.origin for document in documents],
            [document.digest for document in documents],
            [len(document.hashes) for document in documents],
            [document.collection for document in documents],
            [document.content for document in documents],
            [document.rejected for document in documents],
            [document.mark for document in documents],
        ],
    ).fetchall()
    found = {document.origin: len(document.hashes) for document in documents}
    stored.kept = sum(chunks - found[origin] for origin, chunks in counts)
    whole = {document.origin: document.hashes for document in documents if document.digest}
    with connection.cursor("chunks_of_documents") as cursor:
        cursor.itersize = _FETCHED_HASHES
        cursor.execute(_CHUNKS_OF, [list(whole)])
        for chunk_hash, origin in cursor:
            if chunk_hash not in whole[origin]:
                stored.stale.append((chunk_hash, origin))
                if len(stored.stale) >= MOST_STALE:
                    stored.removed += _remove(connection, stored.stale)
                    stored.stale.clear()
    if stored.stale and not keep_stale:
        stored.removed += _remove(connection, stored.stale)
        stored.stale.clear()


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
