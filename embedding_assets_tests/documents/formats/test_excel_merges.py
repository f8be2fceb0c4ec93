"""Workbooks with merged cells: categories over rows, headers over columns and over two rows."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openpyxl
import pytest
from openpyxl.worksheet.cell_range import CellRange

from embedding_assets.documents.formats.excel_merges import Merged, filled_down, merged_cells
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import read_as


def fields_of(folder: Path, content: bytes, template: str | None = None) -> list[dict[str, Any]]:
    """Text and fields of the rows of a workbook."""
    documents, rejections = read_as(folder, "a.xlsx", content, ReadOptions(template=template))
    assert all("has an empty" in one.reason for one in rejections)
    return [{"text": one.text, **(one.metadata.model_extra or {})} for one in documents]


def merged_book(rows: list[list[Any]], *ranges: str) -> bytes:
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    for one in ranges:
        workbook.active.merge_cells(one)
    return office.saved(workbook.save)


def test_a_value_over_several_rows_is_in_each(tmp_path: Path) -> None:
    rows: list[Any] = [
        ["Teas of 2024"],
        ["kind", "text", "price"],
        ["green", "one", 1],
        [None, "two", 2],
        [],
        [None, "three", 3],
        ["black", "four", 4],
        [None, "five"],
        [None, "six", 6],
    ]
    book = merged_book(rows, "A1:C1", "A3:A6", "C7:C8")
    assert fields_of(tmp_path, book) == [
        {"kind": "green", "text": "one", "price": 1},
        {"kind": "green", "text": "two", "price": 2},
        {"kind": "green", "text": "three", "price": 3},
        {"kind": "black", "text": "four", "price": 4},
        {"text": "five", "price": 4},
        {"text": "six", "price": 6},
    ]


def test_a_text_over_several_rows_is_that_of_each(tmp_path: Path) -> None:
    rows: list[Any] = [["question", "body"], ["who?", "Ada"], ["and who else?", None], ["none", None]]
    found = fields_of(tmp_path, merged_book(rows, "B2:B3"), "{question} {body}")
    assert [one["text"] for one in found] == ["who? Ada", "and who else? Ada", "none"]


def test_a_row_that_is_one_cell_is_no_text(tmp_path: Path) -> None:
    rows: list[Any] = [["kind", "text"], ["Teas", None], ["green", "one"]]
    assert fields_of(tmp_path, merged_book(rows, "A2:B2")) == [{"kind": "green", "text": "one"}]


@pytest.mark.parametrize(
    ("rows", "ranges", "names"),
    [
        ([["text", "price", None, "n"]], ["B1:C1"], ["price", "price_2", "n"]),
        ([["text", "price", None, "n"], [None, "net", "gross", None]], ["B1:C1"], ["price net", "price gross", "n"]),
        (
            [["text", "price", None, "n"], [None, "net", "gross", None]],
            ["A1:A2", "B1:C1", "D1:D2"],
            ["price net", "price gross", "n"],
        ),
        ([["text", "price", "gross", "n"], []], ["A1:A2", "B1:B2", "C1:C2", "D1:D2"], ["price", "gross", "n"]),
    ],
)
@pytest.mark.parametrize("above", [0, 1])
def test_a_header_with_merged_cells(
    tmp_path: Path, rows: list[list[Any]], ranges: list[str], names: list[str], above: int
) -> None:
    merged = [CellRange(one) for one in ranges]
    for one in merged:
        one.shift(row_shift=above)
    book = merged_book([*[["Report"]] * above, *rows, ["one", 1, 2, 3]], *(one.coord for one in merged))
    assert fields_of(tmp_path, book) == [{"text": "one", **dict(zip(names, (1, 2, 3), strict=True))}]


def test_a_second_row_that_would_rename_the_text_is_none_of_the_header(tmp_path: Path) -> None:
    rows: list[Any] = [["id", "text", None], [None, "English", "German"], [1, "one", "eins"]]
    assert fields_of(tmp_path, merged_book(rows, "B1:C1"))[-1] == {"id": 1, "text": "one", "column_3": "eins"}


@pytest.mark.parametrize(
    ("rows", "ranges", "texts"),
    [
        (
            [["text"], ["First rule"], ["Second"], ["Third"]],
            ["A1:C1", "A2:C2", "A3:C3"],
            ["First rule", "Second", "Third"],
        ),
        ([["id", "text", None], [None, "Untitled"], [1, "one"]], ["B1:C1"], ["Untitled", "one"]),
        ([["id", "text", None], [None, "Untitled", "x"], [1, "one"]], ["B1:C1"], ["Untitled", "one"]),
        (
            [["id", "text", None, "Legend: P = planned"], [1, "one"], [2, "two"], [3, "three"], [4, "four"]],
            ["D1:D4"],
            ["one", "two", "three", "four"],
        ),
        ([["text", "price", None], ["one", "net", "gross"], ["two", 1, 2]], ["B1:C1"], ["one", "two"]),
        ([["text", "price", None], ["one", "net", "gross"], ["two", 1, 2]], ["A1:A2", "B1:C1"], ["one", "two"]),
    ],
)
def test_a_row_with_a_text_is_none_of_the_header(
    tmp_path: Path, rows: list[list[Any]], ranges: list[str], texts: list[str]
) -> None:
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    # Merging empties the cells, which other programs leave filled.
    workbook.active.merged_cells.ranges = [CellRange(one) for one in ranges]
    documents, rejections = read_as(tmp_path, "a.xlsx", office.saved(workbook.save))
    assert [one.text for one in documents] == texts
    assert not rejections


@pytest.mark.parametrize("below", [[None, "net"], [None, 1, 2], [None, "net", "gross", "x"]])
def test_what_may_be_a_row_of_data_is_none_of_the_header(tmp_path: Path, below: list[Any]) -> None:
    rows: list[Any] = [["text", "price", None, "n"], below, ["one", 1, 2, 3]]
    documents, rejections = read_as(tmp_path, "a.xlsx", merged_book(rows, "B1:C1"))
    assert [one.line for one in rejections] == [2]
    assert documents[0].metadata.model_extra == {"price": 1, "price_2": 2, "n": 3}


def test_merged_cells_are_found_wherever_a_long_sheet_is_divided() -> None:
    data = b"<row>" + b"<c>x</c>" * 131_000 + b'<mergeCell ref="B2:AC7"/>' * 50_000
    for shift in range(0, 60, 7):
        sheet = SimpleNamespace(_get_source=lambda shift=shift: io.BytesIO(b" " * shift + data))
        assert merged_cells(sheet) == [Merged(2, 2, 7, 29)] * 50_000


def test_merged_cells_do_not_multiply_a_sheet(caplog: pytest.LogCaptureFixture) -> None:
    rows: list[Any] = [(number, ["x" * 30_000 if number == 1 else None, "y"]) for number in range(1, 2_000)]
    texts = [cells[0] for _, cells in filled_down(rows, [Merged(1, 1, 2_000, 1)], "a.xlsx")]
    assert sum(len(text or "") for text in texts) < 11_000_000
    [record] = caplog.records
    assert record.getMessage().endswith("are not from row 335 on")


def test_merged_cells_do_not_widen_a_sheet() -> None:
    rows: list[Any] = [(number, ["x"]) for number in range(1, 3_000)]
    wide: list[Any] = [(number, ["x"] * 16_000 if number == 1 else ["x"]) for number in range(1, 3_000)]
    empty = [Merged(1, column, 1_048_576, column) for column in range(1, 5_000)]
    assert {len(cells) for _, cells in filled_down(rows, empty, "a.xlsx")} == {1}
    many = [Merged(1, column, 1_048_576, column) for column in range(1, 5_000)]
    assert sum(cells[1:].count("x") for _, cells in islice(filled_down(wide, many, "a.xlsx"), 1, None)) < 20_000
    filled = [cells for _, cells in filled_down(wide, [Merged(1, 16_000, 1_048_576, 16_000)], "a.xlsx")]
    assert [cells[-1] for cells in filled] == ["x"] * len(filled)
    assert len(filled[1]) == 16_000
    assert sum(map(len, filled[1:])) < 11_000_000
