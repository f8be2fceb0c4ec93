"""The table whose rows are kept embedded: key, hash and text of a row as SQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from embedding_assets.models import HEADINGS

ROW: Final = "k"
"""Alias of the table in queries that have others beside it."""

_PLACE: Final = re.compile(r"\{([^{}]+)\}")

_FIXED_TEXT: Final = {
    "timestamp with time zone": "extract(epoch FROM {} AT TIME ZONE 'UTC')::text",
    "timestamp without time zone": "extract(epoch FROM {})::text",
    "date": "extract(epoch FROM {})::text",
    "bytea": "encode({}, 'hex')",
}
"""Text of a key's column where the type's own depends on the connection's settings."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table, and its type as PostgreSQL writes it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table, and what of a row is embedded; each method gives SQL for rows of alias ``k``, or of none.

    For statements with parameters, even if there are none to give: ``%`` in a name is doubled.

    The hash of a row spreads rows evenly over the prefixes of partitions, and does not depend on the connection's
    settings. ``knowledge_base`` brings one; in a table of the user's it is the md5 of the key as text.

    Attributes:
        schema: where it is.
        name: its name.
        oid: PostgreSQL's number for it; 0 before it was made.
        records: schema of what is kept about it.
        is_own: whether it is the table that ``load`` fills.
        key: columns that identify a row.
        template: lines of the text, each with its columns in braces; empty for ``knowledge_base``.
        metadata: columns that searches show.
        where: condition of the rows that are embedded.
        vectors: column for the vectors of the first space.
        found_column: whether that column was there before the table was adopted.
        found_indexes: HNSW indexes that were there with it.
        is_partitioned: whether its rows lie in partitions.
    """

    schema: str
    name: str
    oid: int
    records: str
    is_own: bool
    key: tuple[Column, ...] = (Column("chunk_hash", "text"),)
    template: str = ""
    metadata: tuple[Column, ...] = ()
    where: str | None = None
    vectors: str = "embedding"
    found_column: bool = False
    found_indexes: tuple[str, ...] = ()
    is_partitioned: bool = False

    def __str__(self) -> str:
        return self.name if self.is_own else f"{_as_identifier(self.schema)}.{_as_identifier(self.name)}"

    @property
    def emptiness(self) -> str:
        """That it has no row to embed, and what fills it where that is this package."""
        if self.is_own:
            return f"{self} is empty; load documents with `embedding-assets load PATH`"
        return f"{self} has no row to embed" if self.where else f"{self} is empty"

    @property
    def relation(self) -> sql.Identifier:
        """Its name with its schema."""
        return sql.Identifier(_escaped(self.schema), _escaped(self.name))

    @property
    def rows(self) -> sql.Composable:
        """What queries read from: those rows that are embedded."""
        if self.where is None:
            return self.relation
        return sql.SQL("(SELECT * FROM {} WHERE {})").format(self.relation, self.condition)

    @property
    def condition(self) -> sql.SQL:
        """True of rows that are embedded."""
        return _trusted("true" if self.where is None else f"({_escaped(self.where)})")

    @property
    def names(self) -> frozenset[str]:
        """Columns that the text is made of."""
        return frozenset(_PLACE.findall(self.template)) or frozenset({"context_header", "chunk_text"})

    def has_found(self, column: str) -> bool:
        """True for a column of vectors that was there before the table was adopted: it stays, whatever else goes."""
        return self.found_column and column == self.vectors

    def shown_column(self, name: str) -> Column | None:
        """The column of the key or the metadata that is called ``name``."""
        return next((column for column in (*self.key, *self.metadata) if column.name == name), None)

    def column(self, column: Column, alias: str = ROW) -> sql.Identifier:
        """A column of the row."""
        return _column(alias, column.name)

    def cast(self, value: sql.Composable, column: Column) -> sql.Composed:
        """A value as one of the column's type."""
        return sql.SQL("{}::text::{}").format(value, _trusted(column.type))

    def cast_all(self, texts: sql.Composable, column: Column) -> sql.Composed:
        """An array of texts as one of values of the column's type, or of its elements' where it holds lists."""
        return sql.SQL("{}::text[]::{}[]").format(texts, _trusted(castable(column.type.removesuffix("[]"))))

    def hash(self, alias: str = ROW) -> sql.Composable:
        """The hash of a row, as lowercase hex."""
        if self.is_own:
            return _column(alias, "chunk_hash")
        # Lengths first, so that no two keys have one text.
        parts = [_fixed_text(column, alias) for column in self.key]
        if len(parts) > 1:
            parts = [sql.SQL("octet_length({0})::text || ':' || {0}").format(part) for part in parts]
        return sql.SQL('md5({}) COLLATE "C"').format(sql.SQL(" || ").join(parts))

    def order(self, alias: str = ROW) -> sql.Composable:
        """The hash as bytes are ordered, which is how indexes have it."""
        return sql.SQL('{} COLLATE "C"').format(self.hash(alias)) if self.is_own else self.hash(alias)

    def key_order(self, alias: str = ROW) -> sql.Composed:
        """The order of the key's own index."""
        return sql.SQL(", ").join(_column(alias, column.name) for column in self.key)

    def reachable(self, alias: str = ROW) -> sql.Composable:
        """True if a partition has the row: partitions are made of lowercase hex."""
        return sql.SQL("{} ~ '^[0-9a-f]{{2,}}$'").format(self.hash(alias)) if self.is_own else sql.SQL("true")

    def key_texts(self, alias: str = ROW) -> sql.Composed:
        """The key as an array of texts, from which ``key_equals`` finds the row again."""
        parts = [sql.SQL("{}::text").format(_column(alias, column.name)) for column in self.key]
        return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(parts))

    def key_equals(self, texts: sql.Composable, alias: str = ROW) -> sql.Composed:
        """True of the row whose ``key_texts`` are ``texts``; found through the key's index."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} = ({})[{}]::{}").format(
                _column(alias, column.name), texts, sql.Literal(number), _trusted(column.type)
            )
            for number, column in enumerate(self.key, start=1)
        )

    def headings(self, alias: str = ROW) -> sql.Composable:
        """Headings above the text, embedded or not, if the table has them apart."""
        if not self.is_own:
            return sql.SQL("''")
        position = sql.Literal(["position", HEADINGS])
        return sql.SQL("coalesce({} #>> {}, {})").format(
            _column(alias, "document_metadata"), position, self.header(alias)
        )

    def header(self, alias: str = ROW) -> sql.Composable:
        """What is embedded in front of the text, if the table has it apart."""
        return sql.SQL("coalesce({}, '')").format(_column(alias, "context_header")) if self.is_own else sql.SQL("''")

    def body(self, alias: str = ROW) -> sql.Composable:
        """The text without ``header``."""
        return sql.SQL("coalesce({}, '')").format(_column(alias, "chunk_text")) if self.is_own else self.text(alias)

    def text(self, alias: str = ROW) -> sql.Composable:
        """The text that a model reads; never NULL."""
        if self.is_own:
            return sql.SQL("CASE WHEN {0} <> '' THEN {0} || E'\\n' || {1} ELSE {1} END").format(
                self.header(alias), self.body(alias)
            )
        lines = [_line(line, alias) for line in self.template.split("\n")]
        return sql.SQL("concat_ws(E'\\n', {})").format(sql.SQL(", ").join(lines))

    def text_bytes(self, alias: str = ROW) -> sql.Composed:
        """About how long the text is, without reading it: PostgreSQL knows the length of what lies out of line."""
        lengths = [
            sql.SQL("coalesce(octet_length({}::text), 0)").format(_column(alias, name)) for name in sorted(self.names)
        ]
        return sql.SQL("({})").format(sql.SQL(" + ").join(lengths))

    def fingerprint(self, alias: str = ROW) -> sql.Composed:
        """A digest of the text: a vector is stored only while it is that of the text which was embedded."""
        return sql.SQL('md5({}) COLLATE "C"').format(self.text(alias))

    def source(self, alias: str = ROW) -> sql.Composed:
        """What tells a person which row this is."""
        if self.is_own:
            return sql.SQL("coalesce({} ->> 'source', '')").format(_column(alias, "document_metadata"))
        return sql.SQL("array_to_string({}, ', ')").format(self.key_texts(alias))

    def metadata_of(self, alias: str = ROW) -> sql.Composed:
        """What searches show of a row, as JSON: in a table of the user's its key, then the metadata columns."""
        if self.is_own:
            return sql.SQL("coalesce({}, '{{}}')").format(_column(alias, "document_metadata"))
        shown = dict.fromkeys([*self.key, *self.metadata])
        pairs = [sql.SQL("{}, {}").format(sql.Literal(_escaped(c.name)), _column(alias, c.name)) for c in shown]
        return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))

    def tokens(self, alias: str = ROW) -> sql.Composed:
        """Tokens of the text: as counted when it was loaded, else a quarter of a token a byte."""
        guess = sql.SQL("{} / 4 + 1").format(self.text_bytes(alias))
        if not self.is_own:
            return guess
        return sql.SQL("CASE WHEN {0} > 0 THEN {0} ELSE {1} END").format(_column(alias, "token_count"), guess)


def castable(kind: str) -> str:
    """A type without a length, as which a value of any length is cast: ``character`` is one of a single character."""
    return {"character": "bpchar", "bit": "bit varying"}.get(kind, kind)


def records_schema(schema: str, name: str) -> str:
    """Name of the schema for the records of a table: one of its own for each table."""
    full = name if schema == "public" else f"{schema}_{name}"
    slug = re.sub(r"[^a-z0-9_]+", "_", full.lower())[:36]
    digest = "" if slug == full else f"_{hashlib.sha256(f'{schema}.{name}'.encode()).hexdigest()[:6]}"
    return f"embedding_assets_{slug}{digest}"


def quoted(texts: Sequence[str]) -> str:
    """Names as a person reads them in a message."""
    return ", ".join(_as_identifier(text) for text in texts)


def template_of(text: str, columns: Sequence[str]) -> str:
    """A text's template: ``text`` itself, or the column that it names."""
    if text in columns or not _PLACE.search(text):
        return f"{{{text}}}"
    return text.replace("\\n", "\n")


def template_columns(template: str) -> list[str]:
    """Columns that a template names, each once."""
    return list(dict.fromkeys(_PLACE.findall(template)))


def _column(alias: str, name: str) -> sql.Identifier:
    return sql.Identifier(alias, _escaped(name)) if alias else sql.Identifier(_escaped(name))


def _text_of(alias: str, name: str) -> sql.Composed:
    """A column as text, whatever its collation: those of two columns may contradict each other."""
    return sql.SQL('({}::text COLLATE "C")').format(_column(alias, name))


def _escaped(part: str) -> str:
    """As part of a statement with parameters: the driver looks for placeholders in all of it."""
    return part.replace("%", "%%")


def _trusted(fragment: str) -> sql.SQL:
    """SQL of the person who configures the table, or of PostgreSQL's catalog."""
    return sql.SQL(fragment)


def _fixed_text(column: Column, alias: str) -> sql.Composable:
    return _trusted(_FIXED_TEXT.get(column.type, "{}::text")).format(_column(alias, column.name))


def _line(line: str, alias: str) -> sql.Composable:
    """A line of the text; empty, or NULL beside other lines, where none of its columns has anything."""
    parts: list[sql.Composable] = []
    present: list[sql.Composable] = []
    rest = 0
    for place in _PLACE.finditer(line):
        column = _text_of(alias, place[1])
        parts += [sql.Literal(_escaped(line[rest : place.start()])), sql.SQL("coalesce({}, '')").format(column)]
        present.append(sql.SQL("nullif({}, '')").format(column))
        rest = place.end()
    if line == f"{{{line[1:-1]}}}" and len(present) == 1:
        return sql.SQL("nullif({}, '')").format(_text_of(alias, line[1:-1]))
    parts.append(sql.Literal(_escaped(line[rest:])))
    joined = sql.SQL(" || ").join(parts)
    if not present:
        return joined
    return sql.SQL("CASE WHEN num_nonnulls({}) > 0 THEN {} END").format(sql.SQL(", ").join(present), joined)


def _as_identifier(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def as_json(table: Table) -> dict[str, Any]:
    """What identifies the rows and their texts, to be kept beside the table's records."""
    return {
        "key": [column.name for column in table.key],
        "text": table.template,
        "metadata": [column.name for column in table.metadata],
        "where": table.where,
        "column": table.vectors,
        "found_column": table.found_column,
        "found_indexes": list(table.found_indexes),
    }
