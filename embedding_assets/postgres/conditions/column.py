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
    "!=": sql.SQL("IS DISTINCT FROM"),
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
    is_list = column.type.endswith("[]")
    if is_list and condition.operator in ("<", "<=", ">", ">="):
        raise ConfigurationError(f"--where: {column.name} holds lists; compare it with = or !=")
    comparison = _COMPARISONS.get(condition.operator)
    if comparison and not is_list and len(condition.values) == 1:
        [value] = condition.values
        return sql.SQL("{} {} {}").format(place, comparison, table.cast(parameters.add(text_of(value)), column))
    values = table.cast_all(parameters.add_all(map(text_of, condition.values)), column)
    equal = sql.SQL("{} && {}" if is_list else "{} = ANY({})").format(place, values)
    return _negated_unless(condition.operator not in ("!=", "not in"), equal)


def _negated_unless(is_positive: bool, clause: sql.Composable) -> sql.Composable:
    """In parentheses; a row without a value is none of those, but fulfils the negation."""
    return sql.SQL("({})" if is_positive else "({}) IS NOT TRUE").format(clause)
