"""Vectors into their column, by binary COPY and one UPDATE a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.backlog import PendingChunk
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn


def write_vectors(
    database: Database, column: SpaceColumn, chunks: Sequence[PendingChunk], vectors: NDArray[np.float32]
) -> set[str]:
    """Store ``vectors``, shape (len(chunks), dimensions), and forget earlier failures of these chunks.

    A row is written only while its text is the version that was embedded and it has no vector yet, so neither an
    edit nor another run's work is overwritten; and only while the column is the space's.

    Returns:
        The hashes that were written; the others were edited, deleted or embedded in the meantime.
    """
    return database.run(lambda connection: _write(connection, column, chunks, vectors), without_limits=True)


def _write(
    connection: Connection, column: SpaceColumn, chunks: Sequence[PendingChunk], vectors: NDArray[np.float32]
) -> set[str]:
    # Rows of any size stay in one piece, so that a vector is stored out of line only once, in its column.
    kind = column.storage
    incoming = sql.Identifier(f"incoming_{kind}")
    connection.execute(
        sql.SQL("""
            CREATE TEMP TABLE IF NOT EXISTS {} (chunk_hash text, text_version bigint, embedding {})
            WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS
        """).format(incoming, sql.Identifier(kind))
    )
    # Each row through an index, whatever the planner makes of a table without statistics: other joins read all of
    # knowledge_base for every portion. Nor is a statement so short worth compiling.
    connection.execute("""
        SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
               set_config('jit', 'off', true)
    """)
    pack = HalfVector if kind == "halfvec" else Vector
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(incoming)) as copy:
        copy.set_types(["text", "int8", kind])
        for chunk, vector in zip(chunks, vectors, strict=True):
            copy.write_row((chunk.chunk_hash, chunk.text_version, pack(vector)))
    written = connection.execute(
        sql.SQL("""
            UPDATE knowledge_base k SET {column} = i.embedding
            FROM {incoming} i
            WHERE k.chunk_hash = i.chunk_hash AND k.text_version = i.text_version AND k.{column} IS NULL
              AND EXISTS (SELECT FROM embedding_spaces WHERE name = %s AND column_name = %s)
            RETURNING k.chunk_hash
        """).format(column=sql.Identifier(column.name), incoming=incoming),
        [column.space.name, column.name],
    ).fetchall()
    connection.execute(
        sql.SQL(
            "DELETE FROM embedding_failures f USING {} i WHERE f.chunk_hash = i.chunk_hash AND f.space = %s"
        ).format(incoming),
        [column.space.name],
    )
    return {row[0] for row in written}
