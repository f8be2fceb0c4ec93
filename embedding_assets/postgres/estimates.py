"""What PostgreSQL knows of a table without reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table


def estimate_rows(connection: Connection, table: Table) -> int:
    """The rows of the table as the planner takes them: of the last ANALYZE, scaled by the pages there are now."""
    row: Any = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} k").format(table.rows), []).fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"])


def count_inserts(database: Database) -> int:
    """Rows that were ever inserted, its partitions' included; of use only to see that there were more since.

    PostgreSQL's counter: it may be set back, and lags behind by some seconds.
    """
    query = """
        SELECT coalesce(sum(pg_stat_get_tuples_inserted(relid)), 0)::bigint
        FROM (SELECT %(oid)s::oid AS relid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass)) AS parts
    """
    row: Any = database.run(lambda connection: connection.execute(query, {"oid": database.table.oid}).fetchone())
    return int(row[0])
