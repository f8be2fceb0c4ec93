"""Spaces that take another identity, and spaces that are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, fields, replace
from typing import TYPE_CHECKING, Final

from psycopg import sql

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.catalog import drop_index
from embedding_assets.postgres.locks import TABLE_LOCK, PrefixLocks, hold
from embedding_assets.postgres.spaces import check_registered, list_spaces
from embedding_assets.postgres.trigger import create_function, unwatch_removals
from embedding_assets.spaces import SpaceColumn, VectorSpace

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table

_BUCKETS: Final = range(256)


def rename_space(database: Database, column: SpaceColumn, space: VectorSpace) -> SpaceColumn:
    """Give a space the identity of ``space``; its vectors, column and index stay, its records and costs follow.

    Raises:
        ConfigurationError: there is such a space already, or a run is embedding into this one.
    """
    names = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(VectorSpace))
    query = sql.SQL("UPDATE embedding_spaces SET (name, {}) = ({}) WHERE name = %s").format(
        names, sql.SQL(", ").join(sql.Placeholder() * (len(fields(VectorSpace)) + 1))
    )

    def work(connection: Connection) -> None:
        connection.execute(query, [space.name, *astuple(space), column.space.name])
        connection.execute("UPDATE embedding_usage SET space = %s WHERE space = %s", [space.name, column.space.name])

    with _alone(database, column):
        if any(known.space == space for known in list_spaces(database)):
            raise ConfigurationError(f"there is a space {space.name} already; drop one of the two first")
        database.run(work)
    return replace(column, space=space)


def drop_space(database: Database, column: SpaceColumn) -> None:
    """Drop a space: its index, its column, and the records of its runs, failures and measurements.

    What was paid for it stays in the ledger. The first column of ``knowledge_base`` stays, empty, for the next first
    space; in a table of the user's a column that was there before stays as it is. A process that dies in between leaves
    the space without its index, to be dropped again or to go on with.

    Raises:
        ConfigurationError: a run is embedding into it.
        DatabaseError: something else, such as a view, depends on the column.
    """
    with _alone(database, column):
        with database.session() as session:
            own = [] if database.table.has_found(column.name) else [column.index]
            for index in (*own, f"{column.index}_new", f"{column.index}_old", column.pending_index):
                drop_index(session, database.table, index)
        database.run(lambda connection: _drop(connection, database.table, column))


@contextmanager
def _alone(database: Database, column: SpaceColumn) -> Iterator[None]:
    """Keep runs out of a space, and others from changing the table's columns and indexes."""
    name = column.space.name
    with (
        database.session() as session,
        hold(session, TABLE_LOCK),
        closing(PrefixLocks(database, name)) as locks,
    ):
        check_registered(database, column)
        if len(locks.acquire(_BUCKETS)) < len(_BUCKETS):
            raise ConfigurationError(
                f"a run is embedding into space {name}; wait for its end, or stop it, and try again"
            )
        yield


def _drop(connection: Connection, table: Table, column: SpaceColumn) -> None:
    # Changing columns waits for every reader, and new readers behind it: give way and try again rather than block them.
    connection.execute("SET LOCAL lock_timeout = '2s'")
    rows = connection.execute("SELECT column_name FROM embedding_spaces ORDER BY created_at").fetchall()
    left = [name for (name,) in rows if name != column.name]
    create_function(connection, table, ["embedding", *left] if table.is_own else left)
    connection.execute("DELETE FROM embedding_spaces WHERE name = %s", [column.space.name])
    if table.has_found(column.name):
        return
    unwatch_removals(connection, table, column.name)
    change = sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(table.relation, sql.Identifier(column.name))
    if table.is_own and column.name == table.vectors:
        change += sql.SQL(", ADD COLUMN {} {}({})").format(
            sql.Identifier(column.name), sql.Identifier(column.space.storage), sql.Literal(column.space.dimensions)
        )
    connection.execute(change, [])
