"""Statistics of a space's vectors and of the table they are in: sizes, dead rows, dimensions, lengths."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import dict_row

from embedding_assets.planning import looks_at_all
from embedding_assets.postgres.backlog import count_vectors
from embedding_assets.postgres.catalog import describe
from embedding_assets.postgres.estimates import estimate_rows
from embedding_assets.postgres.samples import SAMPLE_ROWS, table_sample
from embedding_assets.spaces import UNIT_LENGTH_TOLERANCE

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

_FEW_ROWS: Final = 20_000
"""Rows whose vectors are read of a large table wherever it is only to be described, as after every load."""

_VERY_FEW_ROWS: Final = 500
"""The same after a run that has embedded a few chunks. What it wrote itself was looked at before."""

_WHOLE_COLUMN_SECONDS: Final = 30.0
"""For reading every vector: some ten seconds for a million of 768 dimensions that the server has in memory."""


@dataclass(frozen=True, slots=True)
class VectorStatistics:
    """The vectors of a space, and the table they are in.

    Attributes:
        count: how many there are.
        heap_bytes: the table's rows without what is stored out of line.
        toast_bytes: what is: vectors of all spaces from some 500 dimensions on, and long texts.
        pending_index_bytes: the partial index of chunks without a vector; 0 without one.
        live_rows: of the table, as PostgreSQL's statistics have it.
        dead_rows: old versions of rows that no vacuum has cleared away; from the same statistics.
        vacuumed_at: when a vacuum, automatic or not, last ended; None before the first.
        sampled: vectors read for what follows: all of them, or some of a large table at random.
        wrong_dimensions: vectors of another length than the space's.
        zero: vectors of length zero, which no index of cosines has.
        not_unit_length: others whose length is not 1; None where the model does not normalize.
        norm_min: least length of the others; None if there are none.
        norm_mean: mean length of the others.
        norm_max: greatest length of the others.
        pgvector: version of the extension.
    """

    count: int
    heap_bytes: int
    toast_bytes: int
    pending_index_bytes: int
    live_rows: int
    dead_rows: int
    vacuumed_at: datetime | None
    sampled: int
    wrong_dimensions: int
    zero: int
    not_unit_length: int | None
    norm_min: float | None
    norm_mean: float | None
    norm_max: float | None
    pgvector: str

    @property
    def table_bytes(self) -> int:
        """The table without its indexes."""
        return self.heap_bytes + self.toast_bytes

    @property
    def dead_share(self) -> float:
        """Dead rows among all rows."""
        return self.dead_rows / max(self.dead_rows + self.live_rows, 1)

    @property
    def zero_share(self) -> float:
        """Zero vectors among those read."""
        return self.zero / max(self.sampled, 1)

    @property
    def faulty(self) -> int:
        """Vectors with any fault."""
        return self.wrong_dimensions + self.zero + (self.not_unit_length or 0)


def measure_vectors(
    database: Database, column: SpaceColumn, *, thorough: bool = False, written: int | None = None
) -> VectorStatistics:
    """Measure the vectors of a space; reads indexes, and of a large table a sample.

    Args:
        database: where.
        column: the space.
        thorough: read every vector, unless that takes longer than half a minute. pgvector leaves zero vectors out
            of an index of cosines, but counts them nowhere: only reading the column finds a single one.
        written: vectors written by the run that asks; of a table that is far larger few are read, and their number is
            estimated. Default: as many as ``thorough`` says.
    """

    table = database.table

    def work(connection: Connection) -> VectorStatistics:
        whole = looks_at_all(0 if written is None else estimate_rows(connection, table), written)
        rows = SAMPLE_ROWS if thorough else _FEW_ROWS
        return VectorStatistics(
            count=count_vectors(connection, table, column, written=written),
            **_of_the_table(connection, table, column),
            **(
                (thorough and whole and _norms_in_time(connection, table, column))
                or _norms(connection, table, column, table_sample(table, rows if whole else _VERY_FEW_ROWS))
            ),
        )

    return database.run(work)


def _of_the_table(connection: Connection, table: Table, column: SpaceColumn) -> dict[str, Any]:
    query = """
        SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::bigint AS heap_bytes,
               coalesce(sum(pg_total_relation_size(nullif(c.reltoastrelid, 0))), 0)::bigint AS toast_bytes,
               coalesce(sum(pg_stat_get_live_tuples(c.oid)), 0)::bigint AS live_rows,
               coalesce(sum(pg_stat_get_dead_tuples(c.oid)), 0)::bigint AS dead_rows,
               max(greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid)))
                   AS vacuumed_at,
               (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector
        FROM (SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) AS oid) AS root
        JOIN pg_class c ON c.oid = root.oid OR c.oid IN (SELECT relid FROM pg_partition_tree(root.oid))
    """
    cursor = connection.cursor(row_factory=dict_row)
    row: Any = cursor.execute(query, [table.schema, table.name]).fetchone()
    return {**row, "pending_index_bytes": describe(connection, table, column.pending_index).size_bytes}


def _norms_in_time(connection: Connection, table: Table, column: SpaceColumn) -> dict[str, Any] | None:
    """Of all vectors; None if that takes too long."""
    limit = str(round(_WHOLE_COLUMN_SECONDS * 1000))
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('statement_timeout', %s, true)", [limit])
            return _norms(connection, table, column, sql.SQL("{} k").format(table.relation))
    except pg.QueryCanceled:
        return None


def _norms(connection: Connection, table: Table, column: SpaceColumn, sample: sql.Composable) -> dict[str, Any]:
    """Of the vectors in ``sample``. The type ``vector`` itself keeps NaN and infinity out."""
    query = sql.SQL("""
        WITH vectors AS NOT MATERIALIZED (
            SELECT vector_dims({column}) AS dimensions, vector_norm({column}::vector) AS norm
            FROM {sample} WHERE {column} IS NOT NULL AND {condition}
        )
        SELECT count(*) AS sampled,
               count(*) FILTER (WHERE dimensions <> %(dimensions)s) AS wrong_dimensions,
               count(*) FILTER (WHERE norm = 0) AS zero,
               CASE WHEN %(normalized)s THEN count(*) FILTER (WHERE norm <> 0 AND abs(norm - 1) > %(tolerance)s) END
                   AS not_unit_length,
               min(nullif(norm, 0)) AS norm_min, avg(nullif(norm, 0)) AS norm_mean, max(nullif(norm, 0)) AS norm_max
        FROM vectors
    """).format(column=sql.Identifier(column.name), sample=sample, condition=table.condition)
    space = column.space
    parameters = {"dimensions": space.dimensions, "normalized": space.normalized, "tolerance": UNIT_LENGTH_TOLERANCE}
    row: Any = connection.cursor(row_factory=dict_row).execute(query, parameters).fetchone()
    return dict(row)
