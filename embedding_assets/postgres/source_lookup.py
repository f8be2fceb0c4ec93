"""Tables and queries as sources: what they are made of, checked against the database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from psycopg import errors as pg
from psycopg import sql

from embedding_assets.errors import ConfigurationError, DatabasePermissionError
from embedding_assets.postgres.lookup import OWN_TABLE, locate, unique_keys
from embedding_assets.postgres.sources import Source, SourceDefinition, fingerprint, query_rows
from embedding_assets.postgres.table import Column, Table, quoted, template_columns, template_of

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection

RESERVED_FIELDS: Final = ("origin", "title")
"""Metadata that every document has."""

_KINDS: Final = ("r", "p", "v", "m", "f")
_QUERY_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


def define_table(
    connection: Connection,
    relation: str,
    *,
    key: Sequence[str] = (),
    text: str | None = None,
    title: str | None = None,
    metadata: Sequence[str] = (),
    where: str | None = None,
    markdown: bool = False,
) -> SourceDefinition:
    """A table or a view as a source; nothing is changed.

    Args:
        connection: in autocommit mode.
        relation: as in SQL.
        key: columns that identify a row; by default the primary key's.
        text: a column, or a template such as ``{intro}\\n{body}``.
        title: column with the title.
        metadata: columns to keep as metadata.
        where: condition of the rows that are documents.
        markdown: whether texts are split at their headings.

    Raises:
        ConfigurationError: something of this does not fit the table.
        DatabasePermissionError: the role may not read it.
    """
    schema, name, oid = locate(connection, relation)
    columns = _columns(connection, oid)
    if text is None:
        raise ConfigurationError(
            f"--text: say which column of {relation} the text is in, or a template such as {{intro}}\\n{{body}}; its "
            f"columns: {quoted(list(columns))}"
        )
    chosen = tuple(key) or next(iter(unique_keys(connection, oid)), ())
    if not chosen:
        raise ConfigurationError(
            f"--key: {relation} has no primary key; say which of its columns identify a row: {quoted(list(columns))}"
        )
    definition = SourceDefinition(
        f"{quoted([schema])}.{quoted([name])}",
        schema=schema,
        table=name,
        key=chosen,
        text=template_of(text, list(columns)),
        title=title or None,
        metadata=tuple(metadata),
        where=where or None,
        markdown=markdown,
    )
    _check_table(connection, definition, columns, relation)
    _try(connection, open_source(connection, definition))
    return definition


def define_query(connection: Connection, name: str, query: str, *, markdown: bool = False) -> SourceDefinition:
    """A SELECT as a source: its columns are ``key`` and ``text``, maybe ``title``; all others are metadata.

    Args:
        connection: in autocommit mode.
        name: what to call it.
        query: one SELECT.
        markdown: whether texts are split at their headings.

    Raises:
        ConfigurationError: the name or the query will not do.
        DatabasePermissionError: the role may not read what the query reads.
    """
    if not _QUERY_NAME.fullmatch(name):
        raise ConfigurationError(f"--name: {name!r} is no name; use letters, digits, _ and -, as in help_pages")
    query = bare_query(query)
    columns = _query_columns(connection, query)
    missing = [one for one in ("key", "text") if one not in columns]
    if missing:
        raise ConfigurationError(f"--query: it has no column {quoted(missing)}; name them, with AS key and AS text")
    if len(set(columns)) < len(columns):
        raise ConfigurationError("--query: two of its columns have the same name; name them apart with AS")
    if "origin" in columns:
        raise ConfigurationError("--query: every document has an origin, its own; call that column something else")
    definition = SourceDefinition(
        name,
        query=query,
        title="title" if "title" in columns else None,
        metadata=tuple(column for column in columns if column not in ("key", "text", "title")),
        markdown=markdown,
    )
    _try(connection, open_source(connection, definition))
    return definition


def bare_query(query: str) -> str:
    """A query as it is kept: without what may surround it."""
    return query.strip().rstrip(";").rstrip()


def open_source(connection: Connection, definition: SourceDefinition) -> Source:
    """The source as the database has it now.

    Raises:
        ConfigurationError: the table is gone, or one of its columns.
    """
    metadata = tuple(Column(name, "text") for name in definition.metadata)
    if definition.query is not None:
        table = Table("", "", 0, "", False, key=(Column("key", "text"),), template="{text}", metadata=metadata)
        return Source(definition, 0, "", False, table)
    schema, name = definition.schema or "", definition.table or ""
    row: Any = connection.execute(
        """
        SELECT oid::bigint, relkind::text FROM pg_class
        WHERE oid = to_regclass(format('%%I.%%I', %s::text, %s::text))
        """,
        [schema, name],
    ).fetchone()
    if row is None:
        raise ConfigurationError(
            f"the source {definition.name} is not there any more; `embedding-assets sync --forget '{definition.name}'` "
            "takes its chunks away"
        )
    oid, kind = row
    columns = _columns(connection, oid)
    _check_table(connection, definition, columns, definition.name)
    table = Table(
        schema,
        name,
        oid,
        "",
        is_own=False,
        key=tuple(Column(name, columns[name]) for name in definition.key),
        template=definition.text,
        metadata=metadata,
        where=None if definition.where is None else f"{definition.where}\n",
    )
    keys = unique_keys(connection, oid)
    return Source(definition, oid, kind, any(set(key) <= set(definition.key) for key in keys), table)


def _check_table(connection: Connection, definition: SourceDefinition, columns: dict[str, str], relation: str) -> None:
    row: Any = connection.execute(
        "SELECT relkind::text, has_table_privilege(c.oid, 'SELECT'), relname = %s AND relnamespace = ANY("
        "SELECT relnamespace FROM pg_class WHERE relname = 'synced_sources'), quote_ident(current_user) "
        "FROM pg_class c WHERE oid = to_regclass(format('%%I.%%I', %s::text, %s::text))",
        [OWN_TABLE, definition.schema, definition.table],
    ).fetchone()
    kind, may_read, is_ours, role = row
    if kind not in _KINDS:
        raise ConfigurationError(f"{relation} is neither a table nor a view, so it has no rows to read")
    if is_ours:
        raise ConfigurationError(f"{relation} is the table that chunks go to; it cannot be their source too")
    said = {
        "--key": definition.key,
        "--text": tuple(template_columns(definition.text)),
        "--title": () if definition.title is None else (definition.title,),
        "--metadata": definition.metadata,
    }
    for option, names in said.items():
        missing = [name for name in names if name not in columns]
        if missing:
            raise ConfigurationError(
                f"{option}: {relation} has no column {quoted(missing)}; its columns: {quoted(list(columns))}"
            )
    reserved = [name for name in definition.metadata if name in RESERVED_FIELDS]
    if reserved:
        raise ConfigurationError(
            f"--metadata: every document has its own {quoted(reserved)}; --title names the column with the title"
        )
    used = {name for names in said.values() for name in names}
    if not may_read and not _may_read_columns(connection, definition, sorted(used)):
        raise DatabasePermissionError(
            f"this role may not read {relation}; have its owner run: GRANT SELECT ON {definition.name} TO {role}"
        )


def _may_read_columns(connection: Connection, definition: SourceDefinition, names: list[str]) -> bool:
    query = """
        SELECT bool_and(has_column_privilege(format('%%I.%%I', %s::text, %s::text)::regclass, name, 'SELECT'))
        FROM unnest(%s::text[]) AS name
    """
    return connection.execute(query, [definition.schema, definition.table, names]).fetchone() == (True,)


def _try(connection: Connection, source: Source) -> None:
    """Let PostgreSQL judge condition and query, in a transaction that can write nothing."""
    statement = sql.SQL("SELECT {} FROM (SELECT {} FROM {} k LIMIT 0) s").format(
        fingerprint(), source.documents(), source.rows
    )
    option = "--query" if source.definition.query is not None else "--where"
    _judge(connection, statement, option)


def _query_columns(connection: Connection, query: str) -> list[str]:
    statement = sql.SQL("SELECT * FROM {} k LIMIT 0").format(query_rows(query))
    return _judge(connection, statement, "--query")


def _judge(connection: Connection, statement: sql.Composed, option: str) -> list[str]:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ ONLY")
            # Prepared: that protocol takes one statement only.
            cursor = connection.execute(statement, [], prepare=True)
            return [column.name for column in cursor.description or ()]
    except pg.InsufficientPrivilege as error:
        raise DatabasePermissionError(f"{option}: {error.diag.message_primary}; GRANT SELECT on it") from None
    except (pg.ProgrammingError, pg.DataError, pg.FeatureNotSupported, pg.ReadOnlySqlTransaction) as error:
        kind = "a condition on its rows" if option == "--where" else "one SELECT that only reads"
        raise ConfigurationError(f"{option} is not {kind}: {error.diag.message_primary}") from None


def _columns(connection: Connection, oid: int) -> dict[str, str]:
    rows = connection.execute(
        """
        SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = %s::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum
        """,
        [oid],
    ).fetchall()
    return dict(rows)
