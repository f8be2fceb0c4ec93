"""A source: a table or a query whose rows are documents; what they are called and their fingerprints, as SQL."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Self

from psycopg import sql

from embedding_assets.postgres.table import Column, Table

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection

MOST_TEXT_BYTES: Final = 4_000_000
"""A longer text is never read: in UTF-8 it has more characters than a document may have."""

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
        return self._table.rows if query is None else query_rows(query)

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


def query_rows(query: str) -> sql.SQL:
    """A query as something to select from."""
    return _trusted(f"(\n{query}\n)")


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


def _escaped(text: sql.Composable) -> sql.Composed:
    return sql.SQL(r"replace(replace({}, '\', '\\'), ',', '\,')").format(text)


def _origin(name: str, key: sql.Composable) -> sql.Composed:
    # The key's own collation could not be compared with that of what was loaded.
    return sql.SQL('(({}::text || {}) COLLATE "default")').format(sql.Literal(f"{name}/".replace("%", "%%")), key)


def _trusted(fragment: str) -> sql.SQL:
    """SQL of the person who configures the source."""
    return sql.SQL(fragment.replace("%", "%%"))
