"""The columns of the table, as PostgreSQL has them now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database


@dataclass(frozen=True, slots=True)
class DescribedColumn:
    """A column.

    Attributes:
        name: of the column.
        type: as PostgreSQL writes it.
        is_required: whether it may not be NULL.
        comment: of its maker; empty if there is none.
    """

    name: str
    type: str
    is_required: bool
    comment: str


def describe_columns(database: Database) -> list[DescribedColumn]:
    """All of them, in their order."""
    query = """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull, coalesce(col_description(attrelid, attnum), '')
        FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
    """
    parameters = [database.table.oid]
    rows = database.run(lambda connection: connection.execute(query, parameters).fetchall())
    return [DescribedColumn(*row) for row in rows]
