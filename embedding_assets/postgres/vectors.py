"""Vectors into their column, by binary COPY and one UPDATE a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from psycopg import sql

from embedding_assets.errors import RowRefusedError, TableRefusesError

if TYPE_CHECKING:
    from embedding_assets.postgres.backlog import PendingChunk
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

_MOST_REFUSED: Final = 64
"""Rows of a portion that PostgreSQL refuses one by one before the table is at fault, not the rows."""

REFUSED: Final = "refused_by_database"
"""Error code of a chunk whose row could not be updated: a constraint, trigger or index of the table was against it."""


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What became of vectors that were to be stored.

    Attributes:
        written: hashes whose vector is stored.
        refused: hashes whose row PostgreSQL does not update, or a trigger keeps from that, or gives another text in the
            same moment. What is in neither was edited, deleted, embedded by another run, or locked by somebody else's
            transaction; what is still pending comes again with the next run.
    """

    written: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


def write_vectors(
    database: Database, column: SpaceColumn, chunks: Sequence[PendingChunk], vectors: NDArray[np.float32]
) -> WriteOutcome:
    """Store ``vectors``, shape (len(chunks), dimensions), and forget earlier failures of these chunks.

    A row is written only while its text is the one that was embedded and it has no vector yet, so neither an edit nor
    another run's work is overwritten; and only while the column is the space's. Rows that somebody else has locked are
    passed over, and the others locked in the order of their hashes, so that none waits for this transaction in a
    circle.
    What PostgreSQL refuses is halved until the rows at fault are alone.

    Raises:
        TableRefusesError: none of so many rows can be written that it is the table's fault.
        DatabaseError: nothing can be written, for another reason.
    """
    outcome = WriteOutcome()
    _write_or_halve(database, column, chunks, vectors, outcome)
    return outcome


def _write_or_halve(
    database: Database,
    column: SpaceColumn,
    chunks: Sequence[PendingChunk],
    vectors: NDArray[np.float32],
    outcome: WriteOutcome,
) -> None:
    table = database.table
    try:
        written = database.run(
            lambda connection: _write(connection, table, column, chunks, vectors), without_limits=True
        )
        outcome.written.update(written[0])
        outcome.refused.update(written[1])
    except RowRefusedError as error:
        if len(chunks) > 1:
            middle = len(chunks) // 2
            for part in (slice(middle), slice(middle, None)):
                _write_or_halve(database, column, chunks[part], vectors[part], outcome)
            return
        outcome.refused.add(chunks[0].chunk_hash)
        if not outcome.written and len(outcome.refused) >= _MOST_REFUSED:
            raise TableRefusesError(str(error), frozenset(outcome.refused)) from None


def _write(
    connection: Connection,
    table: Table,
    column: SpaceColumn,
    chunks: Sequence[PendingChunk],
    vectors: NDArray[np.float32],
) -> tuple[set[str], set[str]]:
    """Hashes that were written, and that were not although nothing was against it."""
    # Rows of any size stay in one piece, so that a vector is stored out of line only once, in its column.
    kind = column.storage
    incoming = sql.Identifier(f"incoming_{kind}")
    connection.execute(
        sql.SQL("""
            CREATE TEMP TABLE IF NOT EXISTS {} (
                chunk_hash text COLLATE "C", key text[], fingerprint text COLLATE "C", embedding {}
            ) WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS
        """).format(incoming, sql.Identifier(kind))
    )
    # Each row through an index, whatever the planner makes of a table without statistics: other joins read all of the
    # table for every portion. Nor is a statement so short worth compiling.
    connection.execute("""
        SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
               set_config('jit', 'off', true)
    """)
    pack = HalfVector if kind == "halfvec" else Vector
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(incoming)) as copy:
        copy.set_types(["text", "text[]", "text", kind])
        for chunk, vector in zip(chunks, vectors, strict=True):
            copy.write_row((chunk.chunk_hash, list(chunk.key), chunk.fingerprint, pack(vector)))
    same_row = table.key_equals(sql.SQL("i.key"))
    names = {
        "table": table.relation,
        "column": sql.Identifier(column.name),
        "incoming": incoming,
        "same_row": same_row,
        "fingerprint": table.fingerprint(),
    }
    locked = connection.execute(
        sql.SQL("""
            SELECT i.ctid::text, i.chunk_hash FROM {incoming} i JOIN {table} k ON {same_row}
            WHERE k.{column} IS NULL AND {fingerprint} = i.fingerprint
              AND EXISTS (SELECT FROM embedding_spaces WHERE name = %s AND column_name = %s)
            ORDER BY i.chunk_hash FOR NO KEY UPDATE OF k SKIP LOCKED
        """).format(**names),
        [column.space.name, column.name],
    ).fetchall()
    rows = connection.execute(
        sql.SQL("""
            UPDATE {table} k SET {column} = i.embedding
            FROM unnest(%s::text[]::tid[]) AS locked (place) JOIN {incoming} i ON i.ctid = locked.place WHERE {same_row}
            RETURNING i.chunk_hash, i.key, {fingerprint} = i.fingerprint AND k.{column} IS NOT NULL
        """).format(**names),
        [[place for place, _ in locked]],
    ).fetchall()
    _take_back(connection, table, column, [key for _, key, is_of_text in rows if not is_of_text])
    written = {chunk_hash for chunk_hash, _, is_of_text in rows if is_of_text}
    connection.execute(
        "DELETE FROM embedding_failures WHERE chunk_hash = ANY(%s) AND space = %s",
        [list(written), column.space.name],
    )
    return written, {chunk_hash for _, chunk_hash in locked} - written


def _take_back(connection: Connection, table: Table, column: SpaceColumn, keys: Sequence[Sequence[str]]) -> None:
    """Remove the vectors of rows whose text a trigger of the table changed while they were written."""
    query = sql.SQL("UPDATE {} k SET {} = NULL WHERE {}").format(
        table.relation, sql.Identifier(column.name), table.key_equals(sql.SQL("%s::text[]"))
    )
    for key in keys:
        connection.execute(query, [list(key)] * len(table.key))
