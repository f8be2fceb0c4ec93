"""Chunks without a vector, counted quickly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.postgres.backlog import is_missing
from embedding_assets.postgres.estimates import estimate_rows

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn

_MOST_COUNTED: Final = 10_000
"""That are counted one by one, which takes milliseconds by the partial index of the column."""


@dataclass(frozen=True, slots=True)
class Missing:
    """How much of a table has no vector.

    Attributes:
        chunks: without a vector, counted up to a limit.
        is_more: whether the limit was reached, so that there may be more.
        rows: of the table, estimated; 0 where nothing is missing.
    """

    chunks: int
    is_more: bool
    rows: int

    def __str__(self) -> str:
        """As in a sentence: ``12 of 500 chunks``."""
        if self.is_more:
            return f"more than {self.chunks:,} of about {max(self.rows, self.chunks):,} chunks"
        of = f" of about {self.rows:,}" if self.rows > _MOST_COUNTED else f" of {self.rows:,}"
        return f"{self.chunks:,}{of} chunks"


def count_without_vectors(database: Database, column: SpaceColumn, also_in: SpaceColumn | None = None) -> Missing:
    """Chunks that have no vector in a space, nor in the other one that is given, in time that has a limit.

    By the partial index of the column's backlog, which the serving space always has; a space without one is read until
    the limit is reached, or to its end.
    """
    table = database.table
    conditions = [is_missing(column)]
    if also_in is not None:
        # Named in a way that the planner cannot match with the other column's partial index.
        conditions.append(sql.SQL("num_nulls(k.{}) = 1").format(sql.Identifier(also_in.name)))
    query = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} k WHERE {} LIMIT {}) AS missing").format(
        table.rows, sql.SQL(" AND ").join(conditions), sql.Literal(_MOST_COUNTED + 1)
    )
    every = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} k LIMIT {}) AS counted").format(
        table.rows, sql.Literal(_MOST_COUNTED + 1)
    )

    def work(connection: Connection) -> Missing:
        # Whatever the statistics say: by those of a load that has ended since, the table's next row would be one.
        connection.execute("SET LOCAL enable_seqscan = off")
        row: Any = connection.execute(query, []).fetchone()
        found = int(row[0])
        if not found:
            return Missing(0, False, 0)
        row = connection.execute(every, []).fetchone()
        rows = int(row[0]) if row[0] <= _MOST_COUNTED else estimate_rows(connection, table)
        return Missing(min(found, _MOST_COUNTED), found > _MOST_COUNTED, rows)

    return database.run(work)
