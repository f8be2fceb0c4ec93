"""Conditions on a field of a JSON document, compared as what a row has there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from psycopg import sql

from embedding_assets.postgres.conditions.condition import Value, text_of

if TYPE_CHECKING:
    from embedding_assets.postgres.conditions.condition import Condition
    from embedding_assets.postgres.conditions.parameters import Parameters

_NUMBER: Final = re.compile(r"[+-]?\d{1,200}(\.\d{1,200})?([eE][+-]?\d{1,3})?", re.ASCII)
_PLAIN: Final = re.compile(r"-?(0|[1-9]\d{0,200})(\.\d{0,200}[1-9])?", re.ASCII)
_MOMENT: Final = re.compile(r"\d{4}(-\d\d(-\d\d)?)?", re.ASCII)

_PLACES: Final = 4
_MOST_DIGITS: Final = 30
"""Of a number that is looked for as a text too: with how many digits after the point (12.50 of CSV), and in all."""

_STORED_NUMBER: Final = r"^\s*[+-]?\d{1,200}(\.\d{1,200})?([eE][+-]?\d{1,3})?\s*$"
_STORED_MOMENT: Final = r"^\d{4}-\d\d"


def document_clause(document: sql.Composable, key: str, condition: Condition, parameters: Parameters) -> sql.Composable:
    """The SQL of a condition on the field ``key`` of a JSON document.

    Equality is containment, by which an index finds the rows: of the value as a text, number or truth value, or as an
    element of a list. A number in its shortest form is also the texts that say it with up to four digits after the
    point, as rows of CSV have them; 12.50 and 007 are those texts alone. A path with dots is looked for as one, and as
    a name with dots in it.

    Args:
        document: of type jsonb.
        key: the field; empty: the document itself.
        condition: what must hold of it.
        parameters: to which the values are added.
    """
    paths = _paths(key)
    if condition.operator in ("is null", "is not null"):
        return sql.SQL("{} {}").format(_field(document, paths, parameters), sql.SQL(condition.operator.upper()))
    if condition.operator in ("<", "<=", ">", ">="):
        return _comparison(_field(document, paths, parameters), condition, parameters)
    # One array, however many they are; the likely form of each value first, since rows are compared in this order.
    forms = (form for same in zip_longest(*map(_forms, condition.values)) for form in same if form is not None)
    alternatives = dict.fromkeys(_nested(path, form) for form in forms for path in paths)
    contained = sql.SQL("{} @> ANY({}::text[]::jsonb[])").format(document, parameters.add_all(alternatives))
    return _negated_unless(condition.operator in ("=", "in"), contained)


def file_clause(document: sql.Composable, condition: Condition, parameters: Parameters) -> sql.Composable:
    """The SQL of a condition on the source of a document: its path, or its end from any folder's name on.

    ``guide.md`` is also ``docs/guide.md``. Found by an index of the files' names.
    """
    source = sql.SQL("({} ->> 'source')").format(document)
    texts = list(dict.fromkeys(map(text_of, condition.values)))
    ends: dict[int, list[str]] = {}
    for text in texts:
        ends.setdefault(len(text) + 1, []).append(f"/{text}")
    # A name follows from a source or its end, and is compared for the sake of its index alone.
    alternatives = [sql.SQL("{} = ANY({}::text[])").format(source, parameters.add_all(texts))]
    alternatives += [
        sql.SQL("right({}, {}) = ANY({}::text[])").format(source, sql.Literal(length), parameters.add_all(same))
        for length, same in ends.items()
    ]
    found = sql.SQL("{} = ANY({}::text[]) AND ({})").format(
        file_name(document),
        parameters.add_all(dict.fromkeys(text.rpartition("/")[2] for text in texts)),
        sql.SQL(" OR ").join(alternatives),
    )
    return _negated_unless(condition.operator in ("=", "in"), found)


def origin_clause(document: sql.Composable, condition: Condition, parameters: Parameters) -> sql.Composable:
    """The SQL of equality with what a document was loaded from, by the index that loading has of it."""
    values = parameters.add_all(map(text_of, condition.values))
    return sql.SQL("({} ->> 'origin') = ANY({}::text[])").format(document, values)


def file_name(document: sql.Composable) -> sql.Composed:
    """The name of a document's file, without its folders; an index of it must say the same in the same words."""
    return sql.SQL("(\"substring\"(({} ->> 'source'), '[^/]*$'))").format(document)


def _paths(key: str) -> list[tuple[str, ...]]:
    """Ways into a document that a key may mean."""
    parts = tuple(key.split("."))
    if key == "":
        return [(key,)]
    paths: list[tuple[str, ...]] = [(key,)]
    if len(parts) > 1 and all(parts):
        paths.append(parts)
        if parts[0] == "metadata":  # as the column of the table is called in other tools
            paths.append(parts[1:])
    return paths


def _nested(path: tuple[str, ...], literal: str) -> str:
    """JSON of an object that has a value at a path."""
    for part in reversed(path):
        literal = f"{{{json.dumps(part)}: {literal}}}"
    return literal


def _forms(value: Value) -> Iterator[str]:
    """JSON of everything that a row may have where it has a value."""
    literals = dict.fromkeys(_literals(value))
    for literal in literals:
        yield literal
        yield f"[{literal}]"
    if (number := _number(value)) is not None:
        yield from (json.dumps(text) for text in _texts(number) if json.dumps(text) not in literals)


def _number(value: Value) -> Decimal | None:
    """The number that a value is, or says in its shortest form; 1.10 and 007 may be no numbers."""
    pattern = _PLAIN if isinstance(value, str) else _NUMBER
    text = text_of(value)
    return Decimal(text) if not isinstance(value, bool) and pattern.fullmatch(text) else None


def _texts(number: Decimal) -> Iterator[str]:
    """12.5 as 12.5, 12.50, 12.500 and 12.5000; nothing of a number that is written otherwise."""
    if len(number.as_tuple().digits) + abs(number.adjusted()) > _MOST_DIGITS:
        return
    whole, _, digits = format(number, "f").partition(".")
    digits = digits.rstrip("0")
    for places in range(len(digits), max(len(digits), _PLACES) + 1):
        yield f"{whole}.{digits.ljust(places, '0')}" if places else whole


def _literals(value: Value) -> Iterator[str]:
    """JSON of everything that a value may be stored as: a text also as the number or truth value that it says."""
    if isinstance(value, bool | int):
        yield json.dumps(value)
        return
    if isinstance(value, float | Decimal):
        yield str(Decimal(str(value)))
        return
    text = text_of(value)
    yield json.dumps(text)
    if _NUMBER.fullmatch(text):
        yield str(Decimal(text))
    elif (lowered := text.lower()) in ("true", "false"):
        yield lowered
        # In a row of CSV it is a text.
        if lowered != text:
            yield json.dumps(lowered)


def _field(document: sql.Composable, paths: list[tuple[str, ...]], parameters: Parameters) -> sql.Composable:
    """What a row has at the first of the paths that leads anywhere; JSON's null counts as nothing."""
    found = [sql.SQL("nullif({} #> {}::text[], 'null')").format(document, parameters.add(list(path))) for path in paths]
    return found[0] if len(found) == 1 else sql.SQL("coalesce({})").format(sql.SQL(", ").join(found))


def _comparison(field: sql.Composable, condition: Condition, parameters: Parameters) -> sql.Composable:
    """Numbers as such, where both are some; dates by as much of them as was given; else texts, byte by byte."""
    [value] = condition.values
    operator = sql.SQL(condition.operator)
    text = text_of(value)
    stored = sql.SQL("(f.field #>> '{}')")
    branches: list[sql.Composable] = []
    if not isinstance(value, bool) and _NUMBER.fullmatch(text):
        is_number = sql.SQL("jsonb_typeof(f.field) = 'number' OR {} ~ {}").format(
            stored, parameters.add(_STORED_NUMBER)
        )
        branches.append(
            sql.SQL("WHEN {} THEN {}::numeric {} {}::text::numeric").format(
                is_number, stored, operator, parameters.add(text)
            )
        )
    if _MOMENT.fullmatch(text):
        branches.append(
            sql.SQL('WHEN {stored} ~ {moment} THEN left({stored}, {length}) COLLATE "C" {operator} {value}').format(
                stored=stored,
                moment=parameters.add(_STORED_MOMENT),
                length=sql.Literal(len(text)),
                operator=operator,
                value=parameters.add(text),
            )
        )
    branches.append(
        sql.SQL("WHEN jsonb_typeof(f.field) = 'string' THEN {} COLLATE \"C\" {} {}").format(
            stored, operator, parameters.add(text)
        )
    )
    return sql.SQL("(SELECT CASE {} END FROM (SELECT {} AS field) f)").format(sql.SQL(" ").join(branches), field)


def _negated_unless(is_positive: bool, clause: sql.Composable) -> sql.Composable:
    """In parentheses; a row without the field has none of those values, and so fulfils the negation."""
    return sql.SQL("({})" if is_positive else "({}) IS NOT TRUE").format(clause)
