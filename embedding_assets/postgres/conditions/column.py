"""Conditions on a column of the user's table, compared as its type compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from psycopg import sql

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.conditions.condition import Operator, text_of

if TYPE_CHECKING:
    from embedding_assets.postgres.conditions.condition import Condition
    from embedding_assets.postgres.conditions.parameters import Parameters
    from embedding_assets.postgres.table import Column, Table

_COMPARISONS: Final[Mapping[Operator, sql.SQL]] = {
    "=": sql.SQL("="),
    "<": sql.SQL("<"),
    "<=": sql.SQL("<="),
    ">": sql.SQL(">"),
    ">=": sql.SQL(">="),
}


def column_clause(table: Table, column: Column, condition: Condition, parameters: Parameters) -> sql.Composable:
    """The SQL of a condition on a column of rows ``k``.

    Raises:
        ConfigurationError: the column holds lists, which are neither less nor more than a value.
    """
    place = table.column(column)
    if condition.operator == "is null":
        return sql.SQL("{} IS NULL").format(place)
    if condition.operator == "is not null":
        return sql.SQL("{} IS NOT NULL").format(place)
    values = [table.cast(parameters.add(text_of(value)), column) for value in condition.values]
    if column.type.endswith("[]"):
        if condition.operator in ("<", "<=", ">", ">="):
            raise ConfigurationError(f"--where: {column.name} holds lists; compare it with = or !=")
        elements = [
            sql.SQL("{} @> ARRAY[{}]").format(place, _element(table, column, parameters.add(text_of(value))))
            for value in condition.values
        ]
        return _negated_unless(condition.operator in ("=", "in"), sql.SQL(" OR ").join(elements))
    if comparison := _COMPARISONS.get(condition.operator):
        return sql.SQL("{} {} {}").format(place, comparison, values[0])
    if condition.operator == "!=":
        return sql.SQL("{} IS DISTINCT FROM {}").format(place, values[0])
    equal = sql.SQL("{} IN ({})").format(place, sql.SQL(", ").join(values))
    return _negated_unless(condition.operator == "in", equal)


def _element(table: Table, column: Column, value: sql.Composable) -> sql.Composable:
    return table.cast(value, type(column)(column.name, column.type.removesuffix("[]")))


def _negated_unless(is_positive: bool, clause: sql.Composable) -> sql.Composable:
    """In parentheses; a row without a value is none of those, but fulfils the negation."""
    return sql.SQL("({})" if is_positive else "({}) IS NOT TRUE").format(clause)
