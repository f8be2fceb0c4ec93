"""A condition as SQL on the rows of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.conditions.column import column_clause
from embedding_assets.postgres.conditions.document import document_clause, file_clause, origin_clause
from embedding_assets.postgres.conditions.parameters import Parameters

if TYPE_CHECKING:
    from embedding_assets.postgres.conditions.condition import Condition
    from embedding_assets.postgres.table import Column, Table

METADATA: Final = "document_metadata"
SOURCE: Final = "source"
ORIGIN: Final = "origin"

_NEGATED: Final = ("!=", "not in", "is null", "is not null")
_EQUAL: Final = ("=", "in")


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition as SQL.

    Attributes:
        sql: true of rows ``k`` of which the condition holds.
        parameters: by name.
        indexable: the column, or ``source`` of a document, by an index of which PostgreSQL finds those rows if there is
            one; None: it must read the table.
        is_contained: whether that index must be one for containment, as of lists and JSON.
    """

    sql: sql.Composable
    parameters: dict[str, Any]
    indexable: str | None = None
    is_contained: bool = False


def clause_of(table: Table, condition: Condition, name: str) -> Clause:
    """The SQL of a condition; its parameters' names begin with ``name``.

    Raises:
        ConfigurationError: the table shows no such column, or one that cannot be compared so.
    """
    parameters = Parameters(name)
    if table.is_own:
        document = sql.SQL("k.{}").format(sql.Identifier(METADATA))
        is_equal = condition.operator in _EQUAL
        if condition.key == SOURCE and condition.operator in (*_EQUAL, "!=", "not in"):
            return Clause(file_clause(document, condition, parameters), parameters.values, SOURCE if is_equal else None)
        if condition.key == ORIGIN and is_equal:
            return Clause(origin_clause(document, condition, parameters), parameters.values, ORIGIN)
        clause = document_clause(document, condition.key, condition, parameters)
        return Clause(clause, parameters.values, METADATA if is_equal else None, is_contained=True)
    column, path = _column(table, condition)
    place = table.column(column)
    if path or column.type in ("json", "jsonb"):
        document = place if column.type == "jsonb" else sql.SQL("{}::jsonb").format(place)
        clause = document_clause(document, path, condition, parameters)
        is_indexable = condition.operator in _EQUAL and column.type == "jsonb"
        return Clause(clause, parameters.values, column.name if is_indexable else None, is_contained=True)
    clause = column_clause(table, column, condition, parameters)
    is_indexable = condition.operator not in _NEGATED
    return Clause(
        clause, parameters.values, column.name if is_indexable else None, is_contained=column.type.endswith("[]")
    )


def _column(table: Table, condition: Condition) -> tuple[Column, str]:
    """The column that a condition is about, and the path into the JSON that it holds, if it goes on."""
    column = table.shown_column(condition.key)
    if column is not None:
        return column, ""
    name, dot, path = condition.key.partition(".")
    column = table.shown_column(name)
    if dot and path and column is not None and column.type in ("json", "jsonb"):
        return column, path
    known = ", ".join(sorted({c.name for c in (*table.key, *table.metadata)}))
    raise ConfigurationError(f"--where knows no {condition.key!r}; {table} was adopted with {known}")
