"""Excel workbooks: the rows of each sheet below its header."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, time
from itertools import chain, islice, zip_longest
from typing import Any, Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.excel_merges import filled_down, merged_cells, whole_header
from embedding_assets.documents.formats.opened import OpenedFile
from embedding_assets.documents.formats.options import ReadOptions, fields_of_template
from embedding_assets.documents.formats.packages import check_package
from embedding_assets.documents.formats.rows import (
    HEADER_ROWS,
    NO_ROWS,
    Header,
    find_header,
    row_document,
    text_columns,
    unnamed,
)
from embedding_assets.documents.rejection import BlankRow, Rejection
from embedding_assets.formatting import counted

logger = logging.getLogger(__name__)

_ERRORS: Final = frozenset(
    ["#N/A", "#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!", "#GETTING_DATA"]
)
"""What stands where a formula came to nothing."""

_UNCOMPUTED: Final = re.compile(
    rb"<c\s(?![^<>]*\bt=[\"']str[\"'])(?>[^<>]*?\br=[\"']([A-Z]{1,3})(\d{1,7})[\"'])[^<>]*+>"
    rb"\s*<f(?:\s[^<>]*)?(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v>\s*</v>|</c>)"
)
"""A cell with a formula and nothing that it comes to; where that is an empty text, the cell is said to hold one."""
_LONGEST_CELL: Final = 65_536
_NOT_COMPUTED: Final = (
    "has no text, where there may be a formula that was never computed: save it by Excel or LibreOffice"
)


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The documents that the rows of all sheets are; a sheet without a text is rejected by its name."""
    from openpyxl import load_workbook

    data = io.BytesIO(file.read())
    check_package(data)
    workbook = load_workbook(data, read_only=True, data_only=True)
    try:
        found = False
        sheets = workbook.worksheets
        for sheet in sheets:
            for result in _sheet(file, sheet, is_only=len(sheets) == 1):
                found = True
                yield result
        if not found:
            yield file.rejected(NO_ROWS)
    finally:
        workbook.close()


def _uncomputed_rows(sheet: Any, columns: Collection[str]) -> frozenset[int]:
    """The rows in which a program has written a formula without what it comes to, which only a spreadsheet computes.

    Args:
        sheet: whose cells they are.
        columns: in which they are looked for, by their letters.
    """
    rows: set[int] = set()
    # openpyxl reads either formulas or what they come to.
    with sheet._get_source() as stream:
        rest = b""
        while piece := stream.read(1 << 20):
            text = rest + piece
            rows.update(int(row) for column, row in _UNCOMPUTED.findall(text) if column.decode() in columns)
            last = text.rfind(b"<c ")
            rest = text[last:] if last >= 0 and len(text) - last <= _LONGEST_CELL else b""
    return frozenset(rows)


def _sheet(file: OpenedFile, sheet: Any, *, is_only: bool) -> Iterator[Document | Rejection]:
    # What the file says about its size is not believed: it may name a million empty rows.
    sheet.reset_dimensions()
    rows = _rows(sheet)
    first = list(islice(rows, HEADER_ROWS))
    header = find_header(first, file.options)
    if header is None:
        return
    if header.problem is not None:
        said = header.problem if is_only else f"sheet {sheet.title[:60]!r} {header.problem}"
        yield file.rejected(said, header.line)
        return
    if header.above:
        said = f"left out {counted(header.above, 'row')} above the header of a sheet"
        logger.warning(said, extra={"document": file.source})
    merged = merged_cells(sheet)
    header = whole_header(header, first, merged, file.options)
    below = filled_down((row for row in chain(first, rows) if row[0] > header.line), merged, file.source)
    uncomputed: frozenset[int] | None = None
    for number, row in _named(header, below, "" if is_only else sheet.title, file.options):
        result = row_document(file, number, row)
        if isinstance(result, BlankRow):
            if uncomputed is None:
                uncomputed = _uncomputed_rows(sheet, _letters(header.names, file.options))
            if number in uncomputed:
                result = file.rejected(_NOT_COMPUTED, number)
        yield result


def _named(
    header: Header, rows: Iterable[tuple[int, Sequence[Any]]], title: str, options: ReadOptions
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows below the header, by its names."""
    texts = frozenset(text_columns(header.names, options.text_column))
    for number, cells in rows:
        row = _row(header.names, cells, title)
        yield number, {name: _text(row[name]) if name in texts else row[name] for name in row}


def _letters(names: Sequence[str], options: ReadOptions) -> frozenset[str]:
    """The columns of which a text is made."""
    from openpyxl.utils import get_column_letter

    used = (
        [name for _, name in fields_of_template(options.template)]
        if options.template
        else text_columns(names, options.text_column)
    )
    return frozenset(get_column_letter(place) for place, name in enumerate(names, start=1) if name in used)


def _rows(sheet: Any) -> Iterator[tuple[int, Sequence[Any]]]:
    """The rows that are not blank, up to the last cell that is not empty: those with a style go on for thousands."""
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        filled = max((place for place, cell in enumerate(cells, start=1) if cell not in (None, "")), default=0)
        if filled:
            yield number, [_value(cell) for cell in cells[:filled]]


def _value(cell: Any) -> Any:
    """What a cell holds: a day has no time, and an error is nothing."""
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date()
    if isinstance(cell, str):
        # As Excel writes what other programs end lines with.
        return None if cell in _ERRORS else cell.replace("_x000D_", "\r")
    return cell


def _text(cell: Any) -> Any:
    """A cell of texts in words, as Excel shows it: 404 typed there is a number."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float):
        return f"{cell:.15g}"
    return cell if cell is None else str(cell)


def _row(names: Sequence[str], cells: Sequence[Any], sheet: str) -> dict[str, Any]:
    beyond = map(unnamed, range(len(names) + 1, len(cells) + 1))
    row = dict(zip_longest([*names, *beyond], cells))
    return {"sheet": sheet, **row} if sheet else row
