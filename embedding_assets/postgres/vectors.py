"""Vectors into their column, by binary COPY and one UPDATE a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector
from psycopg import sql

from embedding_assets.postgres.index import DISTANCE_OPERATORS

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.chunks import PendingChunk
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.spaces import SpaceRecord

__all__ = [
    "StoredVectorsReport",
    "check_stored_vectors",
    "count_missing",
    "holds_vectors",
    "nearest_chunks",
    "write_vectors",
]

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
    database: Database, record: SpaceRecord, chunks: Sequence[PendingChunk], vectors: NDArray[np.float32]
) -> set[str]:
    """Store ``vectors``, shape (len(chunks), dimensions), and forget earlier failures of these chunks.

    A row is written only while its text is the version that was embedded and it has no vector yet, so neither an
    edit nor another run's work is overwritten.

    Returns:
        The hashes that were written; the others were edited, deleted or embedded in the meantime.
    """
    return database.run(lambda connection: _write(connection, record, chunks, vectors))


def _write(
    connection: Connection, record: SpaceRecord, chunks: Sequence[PendingChunk], vectors: NDArray[np.float32]
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
        ).format(column=sql.Identifier(record.column))
    ).fetchall()
    connection.execute(
        "DELETE FROM embedding_failures f USING incoming_vectors i WHERE f.chunk_hash = i.chunk_hash AND f.space = %s",
        [record.space.name],
    )
    return {row[0] for row in written}


def check_stored_vectors(database: Database, record: SpaceRecord) -> StoredVectorsReport:
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
    """).format(column=sql.Identifier(record.column))
    parameters = {"rows": _SAMPLE_ROWS, "dimensions": record.space.dimensions}
    row: Any = database.run(lambda connection: connection.execute(query, parameters).fetchone())
    return StoredVectorsReport(row[0], row[1], row[2], row[3] if record.space.normalized else None)


def holds_vectors(database: Database, record: SpaceRecord, *, missing_in: SpaceRecord | None = None) -> bool:
    """Whether a space has the vector of any chunk, or of any that has none in ``missing_in``.

    The first such chunk ends the search for it, which goes through the partial index of ``missing_in``: with nothing
    pending there, the answer costs nothing.
    """
    query = sql.SQL("SELECT 1 FROM knowledge_base WHERE {} LIMIT 1").format(_only_in(record, missing_in))

    def work(connection: Connection) -> bool:
        if missing_in is not None:
            # Whatever the statistics say: by those of a load that has ended since, the table's next row would be one.
            connection.execute("SET LOCAL enable_seqscan = off")
        return connection.execute(query).fetchone() is not None

    return database.run(work)


def count_missing(database: Database, record: SpaceRecord, *, present_in: SpaceRecord) -> int:
    """How many chunks have a vector in ``present_in``, but none in ``record``; in a large table estimated."""
    query = sql.SQL("""
        WITH size AS (SELECT greatest(reltuples, 1) AS rows FROM pg_class WHERE oid = 'knowledge_base'::regclass)
        SELECT count(*) * greatest(1, (SELECT rows / %(rows)s FROM size))
        FROM knowledge_base TABLESAMPLE SYSTEM ((SELECT least(100, 100 * %(rows)s / rows) FROM size))
        WHERE {condition}
    """).format(condition=_only_in(present_in, record))
    row: Any = database.run(lambda connection: connection.execute(query, {"rows": _SAMPLE_ROWS}).fetchone())
    return round(float(row[0]))


def _only_in(record: SpaceRecord, missing_in: SpaceRecord | None) -> sql.Composed:
    """The condition of chunks that have a vector in ``record``, and none in ``missing_in``."""
    condition = sql.SQL("{} IS NOT NULL").format(sql.Identifier(record.column))
    if missing_in is None:
        return condition
    return sql.SQL("{} AND {} IS NULL").format(condition, sql.Identifier(missing_in.column))


def nearest_chunks(
    database: Database,
    record: SpaceRecord,
    vector: NDArray[np.float32],
    *,
    k: int,
    where: dict[str, str],
    index: IndexConfig,
    missing_in: SpaceRecord | None = None,
) -> list[tuple[Any, ...]]:
    """The ``k`` chunks nearest to ``vector``, nearest first: (hash, text, header, metadata, distance).

    Args:
        database: where.
        record: the space of ``vector``, in whose column is searched.
        vector: of the question.
        k: how many.
        where: metadata that a chunk must have.
        index: the kind of distance, and how thoroughly to search.
        missing_in: only chunks that have no vector in this other space.

    With a filter the index is scanned on until enough rows pass it (hnsw.iterative_scan, pgvector 0.8). That ends at
    hnsw.max_scan_tuples; what then is missing is looked for without the index.
    """
    conditions: list[sql.Composable] = [_only_in(record, missing_in)]
    parameters: dict[str, Any] = {"vector": Vector(vector), "k": k}
    for number, (key, value) in enumerate(where.items()):
        conditions.append(
            sql.SQL("document_metadata ->> {} = {}").format(
                sql.Placeholder(f"key{number}"), sql.Placeholder(f"value{number}")
            )
        )
        parameters |= {f"key{number}": key, f"value{number}": value}
    query = sql.SQL(
        "SELECT chunk_hash, coalesce(chunk_text, ''), coalesce(context_header, ''), "
        "coalesce(document_metadata, '{{}}'), {column} {operator} %(vector)s AS distance "
        "FROM knowledge_base WHERE {conditions} ORDER BY distance LIMIT %(k)s"
    ).format(
        column=sql.Identifier(record.column),
        operator=DISTANCE_OPERATORS[index.operator_class],
        conditions=sql.SQL(" AND ").join(conditions),
    )

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        connection.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'strict_order', true)",
            [str(min(1000, max(index.ef_search, k)))],
        )
        nearest = connection.execute(query, parameters).fetchall()
        if len(nearest) < k:
            connection.execute("SET LOCAL enable_indexscan = off")
            # Unprepared, since a plan that was prepared would be used again.
            nearest = connection.execute(query, parameters, prepare=False).fetchall()
        return nearest

    return database.run(work)
