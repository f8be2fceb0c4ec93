"""The table of chunks: loading documents into it, and reading what is pending."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Jsonb

from embedding_assets.models import ProcessedChunk, embedded_text
from embedding_assets.planning import bucket_bounds

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.spaces import SpaceRecord

__all__ = [
    "Backlog",
    "LoadedDocument",
    "PendingChunk",
    "count_backlog",
    "count_backlog_tokens",
    "count_chunks",
    "count_documents",
    "count_pending_by_prefix",
    "due_in_range",
    "due_prefixes",
    "fetch_pending",
    "has_chunks",
    "is_unchanged",
    "measure_due",
    "store_chunks",
]

_LOADED_COLUMNS = sql.SQL(", ").join(
    map(
        sql.Identifier,
        (
            "chunk_hash",
            "chunk_text",
            "context_header",
            "document_metadata",
            "chunk_index",
            "total_chunks",
            "token_count",
        ),
    )
)

# Chunks of the serving column that no partition reaches: partitions are made of lowercase hex.
_IS_HEX = sql.SQL("chunk_hash ~ '^[0-9a-f]{2,}$'")
_NOT_BLOCKED, _NOT_BLOCKED_THERE = (
    sql.SQL(
        "NOT EXISTS (SELECT 1 FROM embedding_failures f WHERE f.chunk_hash = k.chunk_hash AND f.space = {} "
        "AND (f.quarantined OR f.retry_at > now()))"
    ).format(sql.Placeholder(space))
    for space in ("space", "other_space")
)


@dataclass(frozen=True, slots=True)
class PendingChunk:
    """A chunk without a vector: what the model is to read, and the version of the text that this is."""

    chunk_hash: str
    text: str
    text_version: int

    def __repr__(self) -> str:
        return f"PendingChunk({self.chunk_hash}, {len(self.text)} characters)"


@dataclass(frozen=True, slots=True)
class Backlog:
    """The state of a space, counted from the table.

    Attributes:
        chunks: all chunks.
        embedded: chunks with a vector in the space.
        pending: chunks without one that are not quarantined, those waiting for a retry included.
        waiting: of these, chunks that failed and are not due yet.
        quarantined: chunks that failed too often.
        unreachable: pending chunks whose hash is not lowercase hex, so that no partition reaches them.
    """

    chunks: int
    embedded: int
    pending: int
    waiting: int
    quarantined: int
    unreachable: int

    @property
    def due(self) -> int:
        """Chunks that a run started now would embed."""
        return self.pending - self.waiting - self.unreachable


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """A document that was loaded completely: where it came from, its fingerprint, its chunks."""

    origin: str
    digest: str
    hashes: frozenset[str]


def is_unchanged(database: Database, origin: str, digest: str) -> bool:
    """Whether a document is loaded as it is now, with all its chunks still there."""
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
    """
    return database.run(lambda connection: _store(connection, chunks, completed))


def _store(
    connection: Connection, chunks: Sequence[ProcessedChunk], completed: Sequence[LoadedDocument]
) -> tuple[int, int]:
    # Not LIKE knowledge_base: an adopted table may have other integer types, and further columns that must be filled.
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS incoming_chunks (chunk_hash text, chunk_text text, context_header text, "
        "document_metadata jsonb, chunk_index integer, total_chunks integer, token_count integer) "
        "ON COMMIT DELETE ROWS"
    )
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
        sql.SQL(
            "INSERT INTO knowledge_base ({0}) SELECT {0} FROM incoming_chunks ORDER BY reverse(chunk_hash) "
            "ON CONFLICT (chunk_hash) DO NOTHING"
        ).format(_LOADED_COLUMNS)
    ).rowcount
    connection.execute(
        "UPDATE knowledge_base k SET (chunk_text, context_header, document_metadata, chunk_index, total_chunks, "
        "token_count) = (i.chunk_text, i.context_header, i.document_metadata, i.chunk_index, i.total_chunks, "
        "i.token_count) FROM incoming_chunks i WHERE i.chunk_hash = k.chunk_hash "
        "AND (k.chunk_text, k.context_header, k.document_metadata, k.chunk_index, k.total_chunks, k.token_count) "
        "IS DISTINCT FROM (i.chunk_text, i.context_header, i.document_metadata, i.chunk_index, i.total_chunks, "
        "i.token_count)"
    )
    removed = 0
    for document in sorted(completed, key=lambda document: document.origin):
        # First, since it waits for another load of the document, whose chunks are then there to be removed.
        connection.execute(
            "INSERT INTO loaded_documents (origin, digest, chunks) VALUES (%s, %s, %s) "
            "ON CONFLICT (origin) DO UPDATE SET digest = excluded.digest, chunks = excluded.chunks, loaded_at = now()",
            [document.origin, document.digest, len(document.hashes)],
        )
        removed += connection.execute(
            "DELETE FROM knowledge_base WHERE document_metadata ->> 'origin' = %s AND NOT chunk_hash = ANY(%s)",
            [document.origin, list(document.hashes)],
        ).rowcount
    return added, removed


def fetch_pending(
    database: Database,
    record: SpaceRecord,
    buckets: range,
    *,
    after: str,
    limit: int,
    also_in: SpaceRecord | None = None,
) -> list[PendingChunk]:
    """The next chunks without a vector, in hash order, that lie in ``buckets`` and behind ``after``.

    Reads through the partial index, so the cost follows the backlog, not the table; while a further space has its first
    load, through the unique one. Takes no row locks: a prefix is worked on by one run, and an edit in the meantime is
    noticed when the vector is written.

    Args:
        database: where.
        record: the space to embed in.
        buckets: of hashes.
        after: a hash; empty for the first window.
        limit: most chunks.
        also_in: a second space in which the chunks must be due too. It is through its partial index that they are
            found then: as a rule its backlog is small, and the column of ``record`` nearly empty.
    """
    lower, upper = bucket_bounds(buckets.start, buckets.stop)
    query = sql.SQL(
        "SELECT chunk_hash, coalesce(chunk_text, ''), coalesce(context_header, ''), text_version "
        "FROM knowledge_base k WHERE {is_due} "
        'AND chunk_hash COLLATE "C" >= %(lower)s AND chunk_hash COLLATE "C" < %(upper)s '
        'AND chunk_hash COLLATE "C" > %(after)s '
        'ORDER BY chunk_hash COLLATE "C" LIMIT %(limit)s'
    ).format(is_due=_is_due(record, also_in))
    parameters = {
        "lower": lower,
        "upper": upper,
        "after": after,
        "limit": limit,
        "space": record.space.name,
        "other_space": also_in and also_in.space.name,
    }

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        # In an index's order whatever the statistics say, which lag behind a load: with one of the others every window
        # would read and sort all that is left.
        connection.execute(
            "SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true), "
            "set_config('enable_bitmapscan', 'off', true)"
        )
        return connection.execute(query, parameters).fetchall()

    rows = database.run(work)
    return [PendingChunk(row[0], embedded_text(row[2], row[1]), row[3]) for row in rows]


def due_prefixes(
    database: Database, record: SpaceRecord, prefixes: Sequence[str], *, also_in: SpaceRecord | None = None
) -> list[str]:
    """Which prefixes have a chunk that is due, with ``also_in`` in that second space too.

    One probe of the partial index for each, however large the table.
    """
    query = sql.SQL(
        # LATERAL with LIMIT: EXISTS may become a join of all prefixes with the whole backlog.
        "SELECT prefix FROM unnest(%(prefixes)s::text[], %(ends)s::text[]) AS p (prefix, stop) CROSS JOIN LATERAL ("
        "SELECT 1 FROM knowledge_base k WHERE {is_due} "
        'AND chunk_hash COLLATE "C" >= prefix AND chunk_hash COLLATE "C" < stop '
        "LIMIT 1) AS due ORDER BY prefix"
    ).format(is_due=_is_due(record, also_in))
    # "g" follows every hex digit, so this closes a prefix of any length.
    parameters = {
        "prefixes": list(prefixes),
        "ends": [f"{p}g" for p in prefixes],
        "space": record.space.name,
        "other_space": also_in and also_in.space.name,
    }
    return [row[0] for row in database.run(lambda connection: connection.execute(query, parameters).fetchall())]


def measure_due(database: Database, record: SpaceRecord, *, most: int) -> tuple[int, int]:
    """How many chunks are due, and the most tokens they can have: one a byte.

    Looks at no more than ``most`` chunks: whoever asks wants to know whether there are only few.
    """
    query = sql.SQL(
        "SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM ("
        "SELECT coalesce(octet_length(chunk_text), 0) + coalesce(octet_length(context_header), 0) + 1 AS bytes "
        "FROM knowledge_base k WHERE {is_due} LIMIT %(most)s) AS due"
    ).format(is_due=_is_due(record))
    parameters = {"most": most, "space": record.space.name}

    def work(connection: Connection) -> Any:
        # By the statistics of a time before the load, any next row of the table would be one of many that are due.
        connection.execute("SELECT set_config('enable_seqscan', 'off', true)")
        return connection.execute(query, parameters).fetchone()

    chunks, tokens = database.run(work)
    return chunks, tokens


def _is_due(record: SpaceRecord, also_in: SpaceRecord | None = None) -> sql.Composed:
    """The condition of chunks ``k`` that a run in ``%(space)s`` would take up, with ``also_in`` in that too."""
    through, conditions = record, [_IS_HEX, _NOT_BLOCKED]
    if also_in is not None:
        # The serving space always has its partial index. The other column is named in a way that the planner cannot
        # match with the other partial index, whatever the statistics say.
        through, other = (record, also_in) if record.serving else (also_in, record)
        conditions += [sql.SQL("num_nulls({}) = 1").format(sql.Identifier(other.column)), _NOT_BLOCKED_THERE]
    return sql.SQL(" AND ").join([sql.SQL("{} IS NULL").format(sql.Identifier(through.column)), *conditions])


def count_pending_by_prefix(database: Database, record: SpaceRecord, length: int) -> dict[str, int]:
    """Pending chunks by prefix of ``length``, quarantined ones left out; prefixes without any are missing."""
    query = sql.SQL(
        "SELECT left(chunk_hash, %(length)s), count(*) FROM knowledge_base k WHERE {column} IS NULL AND {is_hex} "
        "AND NOT EXISTS (SELECT 1 FROM embedding_failures f WHERE f.chunk_hash = k.chunk_hash "
        "AND f.space = %(space)s AND f.quarantined) GROUP BY 1 ORDER BY 1"
    ).format(column=sql.Identifier(record.column), is_hex=_IS_HEX)
    parameters = {"length": length, "space": record.space.name}
    return dict(database.run(lambda connection: connection.execute(query, parameters).fetchall()))


def count_backlog(database: Database, record: SpaceRecord) -> Backlog:
    """Count chunks by state. Counting all chunks reads an index of the table, the rest only the backlog."""
    query = sql.SQL("""
        WITH missing AS (
            SELECT count(*) AS pending, count(*) FILTER (WHERE NOT {is_hex} IS TRUE) AS unreachable
            FROM knowledge_base WHERE {column} IS NULL
        ), failed AS (
            SELECT count(*) FILTER (WHERE f.quarantined) AS quarantined,
                   count(*) FILTER (WHERE NOT f.quarantined AND f.retry_at > now()) AS waiting
            FROM embedding_failures f JOIN knowledge_base k USING (chunk_hash)
            WHERE f.space = %(space)s AND k.{column} IS NULL
        )
        SELECT (SELECT count(*) FROM knowledge_base), pending, waiting, quarantined, unreachable FROM missing, failed
    """).format(column=sql.Identifier(record.column), is_hex=_IS_HEX)
    row: Any = database.run(lambda connection: connection.execute(query, {"space": record.space.name}).fetchone())
    chunks, missing, waiting, quarantined, unreachable = row
    return Backlog(chunks, chunks - missing, missing - quarantined, waiting, quarantined, unreachable)


def count_backlog_tokens(database: Database, record: SpaceRecord) -> int:
    """Tokens of the pending chunks; a chunk without a stored count is taken at a quarter of a token a byte."""
    query = sql.SQL(
        "SELECT coalesce(sum(CASE WHEN token_count > 0 THEN least(token_count, %(most)s) "
        "ELSE least((coalesce(octet_length(chunk_text), 0) + coalesce(octet_length(context_header), 0)) / 4 + 1, "
        "%(most)s) END), 0)::bigint "
        "FROM knowledge_base k WHERE {is_due}"
    ).format(is_due=_is_due(record))
    parameters = {"most": record.space.max_tokens, "space": record.space.name}
    row: Any = database.run(lambda connection: connection.execute(query, parameters).fetchone())
    return int(row[0])


def due_in_range(database: Database, record: SpaceRecord, buckets: range) -> int:
    """How many chunks of these buckets a run started now would take up."""
    lower, upper = bucket_bounds(buckets.start, buckets.stop)
    query = sql.SQL(
        "SELECT count(*) FROM knowledge_base k WHERE {is_due} "
        'AND chunk_hash COLLATE "C" >= %(lower)s AND chunk_hash COLLATE "C" < %(upper)s'
    ).format(is_due=_is_due(record))
    parameters = {"lower": lower, "upper": upper, "space": record.space.name}
    row: Any = database.run(lambda connection: connection.execute(query, parameters).fetchone())
    return int(row[0])


def has_chunks(database: Database) -> bool:
    """Whether there is any chunk, whatever its state."""
    return (
        database.run(lambda connection: connection.execute("SELECT 1 FROM knowledge_base LIMIT 1").fetchone())
        is not None
    )


def count_chunks(database: Database) -> int:
    """All chunks, whatever their state."""
    row: Any = database.run(lambda connection: connection.execute("SELECT count(*) FROM knowledge_base").fetchone())
    return int(row[0])


def count_documents(database: Database) -> int:
    """Documents that were loaded; rows that something else wrote belong to none."""
    row: Any = database.run(lambda connection: connection.execute("SELECT count(*) FROM loaded_documents").fetchone())
    return int(row[0])
