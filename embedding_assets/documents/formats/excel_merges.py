"""Merged cells of Excel, whose value stands in the first one and is meant for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.formats.rows import Header, column_names, missing_text

_MERGED: Final = re.compile(
    rb"<(?:\w{1,30}:)?mergeCell\s[^<>]{0,200}?\bref=[\"']([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})[\"']"
)
_LONGEST: Final = 300
"""Bytes of the element of a range."""
_MOST_MERGED: Final = 100_000
_MOST_REPEATED: Final = 10_000_000
"""Characters that merged cells may add to a sheet."""
_MOST_HEADER_ROWS: Final = 5

Rows = Iterable[tuple[int, Sequence[Any]]]
"""With their numbers."""


class Merged(NamedTuple):
    """Cells that are shown as one; columns and rows are counted from 1."""

    row: int
    column: int
    last_row: int
    last_column: int


def merged_cells(sheet: Any) -> list[Merged]:
    """Those of a sheet, which openpyxl leaves out where it reads row by row."""
    found: list[Merged] = []
    with sheet._get_source() as stream:
        rest = b""
        while (piece := stream.read(1 << 20)) and len(found) < _MOST_MERGED:
            text = rest + piece
            at = 0
            for one in _MERGED.finditer(text):
                found.append(Merged(int(one[2]), _column(one[1]), int(one[4]), _column(one[3])))
                at = one.end()
            rest = text[max(at, len(text) - _LONGEST) :]
    return found


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number


def whole_header(header: Header, rows: Rows, merged: Sequence[Merged], options: ReadOptions) -> Header:
    """A header with the names of all of its rows, where some cells of it are merged, and the last of these rows.

    Args:
        header: its first row.
        rows: those of the sheet, as far as they are known.
        merged: what is merged in the sheet.
        options: which columns have the text.
    """
    own = [one for one in merged if one.row == header.line and one.last_row < header.line + _MOST_HEADER_ROWS]
    if not own:
        return header
    above = {column: one.column for one in own for column in range(one.column + 1, min(one.last_column, 20_000) + 1)}
    cells = {number: cells for number, cells in rows if number < header.line + _MOST_HEADER_ROWS}
    last = max(one.last_row for one in own)
    if last == header.line and _is_below(cells.get(last + 1, ()), {*above, *above.values()}):
        last += 1
    lines = [cells.get(number, ()) for number in range(header.line, last + 1)]
    names = [
        " ".join(dict.fromkeys([_named(lines[0], above.get(column, column)), *(_named(one, column) for one in lines)]))
        for column in range(1, max(map(len, lines)) + 1)
    ]
    found = column_names(" ".join(name.split()) for name in names)
    problem = missing_text(found, options.text_column, options.template)
    return replace(header, line=last, names=header.names if problem else found)


def _named(cells: Sequence[Any], column: int) -> str:
    value = cells[column - 1] if column <= len(cells) else None
    return "" if value is None else str(value).strip()


def _is_below(cells: Sequence[Any], columns: set[int]) -> bool:
    """Whether the row below a header names parts of its wide columns, and nothing else."""
    filled = {column for column, cell in enumerate(cells, start=1) if cell not in (None, "")}
    return bool(filled) and filled <= columns and all(isinstance(cells[column - 1], str) for column in filled)


def filled_down(rows: Rows, merged: Sequence[Merged]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Rows with the value of a cell that is merged over several of them in each."""
    waiting = sorted((one for one in merged if one.last_row > one.row), reverse=True)
    opened: dict[int, tuple[int, Any]] = {}
    left = _MOST_REPEATED
    for number, cells in rows:
        while waiting and waiting[-1].row <= number:
            one = waiting.pop()
            if one.row == number and one.column <= len(cells):
                opened[one.column] = (one.last_row, cells[one.column - 1])
        opened = {column: one for column, one in opened.items() if one[0] >= number}
        line = [*cells, *[None] * (max(opened, default=0) - len(cells))]
        for column, (_, value) in opened.items():
            if line[column - 1] is None and left > 0:
                line[column - 1] = value
                left -= len(value) if isinstance(value, str) else 8
        yield number, line
