"""Adopting a table of the user's: planned in full, done at once or not at all, and undone without a trace in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from psycopg import errors as pg
from psycopg import sql
from psycopg.types.json import Jsonb

from embedding_assets.errors import ConfigurationError, DatabasePermissionError
from embedding_assets.postgres.catalog import drop_index
from embedding_assets.postgres.inspection import look_at, plan_table
from embedding_assets.postgres.locks import TABLE_LOCK, PrefixLocks, hold
from embedding_assets.postgres.lookup import ADOPTED_TABLE, VERSION_TABLE, list_adopted, locate
from embedding_assets.postgres.schema import RECORDS, create_records, watch_texts
from embedding_assets.postgres.search_indexes import drop_search_indexes, word_indexes
from embedding_assets.postgres.spaces import list_spaces, settle_columns
from embedding_assets.postgres.table import Table, as_json, quoted
from embedding_assets.postgres.trigger import drop_trigger, function_statement, trigger_statements, watched_tables

if TYPE_CHECKING:
    from embedding_assets.config import TableConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.spaces import SpaceColumn

_READ_BYTES_PER_SECOND: Final = 200e6
"""Of a table that is partly in memory; an index build reads it twice."""

_BUCKETS: Final = range(256)


@dataclass(frozen=True, slots=True)
class Step:
    """A statement, the lock that it takes on the table, and for how long others notice.

    Attributes:
        sql: as it is executed.
        lock: PostgreSQL's name for it; empty: none on the table.
        blocks: what waits meanwhile.
        seconds: about how long it takes; 0: no longer than a change of the catalog, some milliseconds.
    """

    sql: str
    lock: str = ""
    blocks: str = "nothing"
    seconds: float = 0


@dataclass(frozen=True, slots=True)
class Adoption:
    """What adopting a table takes.

    Attributes:
        table: as it will be embedded.
        rows: of the table, about; -1: not known.
        steps: done at once.
        later: done by the first run, which knows the model and so the length of its vectors.
        filled: other columns of vectors that are there; they are left alone.
        is_known: whether it was adopted before, so that only what is missing is put back.
    """

    table: Table
    rows: int
    steps: tuple[Step, ...]
    later: tuple[Step, ...]
    filled: tuple[str, ...]
    is_known: bool


def plan_adoption(database: Database, config: TableConfig) -> Adoption:
    """What adopting the configured table takes; changes nothing.

    Raises:
        ConfigurationError: something stands against it; the message says what, and what would do.
        DatabasePermissionError: a right is missing; the message has the statement that grants it.
    """
    with database.session() as connection:
        return _plan(connection, config)


def adopt(database: Database, config: TableConfig) -> Adoption:
    """Adopt the configured table: from then on what is in it is pending, and an edited text loses its vector.

    Done twice, by two at once, or again after it was interrupted, the outcome is the same.

    Raises:
        ConfigurationError: something stands against it, or it was adopted with other columns.
        DatabasePermissionError: a right is missing.
    """
    with database.session() as connection, hold(connection, "adopt"):
        plan = _plan(connection, config)
        table = plan.table
        _create_schema(connection, table, database.address)
        database.use_table(table)
        create_records(database)
        with hold(connection, TABLE_LOCK):
            # Before the table counts as adopted: no vector may be written while an edit would go unnoticed.
            settle_columns(database)
            watch_texts(database)
        # Not earlier: until then nothing leads to it, and doing it again starts over.
        connection.execute(
            sql.SQL("""
                INSERT INTO {} (schema_name, table_name, definition) VALUES (%s, %s, %s) ON CONFLICT (is_only)
                DO UPDATE SET definition = excluded.definition
            """).format(sql.Identifier(table.records, ADOPTED_TABLE)),
            [table.schema, table.name, Jsonb(as_json(table))],
        )
        database.use_table(None)
    return plan


def plan_undoing(database: Database, relation: str) -> tuple[Table, tuple[Step, ...]]:
    """The adopted table, and what it takes to leave it as it was before.

    Raises:
        ConfigurationError: it is not adopted.
    """
    with database.session() as connection:
        table = _adopted(connection, relation)
    database.use_table(table)
    steps = [Step(f"DROP TRIGGER … ON {table}", "ACCESS EXCLUSIVE", "everything")]
    for column in list_spaces(database):
        if not table.has_found(column.name):
            drop = f"ALTER TABLE {table} DROP COLUMN {quoted([column.name])}, with its indexes"
            steps.append(Step(drop, "ACCESS EXCLUSIVE", "everything"))
            continue
        steps += [_dropping(table, name) for name in _own_indexes(table, column)]
    steps += [_dropping(table, name) for name in database.run(lambda connection: word_indexes(connection, table))]
    return table, (*steps, Step(f"DROP TABLE {table.records}.… and DROP SCHEMA {table.records}, if that is then empty"))


def _dropping(table: Table, name: str) -> Step:
    """The step that drops an index."""
    if table.is_partitioned:
        return Step(f"DROP INDEX {quoted([name])}", "ACCESS EXCLUSIVE", "everything")
    return Step(f"DROP INDEX CONCURRENTLY {quoted([name])}", "SHARE UPDATE EXCLUSIVE")


def undo_adoption(database: Database, relation: str) -> Table:
    """Leave a table as it was before it was adopted; a column of vectors that was found there stays, as it is now.

    Raises:
        ConfigurationError: it is not adopted, or a run is embedding it.
        DatabaseError: something else, such as a view, depends on a column of vectors.
    """
    with database.session() as connection, hold(connection, "adopt"):
        table = _adopted(connection, relation)
        database.use_table(table)
        with hold(connection, TABLE_LOCK), _no_run(database):
            if table.oid:
                _clear_table(database, connection, table)
            elif names := watched_tables(connection, table):
                known = " and ".join(f"{quoted([schema])}.{quoted([name])}" for schema, name in names)
                raise ConfigurationError(
                    f"{table} is called {known} by now, or was swapped for nothing; give it its name back, or drop it"
                )
            _drop_records(connection, table)
    database.use_table(None)
    return table


def _clear_table(database: Database, connection: Connection, table: Table) -> None:
    """Columns first, which may have to stay for a view's sake; their indexes go with them."""
    spaces = list_spaces(database)

    def work() -> None:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '2s'")
            drop_trigger(connection, table)
            for column in spaces:
                if not table.has_found(column.name):
                    connection.execute(
                        sql.SQL("ALTER TABLE {} DROP COLUMN IF EXISTS {}").format(
                            table.relation, sql.Identifier(column.name)
                        ),
                        [],
                    )

    database.retry(work)
    for column in spaces:
        if table.has_found(column.name):
            for index in _own_indexes(table, column):
                drop_index(connection, table, index)
    drop_search_indexes(connection, table)


def _own_indexes(table: Table, column: SpaceColumn) -> list[str]:
    """Indexes of a column that was found; one of vectors that was there with it stays."""
    made = [column.pending_index, f"{column.index}_new", f"{column.index}_old"]
    return made if column.index in table.found_indexes else [column.index, *made]


def _drop_records(connection: Connection, table: Table) -> None:
    """What is ours alone: somebody may have put other things into that schema."""
    with connection.transaction():
        for name in RECORDS:
            connection.execute(
                sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(table.records, name)), []
            )
        connection.execute(
            sql.SQL("DROP FUNCTION IF EXISTS {}").format(sql.Identifier(table.records, "embedding_usage_spent")), []
        )
        left = connection.execute(
            "SELECT 1 FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(%s)",
            [sql.Identifier(table.records).as_string()],
        ).fetchone()
        if left is None:
            connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(table.records)))


def _plan(connection: Connection, config: TableConfig) -> Adoption:
    if config.relation is None:
        raise ConfigurationError("say which table: embedding-assets adopt TABLE, or EMBEDDING_TABLE")
    relation = look_at(connection, config.relation)
    known = next(
        (table for table in list_adopted(connection) if (table.schema, table.name) == (relation.schema, relation.name)),
        None,
    )
    table = plan_table(connection, relation, _completed(config, known))
    if known is not None:
        # The column that is there by now may be ours.
        table = replace(table, found_column=known.found_column, found_indexes=known.found_indexes)
        _check_unchanged(known, table)
    seconds = 2 * relation.table_bytes / _READ_BYTES_PER_SECOND
    statements = [function_statement(table, [table.vectors]), *trigger_statements(connection, table)]
    create, watch, always = (_shown(statement, connection) for statement in statements)
    condition = f" AND ({table.where})" if table.where else ""
    # Of a partitioned table each part is built so, and its own index, which is empty, locks out writers for a moment.
    concurrently = "CONCURRENTLY, partition by partition," if table.is_partitioned else "CONCURRENTLY"
    return Adoption(
        table,
        relation.rows,
        (
            Step(f"CREATE SCHEMA {table.records}, with the tables for what is kept about {table}"),
            Step(create),
            Step(watch, "SHARE ROW EXCLUSIVE", "writers"),
            Step(always, "SHARE ROW EXCLUSIVE", "writers"),
        ),
        (
            *_new_column(table),
            Step(
                f"CREATE INDEX {concurrently} … ON {table} ({_shown(table.order(''), connection)}) "
                f"WHERE {quoted([table.vectors])} IS NULL{condition}",
                "SHARE UPDATE EXCLUSIVE",
                seconds=seconds,
            ),
            Step(
                f"VACUUM {table}; CREATE INDEX {concurrently} … USING hnsw ({quoted([table.vectors])} …)",
                "SHARE UPDATE EXCLUSIVE",
            ),
            Step(
                f"CREATE INDEX {concurrently} … ON {table} USING gin (to_tsvector(…, {quoted(sorted(table.names))}))",
                "SHARE UPDATE EXCLUSIVE",
            ),
        ),
        tuple(
            name
            for name, kind in relation.columns.items()
            if kind.rpartition(".")[2] in ("vector", "halfvec") and name != table.vectors and not _is_ours(known, name)
        ),
        known is not None,
    )


def _is_ours(known: Table | None, name: str) -> bool:
    return known is not None and name.startswith("embedding")


def _new_column(table: Table) -> list[Step]:
    if table.found_column:
        return []
    return [
        Step(f"ALTER TABLE {table} ADD COLUMN {quoted([table.vectors])} vector(…)", "ACCESS EXCLUSIVE", "everything")
    ]


def _completed(config: TableConfig, known: Table | None) -> TableConfig:
    """What is not said is as it was adopted before."""
    if known is None:
        return config
    return config.model_copy(
        update={
            "records": config.records or known.records,
            "key": config.key or tuple(column.name for column in known.key),
            "text": config.text or known.template,
            "metadata": config.metadata or tuple(column.name for column in known.metadata),
            "where": config.where or known.where,
            "column": config.column or known.vectors,
        }
    )


def _check_unchanged(known: Table, table: Table) -> None:
    """Refuse what would make vectors and indexes that are there those of another text."""
    changed = [
        what
        for what, before, now in (
            ("key", known.key, table.key),
            ("text", known.template, table.template),
            ("condition", known.where, table.where),
            ("vector column", known.vectors, table.vectors),
            ("schema for records", known.records, table.records),
        )
        if before != now
    ]
    if changed:
        raise ConfigurationError(
            f"{known} was adopted with another {' and '.join(changed)}; first run "
            f"`embedding-assets adopt --undo {known}`"
        )


def _create_schema(connection: Connection, table: Table, address: str) -> None:
    row = connection.execute(
        "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))", [table.records, ADOPTED_TABLE]
    ).fetchone()
    if row != (None,):
        other = connection.execute(
            sql.SQL("SELECT schema_name, table_name FROM {}").format(sql.Identifier(table.records, ADOPTED_TABLE))
        ).fetchone()
        if other is not None and tuple(other) != (table.schema, table.name):
            raise ConfigurationError(
                f"schema {table.records} has the records of {other[0]}.{other[1]}; set EMBEDDING_SCHEMA to another"
            )
    elif connection.execute(
        "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))", [table.records, VERSION_TABLE]
    ).fetchone() != (None,):
        # An adoption that was interrupted has both: one transaction makes them.
        raise ConfigurationError(
            f"schema {table.records} has the records of knowledge_base; set EMBEDDING_SCHEMA to another"
        )
    try:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(table.records)))
    except pg.InsufficientPrivilege:
        found = connection.execute("SELECT to_regnamespace(quote_ident(%s))", [table.records]).fetchone()
        if found != (None,):
            return
        user = connection.info.user
        raise DatabasePermissionError(
            f"{address}: this role may not create the schema for its records; have an administrator run: "
            f"CREATE SCHEMA {table.records} AUTHORIZATION {user}"
        ) from None


def _adopted(connection: Connection, relation: str) -> Table:
    tables = list_adopted(connection)
    # One that is gone is called as it was.
    found = [table for table in tables if str(table) == relation or f"{table.schema}.{table.name}" == relation]
    if not found:
        schema, name, _ = locate(connection, relation)
        found = [table for table in tables if (table.schema, table.name) == (schema, name)]
    if not found:
        raise ConfigurationError(f"{relation} is not adopted")
    return found[0]


@contextmanager
def _no_run(database: Database) -> Iterator[None]:
    """Keep runs out of all spaces."""
    with ExitStack() as stack:
        for column in list_spaces(database):
            locks = stack.enter_context(closing(PrefixLocks(database, column.space.name)))
            if len(locks.acquire(_BUCKETS)) < len(_BUCKETS):
                raise ConfigurationError(
                    f"a run is embedding {database.table}; wait for its end, or stop it, and try again"
                )
        yield


def _shown(statement: sql.Composable, connection: Connection) -> str:
    return " ".join(statement.as_string(connection).replace("%%", "%").split())


def candidates(connection: Connection) -> Sequence[str]:
    """Tables with a text that could be adopted, as they are called in SQL; without those that this package has made."""
    rows = connection.execute("""
        SELECT format('%I.%I', n.nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'p') AND NOT relispartition AND relpersistence <> 't'
          AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg\\_%'
          AND pg_has_role(relowner, 'USAGE') AND NOT (
              relname ~ '^(embedding_.*|loaded_(documents|collections)|synced_(sources|changes)|knowledge_base)$'
              AND EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = 'embedding_runs')
          )
          AND EXISTS (
              SELECT FROM pg_attribute WHERE attrelid = c.oid AND atttypid IN ('text'::regtype, 'varchar'::regtype)
          )
        ORDER BY 1
    """).fetchall()
    return [name for (name,) in rows]
