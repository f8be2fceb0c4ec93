"""Searching a vector column: the nearest chunks, and what one space holds that another lacks."""

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
from embedding_assets.postgres.samples import SAMPLE_ROWS, estimated_rows, table_sample

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn


def nearest_chunks(
    database: Database,
    column: SpaceColumn,
    vector: NDArray[np.float32],
    *,
    k: int,
    where: Sequence[Condition],
    index: IndexConfig,
    missing_in: SpaceColumn | None = None,
) -> list[tuple[Any, ...]]:
    """The ``k`` chunks nearest to ``vector``, nearest first: (hash, source, text, header, metadata, distance).

    Args:
        database: where.
        column: the space of ``vector``, in whose column is searched.
        vector: of the question.
        k: how many.
        where: what must hold of a chunk's metadata.
        index: how thoroughly to search.
        missing_in: only chunks that have no vector in this other space.

    By the index that is there, of whatever type, and by the exact distance among what it finds. With a filter the index
    is scanned on until enough rows pass it (hnsw.iterative_scan, pgvector 0.8). That ends at hnsw.max_scan_tuples; what
    then is missing is looked for without the index.
    """
    table = database.table
    conditions: list[sql.Composable] = [_only_in(column, missing_in), table.condition]
    parameters: dict[str, Any] = {"vector": Vector(vector), "k": k}
    outputs = [table.hash(), table.source(), table.body(), table.header(), table.metadata_of()]
    for number, condition in enumerate(where):
        clause, values = condition_of(table, condition, f"where{number}")
        conditions.append(clause)
        parameters |= values
    query = (sql.SQL(", ").join(outputs), sql.SQL("{} k").format(table.relation), sql.SQL(" AND ").join(conditions))

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        form = form_for_search(connection, table, column) or plain_form(column)
        candidates = form.candidates(k, index.ef_search)
        connection.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'strict_order', true)",
            [str(min(1000, max(index.ef_search, candidates)))],
        )
        rows = connection.execute(form.nearest(*query), parameters | {"candidates": candidates}).fetchall()
        found = len(rows) if form.is_plain else rows[0][-1] if rows else 0
        if found < form.fewest(k):
            connection.execute("SET LOCAL enable_indexscan = off")
            # Unprepared, since a plan that was prepared would be used again.
            rows = connection.execute(plain_form(column).nearest(*query), parameters, prepare=False).fetchall()
        # Behind the distance is how many candidates there were.
        return [row[: len(outputs) + 1] for row in rows]

    return database.run(work)


def holds_vectors(database: Database, column: SpaceColumn, *, missing_in: SpaceColumn | None = None) -> bool:
    """True if a space has the vector of any chunk, or of any that has none in ``missing_in``.

    The first such chunk ends the search for it, which goes through the partial index of ``missing_in``: with nothing
    pending there, the answer costs nothing.
    """
    query = sql.SQL("SELECT 1 FROM {} k WHERE {} LIMIT 1").format(database.table.rows, _only_in(column, missing_in))

    def work(connection: Connection) -> bool:
        if missing_in is not None:
            # Whatever the statistics say: by those of a load that has ended since, the table's next row would be one.
            connection.execute("SET LOCAL enable_seqscan = off")
        return connection.execute(query, []).fetchone() is not None

    return database.run(work)


def count_missing(database: Database, column: SpaceColumn, *, present_in: SpaceColumn) -> int:
    """Number of chunks with a vector in ``present_in``, but none in ``column``; in a large table estimated."""
    table = database.table
    query = sql.SQL("""
        SELECT count(*) * greatest(1, ({estimated}) / {rows}) FROM {sample} WHERE {missing} AND {condition}
    """).format(
        rows=sql.Literal(SAMPLE_ROWS),
        estimated=estimated_rows(table),
        sample=table_sample(table, SAMPLE_ROWS),
        missing=_only_in(present_in, column),
        condition=table.condition,
    )
    row: Any = database.run(lambda connection: connection.execute(query, []).fetchone())
    return round(float(row[0]))


def _only_in(column: SpaceColumn, missing_in: SpaceColumn | None) -> sql.Composed:
    """The condition of chunks that have a vector in ``column``, and none in ``missing_in``."""
    condition = sql.SQL("{} IS NOT NULL").format(sql.Identifier(column.name))
    if missing_in is None:
        return condition
    return sql.SQL("{} AND {} IS NULL").format(condition, sql.Identifier(missing_in.name))
