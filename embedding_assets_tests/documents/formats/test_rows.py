from __future__ import annotations

import csv
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl.styles import Font

from embedding_assets.documents.lines import MAX_LINE_CHARACTERS
from embedding_assets_tests.support.formats import read_as
from embedding_assets_tests.support.reading import BAD_UTF8, read


def test_csv_rows_over_several_lines_keep_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream)
        writer.writerows([["text ", "n"], ["one\ntwo", "1"], ["x" * 200_000, ""], ['quoted "word"', "3"], [" ", "4"]])

    documents, rejections = read(path)

    assert [one.line for one in rejections] == [6]
    assert [one.text for one in documents] == ["one\ntwo", "x" * 200_000, 'quoted "word"']
    assert {one.metadata.source for one in documents} == {path.as_posix()}
    assert [one.metadata.model_dump().get("n") for one in documents] == ["1", None, "3"]


def test_columns_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,note,note,text,note_2\nfirst,n1,n2,second,n3\n")
    (document,), _ = read(tmp_path)
    assert document.text == "first"
    assert document.metadata.model_extra == {"note": "n1", "note_2": "n2", "text_2": "second", "note_2_2": "n3"}


def test_delimiters_at_the_end_of_rows_are_no_fields(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,note\none,1,\ntwo,2,,\nthree,3,x\n")
    documents, (rejection,) = read(tmp_path)
    assert [one.text for one in documents] == ["one", "two"]
    assert (rejection.line, rejection.reason) == (4, "has 3 fields, the header names 2")


def test_columns_of_csv_without_a_name_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,,n,\nwords,b,1,d, \n")
    (document,), _ = read(tmp_path)
    assert document.metadata.model_extra == {"column_2": "b", "n": "1", "column_4": "d"}


def test_cells_that_are_only_styled_are_no_columns(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    for row in (["text"], ["words"]):
        workbook.active.append(row)
    for cell in ("F1", "H2"):
        workbook.active[cell].font = Font(bold=True)
    workbook.save(tmp_path / "a.xlsx")
    (document,), _ = read(tmp_path)
    assert document.metadata.model_extra == {}


def test_a_text_called_as_something_that_a_document_has_is_no_field(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("position,origin\nAbove the door.,here\n")
    (document,), _ = read(tmp_path, text_column="position")
    assert document.text == "Above the door."
    assert document.metadata.model_extra == {"origin_fields": "here"}


def test_columns_of_excel_without_a_name_are_kept(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    for row in (["text", None, "n"], ["words", "b", 1, "d"]):
        workbook.active.append(row)
    workbook.save(tmp_path / "a.xlsx")
    (document,), _ = read(tmp_path)
    assert document.metadata.model_extra == {"column_2": "b", "n": 1, "column_4": "d"}


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = ["one", None, " ", "a\x00", "x" * (MAX_LINE_CHARACTERS + 1), "six"]
    days = [date(2026, 1, day) for day in range(1, 7)]
    pq.write_table(pa.table({"text": texts, "day": days, "raw": [b"\x00"] * 6, "rate": [float("nan")] * 6}), path)

    documents, rejections = read(path)

    assert [one.metadata.model_dump() for one in documents] == [
        {
            "source": path.as_posix(),
            "title": "a",
            "origin": path.as_posix(),
            "day": f"2026-01-0{row}",
        }
        for row in (1, 6)
    ]
    assert [(one.line, one.reason) for one in rejections] == [
        (2, "has an empty 'text'"),
        (3, "has an empty or blank 'text'"),
        (4, "contains a NUL character in 'text'"),
        (5, "is longer than 1,000,000 characters that form no words"),
    ]


def test_the_index_of_pandas_is_no_field(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one"], "n": [1], "__index_level_0__": [7]}), tmp_path / "a.parquet")
    (document,), _ = read(tmp_path)
    assert document.metadata.__pydantic_extra__ == {"n": 1}


def test_parquet_without_rows_or_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"number": [1]}), tmp_path / "b.parquet")
    documents, (no_rows, no_text) = read(tmp_path)
    assert not documents
    assert no_rows.reason == "has no rows"
    assert "found 'number'" in no_text.reason


def test_parquet_values_that_are_no_python_values_cost_only_their_row(tmp_path: Path) -> None:
    raw = pa.array([b"one", BAD_UTF8, b"three"])
    text = pa.StringArray.from_buffers(3, *raw.buffers()[1:])
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    documents, rejections = read(tmp_path)
    assert [one.text for one in documents] == ["one", "three"]
    assert [(one.line, one.reason) for one in rejections] == [(2, "is not valid UTF-8")]


def test_days_beyond_the_year_9999_are_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = {
        "text": ["one", "two"],
        "day": pa.array([0, 4_000_000], pa.date32()),
        "when": pa.array([0, 253_402_300_800_000], pa.timestamp("ms")),
        "never": pa.array([0, 2**60], pa.timestamp("ms")),
        "away": pa.array([1, 2], pa.timestamp("ms", "Mars/Phobos")),
        "twice": pa.StructArray.from_arrays([pa.array([1, 1]), pa.array([2, 2])], names=["n", "n"]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")

    documents, rejections = read(tmp_path)

    assert not rejections
    assert [one.metadata.model_extra for one in documents] == [
        {
            "day": "1970-01-01",
            "when": "1970-01-01 00:00:00",
            "never": "1970-01-01 00:00:00",
            "away": "1970-01-01 00:00:00.001+00:00",
        },
        {"day": "12921-08-18", "when": "10000-01-01 00:00:00.000", "away": "1970-01-01 00:00:00.002+00:00"},
    ]
    left_out = [record.__dict__["field"] for record in caplog.records if "cannot be read" in record.message]
    assert sorted(left_out) == ["never", "twice"]


def test_a_text_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([2**60], pa.timestamp("ms")), "n": [1]}), tmp_path / "a.parquet")
    documents, (rejection,) = read(tmp_path, text_column="text")
    assert not documents
    assert rejection.reason.startswith("has no column 'text'")


def test_columns_of_parquet_and_arrow_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    columns = [pa.array([value]) for value in ("one", "x", 2, "y")]
    table = pa.table(columns, names=["text", "n", "n", ""])
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "b.arrow", table.schema) as writer:
        writer.write_table(table)
    documents, rejections = read(tmp_path)
    assert not rejections
    assert [one.metadata.model_extra for one in documents] == [{"n": "x", "n_2": 2, "column_4": "y"}] * 2


def test_a_number_is_a_text_where_its_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": 404}\n{"text": 1.5}\n{"text": true}\n')
    _, rejections = read(path)
    assert {one.reason for one in rejections} == {"has a 'text' that is not a string"}
    documents, (rejection,) = read(path, text_column="text")
    assert [one.text for one in documents] == ["404", "1.5"]
    assert rejection.line == 3


def test_parquet_damaged_inside_keeps_what_precedes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{number} {os.urandom(50).hex()}" for number in range(2000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000, use_dictionary=False)
    offset = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 200] = b"\xff" * 200
    path.write_bytes(data)

    documents, (rejection,) = read(path)

    assert [one.text for one in documents] == texts[: len(documents)]
    assert rejection.reason in {"is followed by damage", "is not a readable Parquet file"}


def test_json_lines_and_json_may_be_called_like_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "one"}\n{"text": "two"}\nx\n')
    (tmp_path / "b.jsonl").write_text(' [{"text": "three"},\n {"text": "four"}]\n')
    (tmp_path / "c.json").write_text('{\n  "text": "five"\n}\n{')
    documents, rejections = read(tmp_path)
    assert [one.text for one in documents] == ["one", "two", "three", "four"]
    assert [(Path(one.source).name, one.line) for one in rejections] == [("a.json", 3), ("c.json", 4)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (["one", {"type": "text", "text": "two"}], "one\ntwo"),
        ([{"type": "text", "text": "one", "annotations": [1]}, {"type": "text", "text": "two"}], "one\ntwo"),
    ],
)
def test_a_text_in_parts_is_put_together(tmp_path: Path, text: list[Any], said: str) -> None:
    (document,), _ = read_as(tmp_path, "a.json", json.dumps([{"text": text}]))
    assert document.text == said


@pytest.mark.parametrize(
    "text",
    [
        ["The", "cat"],
        [{"type": "image"}],
        [1, 2],
        [],
        [{"type": "text", "text": "one"}, {"type": "tool_result", "content": [{"type": "text", "text": "two"}]}],
        [{"type": "text", "text": "one"}, {"type": "code", "content": "rm -r build"}],
        ["one", "two", {"type": "link", "text": "three"}],
        [{"type": "text", "text": "one"}, {"type": "text", "text": {"value": "two"}}],
        [{"type": "text", "text": "one"}, None],
        [{"text": "one"}],
    ],
)
def test_a_list_of_other_things_is_no_text(tmp_path: Path, text: list[Any]) -> None:
    documents, (rejection,) = read_as(tmp_path, "a.json", json.dumps([{"text": text}]))
    assert not documents
    assert rejection.reason == "has a 'text' that is not a string"
