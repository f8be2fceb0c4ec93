"""The chunks that answer a question, by its vector, by its words, or by both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector
from psycopg import sql

from embedding_assets.postgres.catalog import form_for_search
from embedding_assets.postgres.conditions import Condition, condition_of
from embedding_assets.postgres.index_form import plain_form
from embedding_assets.postgres.search.coverage import only_in
from embedding_assets.postgres.search.found import Found, FoundChunk

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn


def find_chunks(
    database: Database,
    *,
    column: SpaceColumn | None,
    vector: NDArray[np.float32] | None,
    words: str | None,
    limit: int,
    where: Sequence[Condition],
    index: IndexConfig,
    language: str = "simple",
    missing_in: SpaceColumn | None = None,
) -> Found:
    """The ``limit`` chunks that fit best: nearest to a vector, by their words, or by both ranks together.

    Args:
        database: where.
        column: the space of ``vector``, in whose column is searched; None without a vector.
        vector: of the question; None: it is not searched by vectors.
        words: the question itself; None: it is not searched by words.
        limit: how many.
        where: what must hold of a chunk.
        index: how thoroughly to search the vector index.
        language: text search configuration by which words are split.
        missing_in: only chunks that have no vector in this other space.

    By the index that is there, of whatever type, and by the exact distance among what it finds. With a filter the index
    is scanned on until enough rows pass it (hnsw.iterative_scan, pgvector 0.8). That ends at hnsw.max_scan_tuples; what
    then is missing is looked for without the index.
    """
    table = database.table
    if column is None or vector is None:
        return Found(())
    conditions: list[sql.Composable] = [only_in(column, missing_in), table.condition]
    parameters: dict[str, Any] = {"vector": Vector(vector), "k": limit}
    outputs = [
        table.hash(),
        table.key_texts(),
        table.source(),
        table.body(),
        table.header(),
        table.metadata_of(),
    ]
    for number, condition in enumerate(where):
        clause, values = condition_of(table, condition, f"where{number}")
        conditions.append(clause)
        parameters |= values
    query = (sql.SQL(", ").join(outputs), sql.SQL("{} k").format(table.relation), sql.SQL(" AND ").join(conditions))

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        form = form_for_search(connection, table, column) or plain_form(column)
        candidates = form.candidates(limit, index.ef_search)
        connection.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'strict_order', true)",
            [str(min(1000, max(index.ef_search, candidates)))],
        )
        rows = connection.execute(form.nearest(*query), parameters | {"candidates": candidates}).fetchall()
        found = len(rows) if form.is_plain else rows[0][-1] if rows else 0
        if found < form.fewest(limit):
            connection.execute("SET LOCAL enable_indexscan = off")
            # Unprepared, since a plan that was prepared would be used again.
            rows = connection.execute(plain_form(column).nearest(*query), parameters, prepare=False).fetchall()
        # Behind the distance is how many candidates there were.
        return [row[: len(outputs) + 1] for row in rows]

    rows = database.run(work)
    return Found(tuple(_chunk(table, row, rank) for rank, row in enumerate(rows, start=1)))


def _chunk(table: Table, row: tuple[Any, ...], rank: int) -> FoundChunk:
    chunk_hash, key, source, text, header, metadata, distance = row
    return FoundChunk(
        chunk_hash=chunk_hash,
        key=dict(zip((column.name for column in table.key), key, strict=True)),
        source=source,
        text=text,
        header=header,
        metadata=metadata if isinstance(metadata, dict) else {},  # an adopted table may hold any JSON
        distance=distance,
        vector_rank=rank,
        text_rank=None,
        holds_all_words=False,
    )
