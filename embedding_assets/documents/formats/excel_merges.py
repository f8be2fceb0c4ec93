"""Merged cells of Excel, whose value stands in the first one and is meant for all of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from embedding_assets.documents.formats.options import ReadOptions, fields_of_template
from embedding_assets.documents.formats.rows import Header, column_names, missing_text, text_columns

logger = logging.getLogger(__name__)

_MERGED: Final = re.compile(
    rb"<(?:\w{1,30}:)?mergeCell\s[^<>]{0,200}?\bref=[\"']([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})[\"']"
)
_LONGEST: Final = 300
"""Bytes of the element of a range."""
_MOST_MERGED: Final = 100_000
_MOST_REPEATED: Final = 10_000_000
"""Characters that merged cells may add to a sheet."""
_LEAST_REPEATED: Final = 4
"""Characters that each of them counts beside its own."""
_MOST_HEADER_ROWS: Final = 5
_MOST_COLUMNS: Final = 16_384
"""Of a sheet, as Excel has it."""

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
    own = _apart(one for one in merged if one.row == header.line and one.last_row < header.line + _MOST_HEADER_ROWS)
    texts = _text_columns(header, options)
    wide = [one for one in own if one.last_column > one.column and texts.isdisjoint(_columns(one))]
    if not wide:
        return header
    cells = {number: cells for number, cells in rows if number < header.line + _MOST_HEADER_ROWS}
    last = max(header.line + 1, *(one.last_row for one in own))
    below = [cells.get(number, ()) for number in range(header.line + 1, last + 1)]
    lines = [cells.get(header.line, ()), *(below if _are_parts(below, wide) else ())]
    above = {column: one.column for one in wide for column in _columns(one)}
    names = [
        " ".join(dict.fromkeys([_named(lines[0], above.get(column, column)), *(_named(one, column) for one in lines)]))
        for column in range(1, max(map(len, lines)) + 1)
    ]
    found = column_names(" ".join(name.split()) for name in names)
    if missing_text(found, options.text_column, options.template):
        return header
    return replace(header, line=header.line + len(lines) - 1, names=found)


def _apart(merged: Iterable[Merged]) -> list[Merged]:
    """Those of a row that share no column, as all do in a sheet that Excel has written."""
    found: list[Merged] = []
    for one in sorted(merged, key=lambda one: one.column):
        if not found or one.column > found[-1].last_column:
            found.append(one)
    return found


def _text_columns(header: Header, options: ReadOptions) -> frozenset[int]:
    """The columns of a header of which texts are made, counted from 1."""
    used = set(text_columns(header.names, options.text_column))
    if options.template is not None:
        used = {name for _, name in fields_of_template(options.template) if name}
    return frozenset(column for column, name in enumerate(header.names, start=1) if name in used)


def _columns(one: Merged) -> range:
    return range(one.column, min(one.last_column, _MOST_COLUMNS) + 1)


def _named(cells: Sequence[Any], column: int) -> str:
    value = cells[column - 1] if column <= len(cells) else None
    return "" if value is None else str(value).strip()


def _are_parts(rows: Sequence[Sequence[Any]], wide: Sequence[Merged]) -> bool:
    """Whether rows below a header name parts of its wide cells, two or more of each, and nothing else.

    A row of data has something elsewhere, at least in the column of its text, which is below no wide cell.
    """
    filled = {
        column: cell for cells in rows for column, cell in enumerate(cells, start=1) if cell is not None and cell != ""
    }
    counts = [sum(column in filled for column in _columns(one)) for one in wide]
    are_words = all(isinstance(cell, str) for cells in rows for cell in cells if cell is not None)
    return are_words and sum(counts) == len(filled) > 0 and 1 not in counts


def filled_down(rows: Rows, merged: Sequence[Merged], source: str) -> Iterator[tuple[int, Sequence[Any]]]:
    """Rows with the value of a cell that is merged over several of them in each; of document ``source``."""
    waiting = sorted((one for one in merged if one.last_row > one.row), reverse=True)
    opened: dict[int, tuple[int, Any]] = {}
    left = _MOST_REPEATED
    for number, cells in rows:
        while waiting and waiting[-1].row <= number:
            one = waiting.pop()
            if one.row == number and one.column <= len(cells) and cells[one.column - 1] not in (None, ""):
                opened[one.column] = (one.last_row, cells[one.column - 1])
        opened = {column: one for column, one in opened.items() if one[0] >= number}
        line = list(cells)
        for column, (_, value) in sorted(opened.items()):
            missing = max(0, column - len(line))
            # Looking costs time, too, and no sheet that people fill in has hundreds of such columns.
            left -= missing + max(_LEAST_REPEATED, len(opened) // 8)
            if left < 0:
                break
            line += [None] * missing
            if line[column - 1] is None:
                line[column - 1] = value
                left -= len(value) if isinstance(value, str) else 0
        if left < 0 and (waiting or opened):
            said = (
                "the values of cells that are merged over rows are too long to be in each, and are not from row %d on"
            )
            logger.warning(said, number, extra={"document": source})
            waiting, opened = [], {}
        yield number, line
