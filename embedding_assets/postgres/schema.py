"""The schema's version: checked by everything that starts, brought up to date when it is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from psycopg import errors as pg
from psycopg import sql

from embedding_assets.errors import ConfigurationError, DatabaseError, DatabasePermissionError
from embedding_assets.postgres.locks import hold
from embedding_assets.postgres.server_version import check_pgvector, ensure_pgvector

if TYPE_CHECKING:
    import sqlalchemy

    from embedding_assets.postgres.connection import Connection, Database

VERSION_TABLE: Final = "embedding_schema_version"
HEAD: Final = "0009"


def migrate(database: Database) -> bool:
    """Bring the schema to the current version; adopts a ``knowledge_base`` that already exists.

    Safe when several processes start at once: one migrates, the others wait for it.

    Returns:
        Whether anything had to be done.

    Raises:
        PgvectorError: the extension is missing or too old.
        DatabasePermissionError: the role may not do what is needed.
        ConfigurationError: an existing table cannot be adopted, or the schema is newer than this package.
    """
    if database.run_in_session(_is_current):
        return False
    # Alembic has a connection of its own: it commits and reconnects as it likes.
    with database.session() as connection, hold(connection, "migrate"):
        version = _current_version(connection)
        if version == HEAD:
            return False
        if version is not None and version > HEAD:
            raise ConfigurationError(
                f"the database has schema version {version}, this package knows {HEAD}; upgrade embedding-assets"
            )
        ensure_pgvector(connection, database.address)
        _upgrade(database, _schema_of_table(connection))
    return True


def _is_current(connection: Connection) -> bool:
    current = _current_version(connection) == HEAD
    if current:
        check_pgvector(connection)
    return current


def _current_version(connection: Connection) -> str | None:
    if connection.execute("SELECT to_regclass(%s)", [VERSION_TABLE]).fetchone() == (None,):
        return None
    row = connection.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE))).fetchone()
    return row[0] if row else None


def _schema_of_table(connection: Connection) -> str | None:
    """The schema of an existing ``knowledge_base``, else that of new tables, as an SQL identifier."""
    row = connection.execute("""
        SELECT coalesce(
            (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('knowledge_base')),
            quote_ident(current_schema())
        )
    """).fetchone()
    return row[0] if row else None


def _upgrade(database: Database, schema: str | None) -> None:
    import alembic.command
    import alembic.config
    import sqlalchemy

    def connect() -> Connection:
        connection = database.connect()
        # Everything goes beside the table, also where the search path would create it elsewhere.
        connection.execute(
            "SELECT set_config('search_path', concat_ws(', ', %s::text, current_setting('search_path')), false)",
            [schema],
        )
        connection.commit()
        return connection

    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=connect, poolclass=sqlalchemy.pool.NullPool)
    config = alembic.config.Config()
    config.set_main_option("script_location", "embedding_assets.postgres:migrations")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, HEAD)
        except sqlalchemy.exc.DBAPIError as error:
            raise _translated(error.orig, database) from None


def _translated(error: BaseException | None, database: Database) -> DatabaseError | ConfigurationError:
    address = database.address
    if isinstance(error, pg.InsufficientPrivilege):
        return DatabasePermissionError(
            f"{address}: {error.diag.message_primary}; the role must own knowledge_base or be able to create tables "
            "in the schema (GRANT USAGE, CREATE ON SCHEMA … TO …)"
        )
    if isinstance(error, pg.UniqueViolation):
        return ConfigurationError(
            f"{address}: knowledge_base.chunk_hash has duplicates, so the table cannot be adopted; remove them first"
        )
    if isinstance(error, pg.Error):
        return database.translate(error)
    return DatabaseError(f"{address}: the schema was not brought up to date ({type(error).__name__})")


def run_alembic(connection: sqlalchemy.Connection) -> None:
    """Called by the migration environment: run what is due on this connection, in one transaction."""
    from alembic import context

    context.configure(connection=connection, version_table=VERSION_TABLE, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
