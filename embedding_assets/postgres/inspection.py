"""A look at a table before it is adopted: what it has, and what stands against it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from psycopg import Error, sql
from psycopg import errors as pg

from embedding_assets.errors import ConfigurationError, DatabasePermissionError
from embedding_assets.identifiers import unquoted
from embedding_assets.postgres.lookup import OWN_TABLE, TRIGGER, VERSION_TABLE, locate, unique_keys
from embedding_assets.postgres.table import (
    Column,
    Table,
    castable,
    quoted,
    records_schema,
    template_columns,
    template_of,
)

if TYPE_CHECKING:
    from embedding_assets.config import TableConfig
    from embedding_assets.postgres.connection import Connection

_KINDS: Final = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a type",
}
_TEXTS: Final = re.compile(r"(text|character varying|character|name|citext)$")
_UNFIT_KEYS: Final = {"real", "double precision"}
"""Their text depends on settings, and equal numbers may not be found again."""


_LONGEST_NAME: Final = 63

_MOST_SHOWN: Final = 50
"""Functions take at most 100 arguments: names and values."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as PostgreSQL's catalog has it.

    Attributes:
        columns: name → type, in the table's order.
        unique_keys: column names of each unique constraint that could identify a row, the primary key first.
        rows: as estimated by the last ANALYZE; -1: never analyzed.
        table_bytes: size of the rows and what lies out of line.
    """

    schema: str
    name: str
    oid: int
    kind: str
    columns: dict[str, str]
    unique_keys: tuple[tuple[str, ...], ...]
    rows: int
    table_bytes: int

    @property
    def texts(self) -> list[str]:
        """Columns that hold text, the key's left out."""
        key = self.unique_keys[0] if self.unique_keys else ()
        return [name for name, kind in self.columns.items() if _TEXTS.search(kind) and name not in key]


def look_at(connection: Connection, relation: str) -> Relation:
    """The table that is called so.

    Raises:
        ConfigurationError: there is none, or it is something else than a table.
    """
    schema, name, oid = locate(connection, relation)
    row: Any = connection.execute(
        """
        SELECT relkind::text, relpersistence = 't', relispartition, reltuples::bigint,
               EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid) AND relkind = 'r',
               (SELECT sum(pg_total_relation_size(p.oid)) FROM pg_class p
                WHERE p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))::bigint
        FROM pg_class c WHERE oid = %s::oid
        """,
        [oid],
    ).fetchone()
    kind, is_temporary, is_partition, rows, has_children, size = row
    if kind not in ("r", "p"):
        raise ConfigurationError(
            f"{relation} is {_KINDS.get(kind, 'no table')}, which cannot hold vectors; adopt the table that it reads"
        )
    for problem in (
        is_temporary and "it is temporary",
        is_partition and "it is a partition; adopt the table that it is a part of",
        has_children and "other tables inherit from it, whose rows no trigger of its own would see",
        schema in ("pg_catalog", "information_schema") and "it is PostgreSQL's own",
    ):
        if problem:
            raise ConfigurationError(f"{relation} cannot be adopted: {problem}")
    columns = connection.execute(
        """
        SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
        WHERE attrelid = %s::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum
        """,
        [oid],
    ).fetchall()
    return Relation(schema, name, oid, kind, dict(columns), tuple(unique_keys(connection, oid)), rows, size)


def plan_table(connection: Connection, relation: Relation, config: TableConfig) -> Table:
    """The table as it will be embedded; nothing is changed.

    Raises:
        ConfigurationError: something stands against it; the message says what, and what would do.
        DatabasePermissionError: a right is missing; the message has the GRANT.
    """
    _check_is_not_ours(connection, relation)
    key = _chosen_key(relation, config)
    template = _chosen_text(relation, config)
    _check_columns(relation, config.metadata, "EMBEDDING_TABLE_METADATA (--metadata)")
    if len({*key, *config.metadata}) > _MOST_SHOWN:
        raise ConfigurationError(f"EMBEDDING_TABLE_METADATA (--metadata): a search shows at most {_MOST_SHOWN} columns")
    table = Table(
        relation.schema,
        relation.name,
        relation.oid,
        config.records or records_schema(relation.schema, relation.name),
        is_own=False,
        key=tuple(Column(name, castable(relation.columns[name])) for name in key),
        template=template,
        metadata=tuple(Column(name, castable(relation.columns[name])) for name in config.metadata),
        where=config.where,
        vectors=config.column or _free_column(relation),
        is_partitioned=relation.kind == "p",
    )
    if table.vectors in relation.columns:
        table = replace(table, found_column=True, found_indexes=_vector_indexes(connection, relation, table.vectors))
    _check_vector_column(connection, relation, table.vectors)
    _check_rights(connection, relation)
    _check_neighbours(connection, relation)
    _check_expressions(connection, table)
    return table


def _check_is_not_ours(connection: Connection, relation: Relation) -> None:
    made = connection.execute(
        "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))", [relation.schema, VERSION_TABLE]
    ).fetchone()
    if relation.name == OWN_TABLE and made != (None,):
        raise ConfigurationError("knowledge_base was made by embedding-assets; there is nothing to adopt")


def _chosen_key(relation: Relation, config: TableConfig) -> tuple[str, ...]:
    where = "EMBEDDING_TABLE_KEY (--key)"
    _check_columns(relation, config.key, where)
    if not config.key:
        if not relation.unique_keys:
            raise ConfigurationError(
                f"{relation.name} has neither a primary key nor a unique constraint on columns that are NOT NULL, by "
                f"which a row could be found again; add one, e.g. ALTER TABLE {_name(relation)} ADD PRIMARY KEY (…)"
            )
        key = relation.unique_keys[0]
    else:
        matching = [unique for unique in relation.unique_keys if set(unique) == set(config.key)]
        if not matching:
            known = " or ".join(quoted(unique) for unique in relation.unique_keys) or "none"
            raise ConfigurationError(
                f"{where}: nothing keeps {quoted(config.key)} unique and NOT NULL at every moment; keys of "
                f"{relation.name} that are: {known}"
            )
        key = matching[0]
    unfit = [name for name in key if relation.columns[name] in _UNFIT_KEYS]
    if unfit:
        raise ConfigurationError(f"{where}: {quoted(unfit)} is a floating-point number, which cannot identify a row")
    return key


def _chosen_text(relation: Relation, config: TableConfig) -> str:
    where = "EMBEDDING_TABLE_TEXT (--text)"
    if config.text is None or not config.text.strip():
        texts = quoted(relation.texts) or "none"
        raise ConfigurationError(
            rf"{where}: say what is embedded, a column or a template such as {{title}}\n{{body}}; text columns of "
            f"{relation.name}: {texts}"
        )
    name = unquoted(config.text)
    template = template_of(name if name in relation.columns else config.text, list(relation.columns))
    if re.search(r"[{}]", re.sub(r"\{[^{}]+\}", "", template)):
        raise ConfigurationError(f"{where}: braces stand around the name of a column, and nowhere else")
    _check_columns(relation, template_columns(template), where)
    if config.text in relation.columns and not _TEXTS.search(relation.columns[config.text]):
        kind = relation.columns[config.text]
        raise ConfigurationError(
            f"{where}: {config.text} is {kind}, not text; if its words are what to embed, write {{{config.text}}} with "
            "something before or behind it"
        )
    unfit = [name for name in template_columns(template) if re.search(r"(vector|bytea|\[\])$", relation.columns[name])]
    if unfit:
        raise ConfigurationError(f"{where}: {quoted(unfit)} is {relation.columns[unfit[0]]}, which is no text")
    return template


def _check_columns(relation: Relation, names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in relation.columns]
    if missing:
        raise ConfigurationError(
            f"{where}: {relation.name} has no column {quoted(missing)}; its columns: {quoted(list(relation.columns))}"
        )


def _free_column(relation: Relation) -> str:
    """``embedding``, unless the table has a column of that name: that one is left alone if it is not asked for."""
    names = ("embedding", *(f"embedding_{number}" for number in range(2, 1000)))
    return next(name for name in names if name not in relation.columns)


def _check_vector_column(connection: Connection, relation: Relation, name: str) -> None:
    if "%" in name or len(name.encode()) > _LONGEST_NAME:
        raise ConfigurationError(
            f"EMBEDDING_TABLE_COLUMN (--column): {name} has a percent sign or more than {_LONGEST_NAME} bytes"
        )
    if name not in relation.columns:
        return
    kind = relation.columns[name]
    if not re.search(r"(^|\.)(vector|halfvec)$", kind):
        raise ConfigurationError(
            f"EMBEDDING_TABLE_COLUMN (--column): {name} is {kind}, not vector or halfvec; name a new one"
        )
    row: Any = connection.execute(
        "SELECT attnotnull, attgenerated::text FROM pg_attribute WHERE attrelid = %s::oid AND attname = %s",
        [relation.oid, name],
    ).fetchone()
    if row[0]:
        raise ConfigurationError(
            f"column {name} is NOT NULL, but a row whose text was edited has no vector for a while; run ALTER TABLE "
            f"{_name(relation)} ALTER COLUMN {name} DROP NOT NULL, or name another column"
        )
    if row[1]:
        raise ConfigurationError(f"column {name} is generated, so nothing can be written to it; name another column")


def _vector_indexes(connection: Connection, relation: Relation, column: str) -> tuple[str, ...]:
    rows = connection.execute(
        """
        SELECT DISTINCT c.relname FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_am m ON m.oid = c.relam
        JOIN pg_depend d ON classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = indrelid
        JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = refobjsubid
        WHERE indrelid = %s::oid AND attname = %s AND amname = 'hnsw' ORDER BY 1
        """,
        [relation.oid, column],
    ).fetchall()
    return tuple(name for (name,) in rows)


def _check_rights(connection: Connection, relation: Relation) -> None:
    row: Any = connection.execute(
        """
        SELECT pg_has_role(relowner, 'USAGE'), quote_ident(pg_get_userbyid(relowner)), row_security_active(oid),
               quote_ident(current_user)
        FROM pg_class WHERE oid = %s::oid
        """,
        [relation.oid],
    ).fetchone()
    owns, owner, is_filtered, role = row
    if not owns:
        raise DatabasePermissionError(
            f"only its owner may add a column, an index and a trigger to {_name(relation)}; run GRANT {owner} TO {role}"
        )
    if is_filtered:
        raise DatabasePermissionError(
            f"row-level security hides rows of {_name(relation)} from this role, which would never be embedded; use "
            f"the table's owner without FORCE ROW LEVEL SECURITY, or run ALTER ROLE {role} BYPASSRLS"
        )


def _check_neighbours(connection: Connection, relation: Relation) -> None:
    """Triggers that would come after ours, and replication that would refuse updates."""
    rows = connection.execute(
        """
        SELECT tgname FROM pg_trigger
        WHERE (tgrelid = %(oid)s::oid OR tgrelid IN (SELECT relid FROM pg_partition_tree(%(oid)s::oid)))
          AND NOT tgisinternal AND tgtype & 1 = 1 AND tgtype & 2 = 2 AND tgtype & 16 = 16
          AND tgname COLLATE "C" > %(trigger)s
        """,
        {"oid": relation.oid, "trigger": TRIGGER},
    ).fetchall()
    if rows:
        raise ConfigurationError(
            f"trigger {rows[0][0]} of {relation.name} comes behind {TRIGGER}, which would not see what it changes; run "
            f"ALTER TRIGGER {rows[0][0]} ON {_name(relation)} RENAME TO …"
        )
    row = connection.execute(
        """
        SELECT 1 FROM pg_class c WHERE c.oid = %(oid)s::oid AND (
            relreplident = 'n' OR relreplident = 'd'
            AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)
        ) AND EXISTS (
            SELECT FROM pg_publication_tables t JOIN pg_publication p ON p.pubname = t.pubname AND p.pubupdate
            WHERE (t.schemaname, t.tablename) = (%(schema)s, %(name)s)
        )
        """,
        {"oid": relation.oid, "schema": relation.schema, "name": relation.name},
    ).fetchone()
    if row is not None:
        raise ConfigurationError(
            f"{relation.name} is published without a replica identity, so PostgreSQL refuses every UPDATE of it; run "
            f"ALTER TABLE {_name(relation)} REPLICA IDENTITY USING INDEX …"
        )


def _check_expressions(connection: Connection, table: Table) -> None:
    """Let PostgreSQL judge condition, text and hash, on an empty copy of the table's columns."""
    copy = sql.Identifier("embedding_assets_trial")
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(
                sql.SQL("SELECT {}, {}, {} FROM {} k LIMIT 0").format(
                    table.text(), table.metadata_of(), table.key_texts(), table.rows
                ),
                [],
            )
            connection.execute(sql.SQL("CREATE TEMP TABLE {} (LIKE {})").format(copy, table.relation), [])
            connection.execute(
                sql.SQL("CREATE INDEX ON {} ({}) WHERE {}").format(copy, table.order(""), table.condition), []
            )
    except pg.InvalidObjectDefinition:
        what = "EMBEDDING_TABLE_WHERE (--where)" if table.where else "EMBEDDING_TABLE_KEY (--key)"
        raise ConfigurationError(
            f"{what} depends on the time, on settings or on other tables, so no index can find rows by it; use columns "
            "and operators alone, and for the key no enumeration"
        ) from None
    except pg.InsufficientPrivilege as error:
        raise DatabasePermissionError(
            f"{error.diag.message_primary}; run GRANT SELECT, UPDATE ON {table} TO {connection.info.user}"
        ) from None
    except (
        pg.SyntaxError,
        pg.UndefinedColumn,
        pg.UndefinedTable,
        pg.UndefinedFunction,
        pg.DatatypeMismatch,
        pg.DataError,
    ) as error:
        raise ConfigurationError(
            f"EMBEDDING_TABLE_WHERE (--where) is not a condition on {table}: {_first_line(error)}"
        ) from None


def _first_line(error: Error) -> str:
    return error.diag.message_primary or type(error).__name__


def _name(relation: Relation) -> str:
    return f"{quoted([relation.schema])}.{quoted([relation.name])}"
