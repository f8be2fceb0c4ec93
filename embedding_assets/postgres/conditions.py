"""Conditions on the metadata of rows, as ``search --where`` takes them: ``lang=en``, ``price<10``, ``draft!=true``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from psycopg import sql

from embedding_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from embedding_assets.postgres.table import Table

Operator = Literal["=", "!=", "<=", ">=", "<", ">"]

_CONDITION: Final = re.compile(r"^(?P<key>.+?)(?P<operator>!=|<=|>=|=|<|>)(?P<value>.*)$", re.DOTALL)
_OPERATORS: Final[Mapping[Operator, sql.SQL]] = {
    "=": sql.SQL("="),
    "!=": sql.SQL("IS DISTINCT FROM"),
    "<": sql.SQL("<"),
    "<=": sql.SQL("<="),
    ">": sql.SQL(">"),
    ">=": sql.SQL(">="),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a metadata field, or of a column of your own table, with a value.

    In a table of your own the value is of the column's type. In the metadata of ``knowledge_base`` ``=`` and ``!=``
    compare text, and the others numbers where the stored value is one, else text.
    """

    key: str
    operator: Operator
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition that ``text`` says, e.g. ``price<10``.

        Raises:
            ConfigurationError: it is none.
        """
        match = _CONDITION.match(text)
        if match is None:
            raise ConfigurationError(
                f"{text!r} is not a condition; write KEY=VALUE, or one of {' '.join(get_args(Operator))} between both"
            )
        return cls(match["key"].strip(), cast("Operator", match["operator"]), match["value"].strip())


def conditions_of(where: Mapping[str, str] | Sequence[Condition | str]) -> tuple[Condition, ...]:
    """All of them as such: a mapping says what fields must be equal to."""
    if isinstance(where, Mapping):
        return tuple(Condition(key, "=", value) for key, value in where.items())
    return tuple(one if isinstance(one, Condition) else Condition.parse(one) for one in where)


def condition_of(table: Table, condition: Condition, name: str) -> tuple[sql.Composed, dict[str, Any]]:
    """The SQL of a condition on rows ``k``, and its parameters, whose names begin with ``name``.

    Raises:
        ConfigurationError: the table shows no such column.
    """
    value = sql.Placeholder(f"{name}_value")
    operator = _OPERATORS[condition.operator]
    if not table.is_own:
        column = table.shown_column(condition.key)
        if column is None:
            known = ", ".join(sorted({c.name for c in (*table.key, *table.metadata)}))
            raise ConfigurationError(f"--where knows no {condition.key!r}; {table} was adopted with {known}")
        typed = table.cast(value, column)
        return sql.SQL("{} {} {}").format(table.column(column), operator, typed), {f"{name}_value": condition.value}
    key = sql.Placeholder(f"{name}_key")
    parameters: dict[str, Any] = {f"{name}_key": condition.key, f"{name}_value": condition.value}
    field = sql.SQL("k.document_metadata ->> {}").format(key)
    if condition.operator in ("=", "!=") or not _is_number(condition.value):
        return sql.SQL("{} {} {}").format(field, operator, value), parameters
    return (
        sql.SQL(
            "CASE WHEN jsonb_typeof(k.document_metadata -> {}) = 'number' THEN ({})::numeric {} {}::numeric END"
        ).format(key, field, operator, value),
        parameters,
    )


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", text) is not None
