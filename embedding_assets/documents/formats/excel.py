"""Excel workbooks: the rows of each sheet below its header."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.opened import OpenedFile
from embedding_assets.documents.formats.packages import check_package
from embedding_assets.documents.formats.rows import NO_ROWS, column_names, missing_text, row_document, unnamed
from embedding_assets.documents.rejection import Rejection


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


def _sheet(file: OpenedFile, sheet: Any, *, is_only: bool) -> Iterator[Document | Rejection]:
    names: list[str] = []
    # What the file says about its size is not believed: it may name a million empty rows.
    sheet.reset_dimensions()
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        if not any(cell not in (None, "") for cell in cells):
            continue
        if not names:
            names = column_names(cells[: _filled(cells)])
            problem = missing_text(names, file.options.text_column, file.options.template)
            if problem is not None:
                yield file.rejected(problem if is_only else f"sheet {sheet.title[:60]!r} {problem}", number)
                return
            continue
        yield row_document(file, number, _row(names, cells, "" if is_only else sheet.title))


def _filled(cells: Sequence[Any]) -> int:
    """How many there are up to the last that is not empty: those with a style alone go on for thousands."""
    return max((number for number, cell in enumerate(cells, start=1) if cell not in (None, "")), default=0)


def _row(names: Sequence[str], cells: Sequence[Any], sheet: str) -> dict[str, Any]:
    filled = max(len(names), _filled(cells))
    beyond = map(unnamed, range(len(names) + 1, filled + 1))
    row = dict(zip_longest([*names, *beyond], cells[:filled]))
    return {"sheet": sheet, **row} if sheet else row
