"""Conditions as a person or a program says them: ``lang=en``, ``price<10``, ``lang in (de, en)``, ``draft is null``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, cast

from embedding_assets.errors import ConfigurationError

Operator = Literal["=", "!=", "<=", ">=", "<", ">", "in", "not in", "is null", "is not null"]

Value = str | bool | int | float | Decimal | date
"""What a field is compared with. A text is also taken for the number, date or truth value that it says."""

_COMPARISON: Final = re.compile(r"(?P<key>.+?)(?P<operator>!=|<>|<=|>=|==|=|<|>)(?P<value>.*)", re.DOTALL)
_OTHER_SPELLINGS: Final[Mapping[str, Operator]] = {"==": "=", "<>": "!="}
_QUOTED: Final = re.compile(r"""(?P<mark>["'])(?:(?!(?P=mark)).|(?P=mark){2})*(?P=mark)""", re.DOTALL)
_NULL: Final = re.compile(r"(?P<key>[^=<>!]+?)\s+is\s+(?P<negated>not\s+)?null", re.IGNORECASE)
_LIST: Final = re.compile(
    r"(?P<key>[^=<>!]+?)\s+(?P<negated>not\s+)?in\s*\((?P<values>.*)\)", re.IGNORECASE | re.DOTALL
)
_ITEM: Final = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^,]*?))\s*(?:,|$)""", re.DOTALL)
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a metadata field, or of a column of your own table, with a value.

    In a table of your own the value is of the column's type. In the metadata of ``knowledge_base`` it is compared as
    what the row has there: a number, a truth value, a text, a date in ISO's form, or an element of a list.

    Attributes:
        key: the field; parts of a path into objects are separated by dots, as in ``page.number``.
        operator: how they are compared.
        value: what with; several for ``in`` and ``not in``, none for ``is null`` and ``is not null``.

    Raises:
        ConfigurationError: a value cannot be stored in PostgreSQL, so that no row can have it, or none is given to be
            less or more than.
    """

    key: str
    operator: Operator
    value: Value | tuple[Value, ...] = ""

    def __post_init__(self) -> None:
        for one in (self.key, *self.values):
            if isinstance(one, str) and _UNSTORABLE.search(one):
                raise ConfigurationError(
                    f"a condition on {_shown(self.key)} has a character that PostgreSQL cannot store: NUL, or a lone "
                    "surrogate"
                )
            if isinstance(one, float | Decimal) and not math.isfinite(one):
                raise ConfigurationError(f"a condition on {_shown(self.key)} compares with {one}, which is no number")
        is_range = self.operator in ("<", "<=", ">", ">=")
        if is_range and len(self.values) != 1:
            raise ConfigurationError(f"a condition on {_shown(self.key)} with {self.operator} takes one value")
        if is_range and "" in map(_bare, self.values):
            raise ConfigurationError(f"a condition on {_shown(self.key)} has nothing behind its {self.operator}")

    @property
    def values(self) -> tuple[Value, ...]:
        """What is compared with."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition that ``text`` says, e.g. ``price<10``, also as SQL or a program does: ``<>``, ``==``, ``"en"``.

        Raises:
            ConfigurationError: it is none.
        """
        text = text.strip()
        if match := _NULL.fullmatch(text):
            return cls(match["key"].strip(), "is not null" if match["negated"] else "is null")
        if match := _LIST.fullmatch(text):
            values = _items(match["values"])
            if not values:
                raise ConfigurationError(f"{_shown(text)} has nothing between its parentheses")
            return cls(match["key"].strip(), "not in" if match["negated"] else "in", values)
        match = _COMPARISON.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f"{_shown(text)} is not a condition; write KEY=VALUE, or one of != <= >= < > between both, KEY in "
                "(VALUE, …), or KEY is null"
            )
        operator = _OTHER_SPELLINGS.get(match["operator"], cast("Operator", match["operator"]))
        value = match["value"].strip()
        if quoted := _QUOTED.fullmatch(value):
            value = value[1:-1].replace(quoted["mark"] * 2, quoted["mark"])
        return cls(match["key"].strip(), operator, value)


Where = Mapping[str, Any] | Iterable[Condition | str] | Condition | str | None
"""Conditions that must all hold: fields and what they must be equal to (a ``Value``, any of several, None, or a mapping
of fields within that one), or conditions one by one; a single one may stand alone."""


def conditions_of(where: Where) -> tuple[Condition, ...]:
    """All of them as such, all of which must hold; of one key given several times with ``=``, any.

    A mapping says what fields must be equal to: a value, any of several, None for a field that is not there, or a
    mapping of fields within that one.

    Raises:
        ConfigurationError: one of them is none.
    """
    if isinstance(where, Mapping):
        return tuple(one for key, value in where.items() for one in _from_python(key, value))
    if where is None:
        return ()
    if isinstance(where, str | Condition):
        return (_one(where),)
    if not isinstance(where, Iterable):
        raise _no_condition(where)
    return _joined([_one(one) for one in where])


def _one(condition: object) -> Condition:
    if isinstance(condition, Condition):
        return condition
    if isinstance(condition, str):
        return Condition.parse(condition)
    raise _no_condition(condition)


def _no_condition(value: object) -> ConfigurationError:
    return ConfigurationError(
        f"where: {type(value).__name__} is not a condition; give a text such as 'price<10', several of them in a list, "
        "or a mapping of fields and values"
    )


def _from_python(key: object, value: object) -> Iterator[Condition]:
    if not isinstance(key, str):
        raise ConfigurationError(f"where: a field's name is a text, but one is {type(key).__name__}")
    if value is None:
        yield Condition(key, "is null")
    elif isinstance(value, Value):
        yield Condition(key, "=", value)
    elif isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _from_python(f"{key}.{name}" if isinstance(name, str) else name, inner)
    elif isinstance(value, list | tuple | set | frozenset) and value and all(isinstance(one, Value) for one in value):
        yield Condition(key, "in", tuple(value))
    else:
        raise _no_value(key, value)


def _no_value(key: str, value: object) -> ConfigurationError:
    return ConfigurationError(
        f"where: {_shown(key)} is compared with {type(value).__name__}; give a text, number, truth value or date, "
        "several of them in a list, None, or a mapping of fields within it"
    )


def _joined(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """With the conditions ``=`` of each key made one."""
    equal: dict[str, list[Value]] = {}
    for condition in conditions:
        if condition.operator == "=":
            equal.setdefault(condition.key, []).extend(condition.values)
    joined: list[Condition] = []
    for condition in conditions:
        if condition.operator != "=":
            joined.append(condition)
        elif values := equal.pop(condition.key, None):
            joined.append(condition if len(values) == 1 else Condition(condition.key, "in", tuple(values)))
    return tuple(joined)


def _items(text: str) -> tuple[str, ...]:
    """The values of a list, which are separated by commas, and may be quoted."""
    items: list[str] = []
    at = 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None:
            raise ConfigurationError(f"{_shown(text)} is not a list of values separated by commas")
        quoted = match["double"] if match["double"] is not None else match["single"]
        if quoted is not None or match["bare"]:
            items.append(quoted if quoted is not None else match["bare"])
        at = match.end()
    return tuple(items)


def text_of(value: Value) -> str:
    """A value as PostgreSQL reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)


def _bare(value: Value) -> object:
    return value.strip() if isinstance(value, str) else value


def _shown(text: str) -> str:
    """As a person reads it in a message, however long it is."""
    return repr(text if len(text) <= 80 else text[:79] + "…")
