"""Workbooks as people fill them in: titles above the header, numbers among texts, cells that came to nothing."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.excel import _UNCOMPUTED
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.rejection import BlankRow, Rejection
from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import read_as


def read_rows(
    folder: Path, *rows: list[Any], options: ReadOptions | None = None
) -> tuple[list[Document], list[Rejection]]:
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    return read_as(folder, "a.xlsx", office.saved(workbook.save), options)


def test_a_header_may_stand_below_a_title(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = (["Report 2024"], [], ["by", "Ada"], ["text", "n", "day"], ["one", 1, None], ["text", "x", "y"])
    documents, rejections = read_rows(tmp_path, *rows)
    assert not rejections
    assert [(one.text, one.metadata.model_dump()["n"]) for one in documents] == [("one", 1), ("text", "x")]
    assert "left out 2 rows above the header" in caplog.text


@pytest.mark.parametrize(
    ("rows", "line", "found"),
    [
        ((["name", "price"], ["text", "seven"]), 1, "'name', 'price'"),
        ((["name"], ["text"], ["words"]), 1, "'name'"),
        ((["Report 2024"], ["name", "price"], ["tea", 7]), 2, "'name', 'price'"),
        ((*(["title"] for _ in range(20)), ["text", "n"], ["one", 1]), 20 - 19, "'title'"),
    ],
)
def test_rows_of_another_table_are_no_header(
    tmp_path: Path, rows: tuple[list[Any], ...], line: int, found: str
) -> None:
    documents, (rejection,) = read_rows(tmp_path, *rows)
    assert not documents
    assert rejection.line == line
    assert f"found {found};" in rejection.reason


def test_numbers_among_texts_are_read_as_they_are_shown(tmp_path: Path) -> None:
    cells = [404, 0.1 + 0.2, True, datetime(2024, 5, 1), datetime(2024, 5, 1, 8, 30)]
    documents, rejections = read_rows(tmp_path, ["text", "n"], *([cell, cell] for cell in cells))
    assert not rejections
    assert [one.text for one in documents] == ["404", "0.3", "TRUE", "2024-05-01", "2024-05-01 08:30:00"]
    assert documents[0].metadata.model_dump()["n"] == 404
    assert documents[3].metadata.model_dump()["n"] == "2024-05-01"


def test_a_template_has_days_without_quotes(tmp_path: Path) -> None:
    options = ReadOptions(template="{text}, {day}, {open}, {note}")
    (document,), _ = read_rows(
        tmp_path, ["text", "day", "open", "note"], ["Tea", datetime(2024, 5, 1), True, None], options=options
    )
    assert document.text == "Tea, 2024-05-01, true,"


def test_a_formula_that_came_to_nothing_is_nothing(tmp_path: Path) -> None:
    (document,), (rejection,) = read_rows(tmp_path, ["text", "n"], ["#N/A", 1], ["words", "#DIV/0!"])
    assert document.text == "words"
    assert document.metadata.model_extra == {}
    assert (rejection.line, rejection.reason) == (2, "has an empty 'text'")


def test_line_ends_that_excel_writes_in_letters(tmp_path: Path) -> None:
    (document,), _ = read_rows(tmp_path, ["text", "n"], ["one_x000D_\ntwo", 1])
    assert document.text == "one\ntwo"


def test_a_formula_that_was_never_computed_is_no_empty_text(tmp_path: Path) -> None:
    documents, (rejection,) = read_rows(tmp_path, ["text", "n"], ["words", 1], ['="made of "&B2', 2])
    assert [one.text for one in documents] == ["words"]
    assert not isinstance(rejection, BlankRow)
    assert rejection.line == 3
    assert "never computed" in rejection.reason


def computed(data: bytes, cell: str) -> bytes:
    """The workbook, as Excel saves a cell whose formula came to an empty text."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        files = {name: package.read(name) for name in package.namelist()}
    name = "xl/worksheets/sheet1.xml"
    files[name] = files[name].replace(f'<c r="{cell}">'.encode(), f'<c r="{cell}" t="str">'.encode())
    assert b't="str"' in files[name]
    return office.packed(files)


def test_a_formula_that_came_to_an_empty_text_is_an_empty_text(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    for row in (["text", "n"], ["words", 1], ['=IF(B3>1,"","x")', 2], [None, 3]):
        workbook.active.append(row)
    _, rejections = read_as(tmp_path, "a.xlsx", computed(office.saved(workbook.save), "A3"))
    assert [(one.line, type(one)) for one in rejections] == [(3, BlankRow), (4, BlankRow)]


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (ReadOptions(), {2}),
        (ReadOptions(text_column="note"), {3}),
        (ReadOptions(template="{text}{note}"), {2, 3}),
    ],
)
def test_rows_without_a_formula_in_their_text_are_only_blank(
    tmp_path: Path, options: ReadOptions, lines: set[int]
) -> None:
    workbook = openpyxl.Workbook()
    other = workbook.create_sheet()
    for row in (
        ["text", "note", "n", "id"],
        ["=D2", None, 1, 2],
        [None, "=D3", 2, 3],
        [None, None, "=D4", 4],
        [None, None, 4, 5],
    ):
        workbook.active.append(row)
    for row in (["text", "note", "n", "id"], [None, None, 1, 2], [None, None, "=D3", 3]):
        other.append(row)
    _, rejections = read_as(tmp_path, "a.xlsx", office.saved(workbook.save), options)
    assert len(rejections) == 6
    assert [one.line for one in rejections if "never computed" in one.reason] == sorted(lines)


def test_a_cell_with_a_long_attribute_costs_no_time() -> None:
    """Each of what looks like its name was tried with all of the rest."""
    assert _UNCOMPUTED.search(b"<c x='" + b' r="A1"' * 150_000 + b"'><v>1</v></c>") is None


def test_formulas_are_found_wherever_a_long_sheet_is_divided(tmp_path: Path) -> None:
    formula = f'="{"x" * 400}"'
    _, rejections = read_rows(tmp_path, ["text", "n"], *([formula, number] for number in range(8_000)))
    assert len(rejections) == 8_000
    assert all("never computed" in one.reason for one in rejections)
