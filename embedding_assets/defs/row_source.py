"""A table or a query whose rows are split into the chunks of ``knowledge_base``, as definitions say it."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from embedding_assets.defs.variables import read, variable_of
from embedding_assets.errors import ConfigurationError, DatabasePermissionError
from embedding_assets.postgres.source_lookup import bare_query, define_query, define_table
from embedding_assets.postgres.table import template_of

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection
    from embedding_assets.postgres.sources import SourceDefinition

_OF_TABLES: Final = ("key", "text", "title", "metadata", "where")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_]+")
_OPTION: Final = re.compile(r"--(?=[a-z])")


def check_sources(sources: Sequence[RowSource]) -> None:
    """Make sure that each is right, and that several have different names.

    Raises:
        ConfigurationError: what is said of one does not go together, or two would have assets of one name.
    """
    for source in sources:
        source.check()
    labels = [source.label for source in sources]
    if len(labels) < 2:
        return
    if None in labels:
        raise ConfigurationError(
            "rows: assets of several sources are called by the names of their queries and tables, so that these cannot "
            "come from a variable"
        )
    for source in sources:
        if not source.label:
            raise ConfigurationError(
                f"rows: {(source.name or source.table)!r} has no letter or digit (A to Z, 0 to 9) that an "
                "asset could be called by"
            )
        alike = [other for other in sources if other.label == source.label]
        if len(alike) > 1:
            raise ConfigurationError(f"rows: two sources are called {source.label}; {_how_to_rename(alike)}")


def _how_to_rename(sources: Sequence[RowSource]) -> str:
    if all(source.query is None for source in sources):
        return "make one of them a query with a name"
    return "give one of them another name"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """Rows of the same database: of a table or view, or those that a query finds.

    Each text and name may be an ``EnvVar``, which is read when a run needs it.

    Attributes:
        table: as in SQL, e.g. ``shop.articles``.
        query: instead of a table, one SELECT with the columns ``key`` and ``text``, maybe ``title``; any other is
            metadata.
        name: of a query, by which its documents are known: letters, digits, ``_`` and ``-``.
        key: column or columns that identify a row; by default the primary key.
        text: the column with the text, or a template such as ``{intro}\\n{body}``.
        title: column with the title, which stands above each chunk.
        metadata: columns that searches show and filter by.
        where: an SQL condition on the rows.
        markdown: whether texts are split at their headings.
        every: when rows are compared, as in cron (UTC), beside the run over everything and what is upstream.
    """

    table: str | None = None
    query: str | None = None
    name: str | None = None
    key: str | Sequence[str] | None = None
    text: str | None = None
    title: str | None = None
    metadata: str | Sequence[str] | None = None
    where: str | None = None
    markdown: bool = False
    every: str | None = None

    def check(self) -> None:
        """Make sure that what is said goes together.

        Raises:
            ConfigurationError: it does not, or something is missing.
        """
        if (self.table is None) == (self.query is None):
            raise ConfigurationError("say where the rows are from: either `table` or `query`")
        if self.query is None:
            if self.name is not None:
                raise ConfigurationError("name: it is for a `query` alone; a table is called by its own name")
            if self.text is None:
                raise ConfigurationError("text: say which column of the table the text is in, or a template of columns")
            return
        if self.name is None:
            raise ConfigurationError("name: a `query` needs one, by which its documents are known")
        if given := [name for name in _OF_TABLES if getattr(self, name) is not None]:
            raise ConfigurationError(
                f"{', '.join(given)}: a query says by the names of its columns what they are: key, text, title; any "
                "other is metadata"
            )

    @property
    def label(self) -> str | None:
        """The query's or table's name as part of an asset's; None where it comes from a variable."""
        given = self.table if self.query is None else self.name
        return None if given is None or variable_of(given) else _NOT_IN_NAMES.sub("_", given).strip("_")

    @property
    def contents(self) -> tuple[Hashable, ...]:
        """What its documents are made of, equal where only the writing differs; a variable stands for what it holds."""
        return (
            _form(self.query, bare_query),
            _form(self.text, lambda text: template_of(text, ())),
            _form(self.title),
            _form(self.where),
            _forms(self.key),
            _forms(self.metadata),
            self.markdown,
        )

    def define(self, connection: Connection) -> SourceDefinition:
        """What it is, checked against the database.

        Raises:
            ConfigurationError: something of it does not fit the table or the query, or comes from a variable that is
                not set.
            DatabasePermissionError: the role may not read it.
        """
        try:
            if self.query is not None:
                return define_query(
                    connection, self._text("name") or "", self._text("query") or "", markdown=self.markdown
                )
            return define_table(
                connection,
                self._text("table") or "",
                key=self._names("key"),
                text=self._text("text"),
                title=self._text("title"),
                metadata=self._names("metadata"),
                where=self._text("where"),
                markdown=self.markdown,
            )
        except (ConfigurationError, DatabasePermissionError) as error:
            # Here they are no options of a command.
            raise type(error)(_OPTION.sub("", str(error))) from None

    def _text(self, field: str) -> str | None:
        value = read(field, getattr(self, field))
        return None if value is None else str(value)

    def _names(self, field: str) -> tuple[str, ...]:
        return tuple(name for one in _listed(getattr(self, field)) for name in _split(str(read(field, one))))


def _listed(given: Any) -> Sequence[Any]:
    if given is None:
        return ()
    return given if not isinstance(given, str) else (given,)


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _form(value: object, form: Callable[[str], str] = str) -> Hashable:
    """A text in the form in which it is kept, or the variable that it comes from."""
    variable = variable_of(value)
    if variable is not None:
        return (variable,)
    return form(str(value)) if value else None


def _forms(given: Any) -> tuple[Hashable, ...]:
    return tuple(_form(name) for one in _listed(given) for name in ([one] if variable_of(one) else _split(str(one))))
