"""Vectors into their column, by binary COPY and one UPDATE a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector
from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.backlog import PendingChunk
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn


_SAMPLE_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class StoredVectorsReport:
    """What is wrong with the vectors of a column, if anything.

    Attributes:
        checked: vectors looked at: all of them, or a sample of a large table.
        wrong_dimensions: vectors of another length than the space's.
        zero: vectors of length zero, which the index leaves out.
        not_unit_length: others whose length is not 1; None when the space does not normalize.
    """

    checked: int
    wrong_dimensions: int
    zero: int
    not_unit_length: int | None

    @property
    def faulty(self) -> int:
        """Vectors with any fault."""
        return self.wrong_dimensions + self.zero + (self.not_unit_length or 0)


def write_vectors(
    database: Database, column: SpaceColumn, chunks: Sequence[PendingChunk], vectors: NDArray[np.float32]
) -> set[str]:
    """Store ``vectors``, shape (len(chunks), dimensions), and forget earlier failures of these chunks.

    A row is written only while its text is the version that was embedded and it has no vector yet, so neither an
    edit nor another run's work is overwritten.

    Returns:
        The hashes that were written; the others were edited, deleted or embedded in the meantime.
    """
    return database.run(lambda connection: _write(connection, column, chunks, vectors))


def _write(
    connection: Connection, column: SpaceColumn, chunks: Sequence[PendingChunk], vectors: NDArray[np.float32]
) -> set[str]:
    # Rows of any size stay in one piece, so that a vector is stored out of line only once, in its column.
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS incoming_vectors (chunk_hash text, text_version bigint, embedding vector) "
        "WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS"
    )
    # Each row through an index, whatever the planner makes of a table without statistics: other joins read all of
    # knowledge_base for every portion. Nor is a statement so short worth compiling.
    connection.execute(
        "SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), "
        "set_config('jit', 'off', true)"
    )
    with connection.cursor().copy("COPY incoming_vectors FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["text", "int8", "vector"])
        for chunk, vector in zip(chunks, vectors, strict=True):
            copy.write_row((chunk.chunk_hash, chunk.text_version, Vector(vector)))
    written = connection.execute(
        sql.SQL(
            "UPDATE knowledge_base k SET {column} = i.embedding FROM incoming_vectors i "
            "WHERE k.chunk_hash = i.chunk_hash AND k.text_version = i.text_version AND k.{column} IS NULL "
            "RETURNING k.chunk_hash"
        ).format(column=sql.Identifier(column.name))
    ).fetchall()
    connection.execute(
        "DELETE FROM embedding_failures f USING incoming_vectors i WHERE f.chunk_hash = i.chunk_hash AND f.space = %s",
        [column.space.name],
    )
    return {row[0] for row in written}


def check_stored_vectors(database: Database, column: SpaceColumn) -> StoredVectorsReport:
    """Check dimensions and lengths of the stored vectors, of a sample of them in a large table.

    The type ``vector`` itself keeps NaN and infinity out.
    """
    query = sql.SQL("""
        WITH size AS (SELECT greatest(reltuples, 1) AS rows FROM pg_class WHERE oid = 'knowledge_base'::regclass),
        sample AS (
            SELECT vector_dims({column}) AS dimensions, vector_norm({column}) AS norm
            FROM knowledge_base TABLESAMPLE SYSTEM ((SELECT least(100, 100 * %(rows)s / rows) FROM size))
            WHERE {column} IS NOT NULL
        )
        SELECT count(*), count(*) FILTER (WHERE dimensions <> %(dimensions)s), count(*) FILTER (WHERE norm = 0),
               count(*) FILTER (WHERE norm <> 0 AND abs(norm - 1) > 1e-3)
        FROM sample
    """).format(column=sql.Identifier(column.name))
    parameters = {"rows": _SAMPLE_ROWS, "dimensions": column.space.dimensions}
    row: Any = database.run(lambda connection: connection.execute(query, parameters).fetchone())
    return StoredVectorsReport(row[0], row[1], row[2], row[3] if column.space.normalized else None)
