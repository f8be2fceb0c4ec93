"""Reads that see the database as it was at one moment, in portions of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database

PORTION_ROWS: Final = 500
"""Rows that are read, matched and written together: 6 MB at 3,072 dimensions."""


@contextmanager
def snapshot(database: Database) -> Iterator[Connection]:
    """A connection that sees all of the database as it is now, and locks no row.

    Raises:
        DatabaseError: what psycopg raised inside.
    """
    with database.session() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Between two portions it waits for a model, or for what is written on other connections.
        connection.execute("""
            SELECT set_config('statement_timeout', '0', true),
                   set_config('idle_in_transaction_session_timeout', '0', true)
        """)
        yield connection


def read_portions(
    connection: Connection, query: sql.Composed, parameters: Sequence[Any] = ()
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a query, fetched from the server a portion at a time."""
    with connection.cursor(name="embedding_assets_import", binary=True) as cursor:
        cursor.execute(query, list(parameters))
        while rows := cursor.fetchmany(PORTION_ROWS):
            yield rows
