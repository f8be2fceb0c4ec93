"""A schema of its own for tables that must not mix with the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg import errors as pg
from psycopg import sql

from embedding_assets.errors import DatabasePermissionError
from embedding_assets.postgres.locks import hold

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database


@contextmanager
def own_schema(database: Database, schema: str) -> Iterator[None]:
    """Make sure that ``schema`` exists and may be used; inside, no other process is in here for the same schema.

    Raises:
        DatabaseUnavailableError: the server cannot be reached.
        DatabasePermissionError: the role may not create or use the schema; the message says what to run.
    """
    with database.session() as connection, hold(connection, f"schema {schema}"):
        _ensure(connection, database.address, schema)
        yield


def _ensure(connection: Connection, address: str, schema: str) -> None:
    # Looked up first: IF NOT EXISTS asks for the right to create even where there is nothing to do.
    query = """
        SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')
        FROM pg_namespace WHERE nspname = %s
    """
    found = connection.execute(query, [schema]).fetchone()
    role = sql.Identifier(connection.info.user)
    name = sql.Identifier(schema)
    if found is None:
        try:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
        except pg.InsufficientPrivilege:
            remedy = sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(name, role)
            raise _refusal(address, f"create the schema {schema}", remedy.as_string(connection)) from None
    elif found != (True,):
        remedy = sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(name, role)
        raise _refusal(address, f"create tables in the schema {schema}", remedy.as_string(connection))


def _refusal(address: str, what: str, remedy: str) -> DatabasePermissionError:
    return DatabasePermissionError(f"{address}: this role may not {what}; have an administrator run: {remedy}")
