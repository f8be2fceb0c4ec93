"""Excel workbooks: the rows of each sheet below its header."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.opened import OpenedFile
from embedding_assets.documents.formats.packages import check_package
from embedding_assets.documents.formats.rows import NO_ROWS, distinct, missing_text, row_document
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
            names = _names(cells)
            problem = missing_text(names, file.options.text_column, file.options.template)
            if problem is not None:
                yield file.rejected(problem if is_only else f"sheet {sheet.title[:60]!r} {problem}", number)
                return
            continue
        yield row_document(file, number, _row(names, cells, "" if is_only else sheet.title))


def _names(cells: Sequence[Any]) -> list[str]:
    named = ("" if cell is None else str(cell).strip() for cell in cells)
    return distinct(name or _unnamed(number) for number, name in enumerate(named, start=1))


def _unnamed(column: int) -> str:
    """What a column is called that the header leaves blank, or does not reach."""
    return f"column_{column}"


def _row(names: Sequence[str], cells: Sequence[Any], sheet: str) -> dict[str, Any]:
    beyond = map(_unnamed, range(len(names) + 1, len(cells) + 1))
    row = dict(zip_longest([*names, *beyond], cells))
    return {"sheet": sheet, **row} if sheet else row
