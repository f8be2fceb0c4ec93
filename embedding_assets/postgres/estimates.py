"""Sizes that PostgreSQL knows without reading the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection
    from embedding_assets.postgres.table import Table


def estimate_rows(connection: Connection, table: Table) -> int:
    """The rows of the table as the planner takes them: of the last ANALYZE, scaled by the pages there are now."""
    row: Any = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} k").format(table.rows), []).fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"])
