"""The table that the settings mean, found in the database."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.errors import ConfigurationError, DatabasePermissionError, TableNotAdoptedError
from embedding_assets.identifiers import parts_of
from embedding_assets.postgres.table import Column, Table, castable, quoted

if TYPE_CHECKING:
    import psycopg

    from embedding_assets.config import TableConfig

logger = logging.getLogger(__name__)

OWN_TABLE: Final = "knowledge_base"
VERSION_TABLE: Final = "embedding_schema_version"
TRIGGER: Final = "zzz_embedding_assets_text_changed"
"""On each table that is watched. PostgreSQL calls triggers in the order of their names: this one after those that
derive the text."""

_NO_SCHEMA: Final = "this role's search_path names no schema that is there; create one, or set search_path"

ADOPTED_TABLE: Final = "embedding_adopted_table"
"""In the schema of a table's records: which table it is, and what of its rows is embedded."""


def find_table(connection: psycopg.Connection[Any], config: TableConfig) -> Table:
    """The table that is configured, else ``knowledge_base``, else the only one that was adopted.

    Raises:
        TableNotAdoptedError: the table is there, and not adopted.
        ConfigurationError: there is no such table, or it is not clear which one is meant.
    """
    adopted = list_adopted(connection)
    if config.relation is not None:
        if parts_of(config.relation)[-1:] == [OWN_TABLE] and not _is_there(connection, config.relation):
            return _own_table_to_be(connection, config.relation)
        schema, name, _ = locate(connection, config.relation)
        found = next((table for table in adopted if (table.schema, table.name) == (schema, name)), None)
        if found is not None:
            _check_agrees(found, config)
            return found
        own = _own_table(connection, adopted)
        if own is not None and own.oid and (own.schema, own.name) == (schema, name):
            return own
        _check_records_are_readable(connection, schema, name)
        raise TableNotAdoptedError(
            f"{config.relation} is not adopted yet; `embedding-assets adopt {config.relation}` shows what that takes"
        )
    own = _own_table(connection, adopted)
    if own is not None and (not adopted or (own.oid and not (len(adopted) == 1 and _is_empty(connection, own)))):
        return own
    if len(adopted) == 1:
        _check_agrees(adopted[0], config)
        return adopted[0]
    names = ", ".join(str(table) for table in adopted)
    raise ConfigurationError(f"several tables are adopted; set EMBEDDING_TABLE to one of {names}")


def _is_there(connection: psycopg.Connection[Any], relation: str) -> bool:
    try:
        return connection.execute("SELECT to_regclass(%s)", [relation]).fetchone() != (None,)
    except connection.DataError:
        return False


def _own_table_to_be(connection: psycopg.Connection[Any], relation: str) -> Table:
    """``knowledge_base`` before it is made, in the schema that is named or in the first one that is searched."""
    row: Any = connection.execute("SELECT current_schema()").fetchone()
    schema = next(iter(parts_of(relation)[:-1]), row[0])
    if schema is None:
        raise ConfigurationError(_NO_SCHEMA)
    return Table(schema, OWN_TABLE, 0, schema, is_own=True)


def _is_empty(connection: psycopg.Connection[Any], table: Table) -> bool:
    return connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(table.relation), []).fetchone() is None


def _check_records_are_readable(connection: psycopg.Connection[Any], schema: str, name: str) -> None:
    """Say which right is missing where a table is adopted, and its records cannot be read."""
    row = connection.execute(
        """
        SELECT quote_ident(n.nspname), quote_ident(current_user) FROM pg_trigger
        JOIN pg_proc p ON p.oid = tgfoid JOIN pg_namespace n ON n.oid = pronamespace
        WHERE tgrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND tgname = %s
          AND NOT has_schema_privilege(n.oid, 'USAGE')
        """,
        [schema, name, TRIGGER],
    ).fetchone()
    if row is not None:
        raise DatabasePermissionError(
            f"{schema}.{name} is adopted, and this role may not read what is kept about it; run GRANT USAGE ON SCHEMA "
            f"{row[0]} TO {row[1]}; GRANT SELECT ON ALL TABLES IN SCHEMA {row[0]} TO {row[1]}"
        )


def locate(connection: psycopg.Connection[Any], relation: str) -> tuple[str, str, int]:
    """Schema, name and oid of a table that is called as in SQL.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        row = connection.execute(
            """
            SELECT n.nspname, c.relname, c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
            WHERE c.oid = to_regclass(%s)
            """,
            [relation],
        ).fetchone()
    except connection.DataError:
        row = None
    if row is None:
        alike = connection.execute(
            """
            SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables
            WHERE lower(tablename) = lower(reverse(split_part(reverse(replace(%s, '"', '')), '.', 1)))
              AND schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 3
            """,
            [relation],
        ).fetchall()
        # As a shell takes it: it would remove double quotes.
        hint = f"; there is {' and '.join(shlex.quote(name) for (name,) in alike)}" if alike else ""
        raise ConfigurationError(f"there is no table {relation} in this database, or its schema may not be used{hint}")
    return row[0], row[1], row[2]


def unique_keys(connection: psycopg.Connection[Any], oid: int) -> list[tuple[str, ...]]:
    """Columns of each constraint that keeps them unique and NOT NULL, the primary key's first."""
    rows = connection.execute(
        """
        SELECT array_agg(attname::text ORDER BY place) FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
        LEFT JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = k.number
        WHERE indrelid = %s::oid AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL
          AND place <= indnkeyatts
        GROUP BY indexrelid, indisprimary HAVING bool_and(coalesce(attnotnull, false))
        ORDER BY indisprimary DESC, indexrelid
        """,
        [oid],
    ).fetchall()
    return [tuple(names) for (names,) in rows]


def list_adopted(connection: psycopg.Connection[Any]) -> list[Table]:
    """Tables that were adopted in this database, as far as this role may know."""
    schemas = connection.execute(
        """
        SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relname = %s AND relkind = 'r' AND has_schema_privilege(n.oid, 'USAGE')
          AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1
        """,
        [ADOPTED_TABLE],
    ).fetchall()
    tables = []
    for (records,) in schemas:
        # By somebody who owns the table, or could: its conditions are executed by the role that works with it.
        query = sql.SQL("""
            SELECT schema_name, table_name, definition FROM {} CROSS JOIN pg_class r
            LEFT JOIN pg_class t ON t.oid = to_regclass(format('%%I.%%I', schema_name, table_name))
            WHERE r.oid = %s::regclass AND CASE
                WHEN t.oid IS NULL THEN pg_has_role(r.relowner, 'USAGE')
                ELSE pg_has_role(r.relowner, t.relowner, 'USAGE')
            END
        """).format(sql.Identifier(records, ADOPTED_TABLE))
        parameters = [sql.Identifier(records, ADOPTED_TABLE).as_string()]
        for schema, name, definition in connection.execute(query, parameters).fetchall():
            try:
                tables.append(describe_table(connection, schema, name, records, definition))
            except KeyError as error:
                logger.warning("the record of %s.%s in schema %s lacks %s and is ignored", schema, name, records, error)
    return tables


def describe_table(
    connection: psycopg.Connection[Any], schema: str, name: str, records: str, definition: dict[str, Any]
) -> Table:
    """An adopted table by its definition, and its columns' types as they are now; ``oid`` 0 if it is gone."""
    rows = connection.execute(
        """
        SELECT c.oid::bigint, c.relkind::text, attname, format_type(atttypid, NULL)
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute ON attrelid = c.oid
        WHERE nspname = %s AND relname = %s AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
        """,
        [schema, name],
    ).fetchall()
    types = {column: castable(kind) for _, _, column, kind in rows}

    def columns(names: list[str]) -> tuple[Column, ...]:
        return tuple(Column(column, types.get(column, "text")) for column in names)

    return Table(
        schema,
        name,
        rows[0][0] if rows else 0,
        records,
        is_own=False,
        key=columns(definition["key"]),
        template=definition["text"],
        metadata=columns(definition["metadata"]),
        where=definition["where"],
        vectors=definition["column"],
        found_column=definition["found_column"],
        found_indexes=tuple(definition["found_indexes"]),
        is_partitioned=bool(rows) and rows[0][1] == "p",
    )


def _own_table(connection: psycopg.Connection[Any], adopted: list[Table]) -> Table | None:
    """``knowledge_base`` as this package made it, or where it will be; None if that is another's by now.

    Raises:
        TableNotAdoptedError: there is one that this package did not make.
        ConfigurationError: it is in a schema that is not searched.
    """
    row: Any = connection.execute(
        """
        SELECT n.nspname, c.oid::bigint, current_schema(),
               EXISTS (SELECT FROM pg_class v WHERE v.relname = %(version)s AND v.relnamespace = n.oid),
               (SELECT string_agg(quote_ident(o.nspname), ', ') FROM pg_class v JOIN pg_namespace o
                   ON o.oid = v.relnamespace
                WHERE v.relname = %(version)s
                  AND EXISTS (SELECT FROM pg_class WHERE relname = %(own)s AND relnamespace = o.oid))
        FROM (SELECT to_regclass(%(own)s)::oid AS oid) AS own
        LEFT JOIN pg_class c ON c.oid = own.oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
        """,
        {"own": OWN_TABLE, "version": VERSION_TABLE},
    ).fetchone()
    schema, oid, current, is_made, elsewhere = row
    if oid is None:
        if elsewhere and not adopted:
            raise ConfigurationError(
                f"this role's search_path lacks schema {elsewhere}, where knowledge_base is, and a second, empty table "
                f"would be made. Run ALTER ROLE … SET search_path = {elsewhere}, …"
            )
        if current is None and not adopted:
            raise ConfigurationError(_NO_SCHEMA)
        return None if current is None else Table(current, OWN_TABLE, 0, current, is_own=True)
    if is_made:
        return Table(schema, OWN_TABLE, oid, schema, is_own=True)
    if adopted:
        return None
    raise TableNotAdoptedError(
        f"there is a table {quoted([schema])}.knowledge_base that was not made by embedding-assets; to embed it as it "
        "is, run `embedding-assets adopt knowledge_base`"
    )


def _check_agrees(table: Table, config: TableConfig) -> None:
    """Refuse settings that say something else than what the table was adopted with."""
    from embedding_assets.postgres.table import template_of

    stated = {
        "EMBEDDING_TABLE_KEY": (config.key, tuple(column.name for column in table.key)),
        "EMBEDDING_TABLE_TEXT": (config.text and template_of(config.text, ()), table.template),
        "EMBEDDING_TABLE_METADATA": (config.metadata, tuple(column.name for column in table.metadata)),
        "EMBEDDING_TABLE_WHERE": (config.where, table.where),
        "EMBEDDING_TABLE_COLUMN": (config.column, table.vectors),
    }
    differing = [name for name, (mine, theirs) in stated.items() if mine and mine != theirs]
    if differing:
        raise ConfigurationError(
            f"{', '.join(differing)}: {table} was adopted with another value; unset it, or run `embedding-assets adopt "
            f"{table}` to change that"
        )
