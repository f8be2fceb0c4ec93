"""A source: a table or a query whose rows are documents; what they are called and their fingerprints, as SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Self

from psycopg import errors as pg
from psycopg import sql

from embedding_assets.errors import ConfigurationError, DatabasePermissionError
from embedding_assets.postgres.lookup import OWN_TABLE, locate
from embedding_assets.postgres.table import Column, Table, quoted, template_columns, template_of

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection

MOST_TEXT_BYTES: Final = 4_000_000
"""A longer text is never read: in UTF-8 it has more characters than a document may have."""

RESERVED_FIELDS: Final = ("origin", "title")
"""Metadata that every document has."""

_KINDS: Final = ("r", "p", "v", "m", "f")
_QUERY_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_PAIRS: Final = 40  # a function takes at most 100 arguments

# Text of dates, times, numbers and bytes depends on these.
_SETTINGS: Final = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
}


@dataclass(frozen=True, slots=True)
class SourceDefinition:
    """What a source is, as it is kept.

    Attributes:
        name: what its documents' origins begin with: of a table its name with its schema, quoted as in SQL.
        schema: where the table is; None for a query.
        table: its name; None for a query.
        query: a SELECT whose rows are the documents; None for a table.
        key: columns that identify a row.
        text: template of the text, each of its columns in braces.
        title: column with the title.
        metadata: columns kept as metadata.
        where: condition of the rows that are documents.
        markdown: whether texts are split at their headings.
    """

    name: str
    schema: str | None = None
    table: str | None = None
    query: str | None = None
    key: tuple[str, ...] = ("key",)
    text: str = "{text}"
    title: str | None = None
    metadata: tuple[str, ...] = ()
    where: str | None = None
    markdown: bool = False

    def as_json(self) -> dict[str, Any]:
        """What is kept of it."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Self:
        """The definition that was kept."""
        known = {one.name for one in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()
        }
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True, slots=True)
class Source:
    """A source as the database has it now; its methods give SQL for rows of alias ``k``.

    For statements with parameters, as everything of ``Table``; in a session that ``fix_text_forms`` was called for.

    Attributes:
        definition: what it is.
        oid: PostgreSQL's number for the table; 0 for a query.
        kind: ``r`` and so on, as in ``pg_class.relkind``; empty for a query.
        has_unique_key: whether a constraint keeps the key unique and NOT NULL.
    """

    definition: SourceDefinition
    oid: int
    kind: str
    has_unique_key: bool
    _table: Table = field(repr=False)

    @property
    def name(self) -> str:
        """What its documents' origins begin with."""
        return self.definition.name

    @property
    def rows(self) -> sql.Composable:
        """What to select from, to be followed by an alias."""
        query = self.definition.query
        return self._table.rows if query is None else _trusted(f"(\n{query}\n)")

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The key, with its types."""
        return self._table.key

    def key_equals(self, texts: sql.Composable) -> sql.Composed:
        """True of the row whose key, as an array of texts, is ``texts``; found through the key's index."""
        return self._table.key_equals(texts)

    def origin(self, alias: str = "k") -> sql.Composed:
        """What the row's document is called; NULL if the row has no key."""
        parts = [_escaped(sql.SQL("{}::text").format(self._table.column(column, alias))) for column in self.key_columns]
        return _origin(self.name, sql.SQL(" || ',' || ").join(parts))

    def origin_of(self, texts: sql.Composable) -> sql.Composed:
        """What the document is called whose row has the key ``texts``, an array."""
        parts = [
            _escaped(sql.SQL("({})[{}]").format(texts, sql.Literal(number + 1)))
            for number in range(len(self.key_columns))
        ]
        return _origin(self.name, sql.SQL(" || ',' || ").join(parts))

    def title(self, alias: str = "k") -> sql.Composable:
        """The title; never NULL."""
        if self.definition.title is None:
            return sql.SQL("''")
        column = self._table.column(Column(self.definition.title, "text"), alias)
        return sql.SQL("coalesce({}::text, '')").format(column)

    def text(self, alias: str = "k") -> sql.Composable:
        """The text; never NULL."""
        return self._table.text(alias)

    def metadata(self, alias: str = "k") -> sql.Composable:
        """The metadata columns as one JSON object."""
        columns = self._table.metadata
        groups = [columns[start : start + _PAIRS] for start in range(0, len(columns), _PAIRS)]
        objects = [
            sql.SQL("jsonb_build_object({})").format(
                sql.SQL(", ").join(
                    sql.SQL("{}::text, {}").format(
                        sql.Literal(column.name.replace("%", "%%")), self._table.column(column, alias)
                    )
                    for column in group
                )
            )
            for group in groups
        ]
        return sql.SQL(" || ").join(objects) if objects else sql.SQL("'{}'::jsonb")

    def documents(self) -> sql.Composed:
        """SELECT list that makes of rows ``k`` what ``fingerprint`` is computed from."""
        return sql.SQL("{} AS origin, {} AS title, {} AS text, {} AS metadata").format(
            self.origin(), self.title(), self.text(), self.metadata()
        )


def fingerprint() -> sql.Composed:
    """Digest of what a document is made of: of columns ``title``, ``text`` and ``metadata``, as ``documents`` has them.

    A text that is too long to be a document counts by its own digest: JSON has an end too.
    """
    return sql.SQL(
        "md5(jsonb_build_array(title, CASE WHEN octet_length(text) > {} THEN md5(text) ELSE text END, metadata)::text)"
    ).format(sql.Literal(MOST_TEXT_BYTES))


def document_digest(manner: str) -> sql.Composed:
    """What ``loaded_documents.digest`` is for a row.

    Args:
        manner: digest of how its text becomes chunks, ``Splitter.manner``.
    """
    return sql.SQL("{} || ':' || {}").format(fingerprint(), sql.Literal(manner))


def fix_text_forms(connection: Connection) -> None:
    """Let keys and metadata have the same text whatever the role's settings, for as long as the session lasts.

    Row-level security, which would hide rows and so make documents vanish, becomes an error.
    """
    for name, value in {**_SETTINGS, "row_security": "off"}.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])


def text_form_clauses() -> sql.Composed:
    """The same settings as clauses of CREATE FUNCTION."""
    clauses = [
        sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in _SETTINGS.items()
    ]
    return sql.SQL(" ").join(clauses)


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
    chosen = tuple(key) or next(iter(_unique_keys(connection, oid)), ())
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
    query = query.strip().rstrip(";").rstrip()
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
    keys = _unique_keys(connection, oid)
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
    statement = sql.SQL("SELECT * FROM {} k LIMIT 0").format(_trusted(f"(\n{query}\n)"))
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


def _unique_keys(connection: Connection, oid: int) -> list[tuple[str, ...]]:
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


def _escaped(text: sql.Composable) -> sql.Composed:
    return sql.SQL(r"replace(replace({}, '\', '\\'), ',', '\,')").format(text)


def _origin(name: str, key: sql.Composable) -> sql.Composed:
    # The key's own collation could not be compared with that of what was loaded.
    return sql.SQL('(({}::text || {}) COLLATE "default")').format(sql.Literal(f"{name}/".replace("%", "%%")), key)


def _trusted(fragment: str) -> sql.SQL:
    """SQL of the person who configures the source."""
    return sql.SQL(fragment.replace("%", "%%"))
