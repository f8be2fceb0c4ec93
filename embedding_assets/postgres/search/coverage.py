"""Chunks that one space holds and another lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from embedding_assets.postgres.samples import SAMPLE_ROWS, estimated_rows, table_sample

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn


def holds_vectors(database: Database, column: SpaceColumn, *, missing_in: SpaceColumn | None = None) -> bool:
    """True if a space has the vector of any chunk, or of any that has none in ``missing_in``.

    The first such chunk ends the search for it, which goes through the partial index of ``missing_in``: with nothing
    pending there, the answer costs nothing.
    """
    query = sql.SQL("SELECT 1 FROM {} k WHERE {} LIMIT 1").format(database.table.rows, only_in(column, missing_in))

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
        missing=only_in(present_in, column),
        condition=table.condition,
    )
    row: Any = database.run(lambda connection: connection.execute(query, []).fetchone())
    return round(float(row[0]))


def only_in(column: SpaceColumn, missing_in: SpaceColumn | None) -> sql.Composed:
    """The condition of chunks that have a vector in ``column``, and none in ``missing_in``."""
    condition = sql.SQL("{} IS NOT NULL").format(sql.Identifier(column.name))
    if missing_in is None:
        return condition
    return sql.SQL("{} AND {} IS NULL").format(condition, sql.Identifier(missing_in.name))
