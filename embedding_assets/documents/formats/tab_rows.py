"""Rows between tabs, of which programs quote few fields, or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from embedding_assets.documents.lines import MAX_WRITING_CHARACTERS

_MOST_LINES: Final = 10_000
"""Of a field."""

Record = tuple[int, list[str] | str]
"""The line at which it begins, and its fields, or the reason why there are none."""
_Waiting = list[tuple[int, list[str]]]


def whole_rows(records: Iterator[Record]) -> Iterator[Record]:
    """Rows without the quotes around fields, each a line, but for fields that go on, quoted, on the lines below.

    As such counts the last field of a line with a quote that ends the first field of a later one, if the two lines have
    together as many fields as the header, and those between are only text. Any other quote is a plain character.
    """
    width = 0
    waiting: _Waiting = []
    characters = 0
    for line, fields in records:
        if waiting and not isinstance(fields, str):
            if (joined := _joined(waiting, fields, width)) is not None:
                yield waiting[0][0], _bare(joined)
                waiting = []
                continue
            characters += sum(map(len, fields))
            if _goes_on(fields) and len(waiting) < _MOST_LINES and characters <= MAX_WRITING_CHARACTERS:
                waiting.append((line, fields))
                continue
        yield from _apart(waiting)
        waiting = []
        width = width or len(fields)
        if isinstance(fields, str):
            yield line, fields
        elif fields and fields[-1].startswith('"') and _is_odd(fields[-1]):
            waiting, characters = [(line, fields)], sum(map(len, fields))
        elif fields:
            yield line, _bare(fields)
    yield from _apart(waiting)


def _joined(waiting: _Waiting, fields: Sequence[str], width: int) -> list[str] | None:
    """The row that begins on the first line and ends on this one; None if it does not."""
    first = waiting[0][1]
    is_end = bool(fields) and fields[0].endswith('"') and _is_odd(fields[0])
    if not is_end or len(first) + len(fields) - 1 != width:
        return None
    between = ("".join(one) for _, one in waiting[1:])
    return [*first[:-1], "\n".join([first[-1], *between, fields[0]]), *fields[1:]]


def _goes_on(fields: Sequence[str]) -> bool:
    return len(fields) < 2 and not _is_odd("".join(fields))


def _is_odd(field: str) -> bool:
    return field.count('"') % 2 == 1


def _apart(waiting: _Waiting) -> Iterator[Record]:
    return ((line, _bare(fields)) for line, fields in waiting if fields)


def _bare(fields: Sequence[str]) -> list[str]:
    return [_unquoted(field) for field in fields]


def _unquoted(field: str) -> str:
    """A field without the quotes around it, if it was written by a program that quotes."""
    inner = field[1:-1]
    is_quoted = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if is_quoted else field
