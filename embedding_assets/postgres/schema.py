"""The schema's version: checked by everything that starts, brought up to date when it is behind."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final, Literal

from psycopg import errors as pg
from psycopg import sql

from embedding_assets.errors import ConfigurationError, DatabaseError, DatabasePermissionError
from embedding_assets.postgres.locks import TABLE_LOCK, hold
from embedding_assets.postgres.lookup import TRIGGER, VERSION_TABLE
from embedding_assets.postgres.server_version import check_pgvector, ensure_pgvector
from embedding_assets.postgres.trigger import (
    TriggerState,
    create_function,
    create_trigger,
    trigger_state,
    watch_removals,
)

if TYPE_CHECKING:
    import sqlalchemy

    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table

logger = logging.getLogger(__name__)

HEAD: Final = "0017"

_COMPATIBLE: Final = {"read": "0010", "write": "0010"}
"""The oldest version whose processes may go on searching, or embedding too, beside this schema. It is written down in
the database, for them to find; a process of this package can do as much with a schema of that version."""

NOTHING_EMBEDDED: Final = (
    "nothing is embedded here yet; run `embedding-assets load PATH` or `embedding-assets adopt TABLE`, and then "
    "`embedding-assets embed`"
)

RECORDS: Final = (
    "embedding_adopted_table",
    "embedding_endpoints",
    "embedding_failures",
    "embedding_index_measurements",
    "embedding_quality_measurements",
    "embedding_question_weeks",
    "embedding_runs",
    "embedding_spaces",
    "embedding_spending",
    "embedding_usage",
    "loaded_documents",
    VERSION_TABLE,
)
"""Tables that are kept about an adopted one."""


def check_readable(database: Database) -> None:
    """Make sure that searches find what they need; a schema of an older or newer version may do, and is left as it is.

    Raises:
        PgvectorError: the extension is missing or too old.
        ConfigurationError: the schema is of a version that this package cannot read.
    """
    table = database.table

    def is_there(connection: Connection) -> bool:
        version = _current_version(connection, table)
        if version is None:
            return False
        check_pgvector(connection)
        if version > HEAD and _compatible_from(connection, table, "read") > HEAD:
            raise ConfigurationError(_too_new(version))
        if version < _COMPATIBLE["read"]:
            raise ConfigurationError(
                f"the schema has version {version}, and searches need {_COMPATIBLE['read']}; run `embedding-assets "
                "migrate`"
            )
        return True

    if not database.run_in_session(is_there):
        raise ConfigurationError(NOTHING_EMBEDDED)


def check_current(database: Database) -> None:
    """Make sure that what is kept about the table is as this version needs it, and change nothing of it.

    Raises:
        PgvectorError: the extension is missing or too old.
        ConfigurationError: it is of an older version, or of a newer one that this package does not know; or the trigger
            of an adopted table is lost.
    """
    table = database.table

    def trigger(connection: Connection) -> TriggerState:
        version = _current_version(connection, table)
        if version is None or version < HEAD:
            raise ConfigurationError(_too_old(table, version))
        if version > HEAD and _compatible_from(connection, table, "write") > HEAD:
            raise ConfigurationError(_too_new(version))
        check_pgvector(connection)
        return "there" if version > HEAD else trigger_state(connection, table)

    state = database.run_in_session(trigger)
    if state == "there":
        return
    if not table.is_own:
        raise ConfigurationError(unwatched(table, state))
    logger.warning("the trigger %s is %s on %s; the next load or run puts it back", TRIGGER, state, table)


def migrate(database: Database, *, asked: bool = False) -> bool:
    """Bring what is kept about the table to the current version, and watch the table's texts; makes ``knowledge_base``.

    Safe when several processes start at once: one migrates, the others wait for it. No lock is waited for longer than
    two seconds at a time, since everybody else would wait behind it. A newer schema is left as it is where it says that
    this version can go on with it.

    Args:
        database: where.
        asked: somebody asked for it; without, nothing is changed where the table is somebody else's.

    Returns:
        Whether anything had to be done.

    Raises:
        PgvectorError: the extension is missing or too old.
        DatabasePermissionError: the role may not do what is needed.
        TableNotAdoptedError: the table was not made by this package, and was not adopted.
        ConfigurationError: the schema is newer than this package.
    """
    if not database.table.oid:
        # Another process may have made it since it was looked up.
        database.use_table(None)
    table = database.table

    def watched(connection: Connection) -> TriggerState | None:
        """The trigger's state; None if the schema is not current."""
        if _current_version(connection, table) != HEAD:
            return None
        check_pgvector(connection)
        return trigger_state(connection, table)

    state = database.run_in_session(watched)
    if state is not None:
        return _restore_trigger(database, state)
    # On a connection of its own: Alembic commits and reconnects as it likes.
    with database.session() as connection, hold(connection, "migrate"):
        version = _current_version(connection, table)
        if version == HEAD:
            # By the process that was waited for. Locks go by the table's number.
            database.use_table(None)
            return False
        if version is not None and version > HEAD:
            if _compatible_from(connection, table, "write") > HEAD:
                raise ConfigurationError(_too_new(version))
            return False
        if not (table.is_own or asked):
            raise ConfigurationError(_too_old(table, version))
        ensure_pgvector(connection, table, database.address)
        database.retry(lambda: _upgrade(database, table))
        database.use_table(None)
        watch_texts(database)
    return True


def create_records(database: Database) -> None:
    """Bring what is kept about an adopted table to the current version, in the schema that is there for it.

    Raises:
        PgvectorError: the extension is missing or too old.
        DatabasePermissionError: the role may not create tables there.
    """
    table = database.table
    with database.session() as connection, hold(connection, "migrate"):
        if _current_version(connection, table) != HEAD:
            ensure_pgvector(connection, table, database.address)
            database.retry(lambda: _upgrade(database, table))


def watch_texts(database: Database) -> None:
    """Put the trigger on the table that takes away the vectors of edited texts."""
    table = database.table

    def work(connection: Connection) -> None:
        # A trigger waits for every writer, and new writers behind it: give way rather than block them.
        connection.execute("SET LOCAL lock_timeout = '2s'")
        rows = connection.execute("SELECT column_name FROM embedding_spaces ORDER BY created_at").fetchall()
        columns = [name for (name,) in rows]
        create_function(connection, table, ["embedding", *columns] if table.is_own else columns)
        create_trigger(connection, table)
        if table.is_own:
            for name in columns:
                watch_removals(connection, name)

    database.run(work)


def _restore_trigger(database: Database, state: TriggerState) -> bool:
    """Put the trigger back on ``knowledge_base`` where a restore or a swap has lost it; refuse another table.

    Returns:
        Whether it was lost.

    Raises:
        ConfigurationError: an adopted table is without it.
    """
    table = database.table
    if state == "there":
        return False
    if not table.is_own:
        raise ConfigurationError(unwatched(table, state))
    with database.session() as connection, hold(connection, TABLE_LOCK):
        if trigger_state(connection, table) != "there":
            watch_texts(database)
            logger.warning(
                "the trigger %s was %s on %s and is back: of texts that were edited without it the old vectors are "
                "served; `embedding-assets health` compares a sample",
                TRIGGER,
                state,
                table,
            )
    return True


def unwatched(table: Table, state: str) -> str:
    """The message about a table without its trigger."""
    if not table.oid:
        return f"{table} was adopted, and is not there any more; `embedding-assets adopt --undo {table}` forgets it"
    return (
        f"the trigger {TRIGGER} is {state} on {table}, as after a restore or a swap of the table: of texts that were "
        f"edited without it the old vectors would be served. Run `embedding-assets adopt {table}`, which puts it back"
    )


def _too_old(table: Table, version: str | None) -> str:
    found = f"what is kept about {table} has version {version}, and this package needs {HEAD}"
    if table.is_own:
        return f"{found}; `embedding-assets migrate` brings it there, as the next load or embed does"
    return f"{found}; run `embedding-assets migrate` when that suits you: searches go on without"


def _too_new(version: str) -> str:
    return f"the database has schema version {version}, this package knows {HEAD}; upgrade embedding-assets"


def _compatible_from(connection: Connection, table: Table, use: Literal["read", "write"]) -> str:
    """The oldest version that may go on beside a newer schema, as that says of itself."""
    row = connection.execute(
        "SELECT obj_description(to_regclass(%s), 'pg_class')::jsonb ->> %s",
        [sql.Identifier(table.records, VERSION_TABLE).as_string(), use],
    ).fetchone()
    return (row and row[0]) or "9999"


def _current_version(connection: Connection, table: Table) -> str | None:
    name = sql.Identifier(table.records, VERSION_TABLE)
    if connection.execute("SELECT to_regclass(%s)", [name.as_string()]).fetchone() == (None,):
        return None
    row = connection.execute(sql.SQL("SELECT version_num FROM {}").format(name)).fetchone()
    return row[0] if row else None


def _upgrade(database: Database, table: Table) -> None:
    import alembic.command
    import alembic.config
    import sqlalchemy

    def connect() -> Connection:
        # Everything goes beside the table or into the schema of its records, whatever the role's search path.
        connection = database.connect()
        connection.execute("SELECT set_config('lock_timeout', '2s', false)")
        connection.commit()
        return connection

    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=connect, poolclass=sqlalchemy.pool.NullPool)
    config = alembic.config.Config()
    config.set_main_option("script_location", "embedding_assets.postgres:migrations")
    with engine.connect() as connection:
        config.attributes.update(connection=connection, schema=table.records, is_own=table.is_own)
        try:
            alembic.command.upgrade(config, HEAD)
        except sqlalchemy.exc.DBAPIError as error:
            raise _translated(error.orig, database) from None


def _translated(error: BaseException | None, database: Database) -> BaseException:
    address = database.address
    if isinstance(error, pg.InsufficientPrivilege):
        return DatabasePermissionError(
            f"{address}: {error.diag.message_primary}; to bring what is kept about the table up to date, the role must "
            "own knowledge_base or be able to create tables in the schema (GRANT USAGE, CREATE ON SCHEMA … TO …); or "
            "have its owner run `embedding-assets migrate`"
        )
    if isinstance(error, pg.Error):
        return error
    return DatabaseError(f"{address}: the schema was not brought up to date ({type(error).__name__})")


def run_alembic(connection: sqlalchemy.Connection, *, schema: str, is_own: bool) -> None:
    """Called by the migration environment: run what is due on this connection, in one transaction.

    Args:
        connection: where.
        schema: of the records; the search path begins with it, and others may have records too.
        is_own: whether the table is ``knowledge_base`` itself, or one that was adopted.
    """
    from alembic import context

    context.configure(
        connection=connection,
        version_table=VERSION_TABLE,
        version_table_schema=schema,
        transactional_ddl=True,
        is_own=is_own,
    )
    with context.begin_transaction():
        context.run_migrations()
        connection.exec_driver_sql(f"COMMENT ON TABLE {VERSION_TABLE} IS '{json.dumps(_COMPATIBLE)}'")
    connection.commit()
