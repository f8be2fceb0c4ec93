"""Which row of a table names its columns: the first, one below a title, or none that is only like one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import read_as

FIELDS = [
    ["Field", "Type"],
    ["id", "number"],
    ["body", "text", "the body of the ticket"],
    ["title", "text", "its title"],
]
HEADER = ["id", "text", "who"]
ROW = [1, "words", "Ada"]


def read_sheet(folder: Path, rows: list[list[Any]]) -> tuple[list[str], list[str]]:
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    documents, rejections = read_as(folder, "a.xlsx", office.saved(workbook.save))
    return [one.text for one in documents], [one.reason for one in rejections]


def read_csv(folder: Path, content: str) -> tuple[list[str], list[str]]:
    documents, rejections = read_as(folder, "a.csv", content)
    return [one.text for one in documents], [one.reason for one in rejections]


@pytest.mark.parametrize(
    "above",
    [
        [["Content"]],
        [["Text"], ["of 2024"]],
        [["Report"], [], ["by", "Ada"]],
        [["by", datetime(2024, 5, 1)]],
        [[None, "Report"], [None, "made by Ada"], []],
        [["Customer:", "ACME"], ["Date:", datetime(2024, 1, 1)], ["Total: ", 7], []],
        [["Invoice"], [], ["Customer:", None, "ACME"], ["Address:", None, "Street 1\nLondon"], ["paid"], [], []],
    ],
)
def test_a_header_of_a_sheet_below_a_title(tmp_path: Path, above: list[list[Any]]) -> None:
    assert read_sheet(tmp_path, [*above, HEADER, ROW]) == (["words"], [])


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (FIELDS, "'Field', 'Type'"),
        ([FIELDS[0], *FIELDS[2:]], "'Field', 'Type'"),
        ([["name", "price", "note"], ["tea", "text", "x", "y"], ["a", "b", "c", "d"]], "'name', 'price', 'note'"),
        ([["Report"], ["name", "price"], ["tea", "seven"], HEADER, ROW], "'name', 'price'"),
        ([["by:", "Ada"], ["Report"], HEADER, ROW], "'by:', 'Ada'"),
        ([["by:", "Ada"], ["on:", "Monday"], HEADER, ROW], "'by:', 'Ada'"),
        ([["by:", "Ada"], ["on:", "Monday"], [], HEADER], "'by:', 'Ada'"),
        ([["by:", "Ada"], ["on:", "Monday"], [], HEADER, [*ROW, "x"]], "'by:', 'Ada'"),
        ([["by:", "Ada"], ["on:", "Monday"], [], ["id", "text"], [1, "words"]], "'by:', 'Ada'"),
        ([["Name", "Price"], ["Tea", 3], ["Milk", 2], [], HEADER, ROW], "'Name', 'Price'"),
        ([["Customer", "ACME"], ["Date:", 7], [], HEADER, ROW], "'Customer', 'ACME'"),
        ([*FIELDS[:2], [], *FIELDS[2:]], "'Field', 'Type'"),
        ([["Report"], ["body", 7, "x"], ["title", "x", "y"]], "'Report'"),
        ([["Report"], ["body", "2024-05-01", "x"], ["title", "x", "y"]], "'Report'"),
        ([["Report"], ["text", "x", "X"], ["a", "b", "c"]], "'Report'"),
        ([["Report"], ["text", "so long " * 10], ["a", "b"]], "'Report'"),
        ([["Report"], ["text", "two\nlines"], ["a", "b"]], "'Report'"),
    ],
)
def test_a_row_of_a_sheet_that_only_holds_such_a_word_is_no_header(
    tmp_path: Path, rows: list[list[Any]], found: str
) -> None:
    texts, (reason,) = read_sheet(tmp_path, rows)
    assert not texts
    assert f"found {found};" in reason


def test_a_sheet_of_one_column_has_its_header_in_the_first_row(tmp_path: Path) -> None:
    rows = [["text"], ["one"], ["two", "a note"], ["Text", "text", 3]]
    assert read_sheet(tmp_path, rows)[0] == ["one", "two", "Text"]


@pytest.mark.parametrize(
    "above",
    [
        "Content\n",
        "Content;;\n;;\n",
        "Report;;\nby;Ada;\n",
        "made, by, a program\nContent, body, and tone\n",
        "Report\nat 12:30, or later\n",
        "Report\nmade by\rme\n",
        "Customer:;ACME, Inc.\nDate:;2024-01-01\n\n",
        "Invoice;;\nCustomer:;ACME;\nDate:;2024-01-01;\n;;\n",
    ],
)
@pytest.mark.parametrize("row", ["1;words;Ada", '1;words;"Ada\nof London"', '1;words;"Ada; of London"'])
def test_a_header_of_csv_below_a_title(tmp_path: Path, above: str, row: str) -> None:
    assert read_csv(tmp_path, f"{above}id;text;who\n{row}\n") == (["words"], [])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("id;comment\n1;Content, body, and tone matter\n2;Content, body, and tone\n", "'id', 'comment'"),
        ("id;comment\n1;Content,body,tone\n2;Content,body,x\n", "'id', 'comment'"),
        ("comment\nContent, body, and tone matter\nContent, body, and tone\n", "'comment'"),
        ("comment\nContent, body, and tone\nWords, style, and so on\n", "'comment'"),
        ("comment\nContent, body, tone\nWords, style, verse\nAnd a word, or two\n", "'comment'"),
        ("comment\nContent, body, tone\n", "'comment'"),
        ("comment\nbody,text,x\n", "'comment'"),
        ("comment\nbody,text,x\na,b\n", "'comment'"),
        ("comment\nbody,7,x\n1,2,3\n", "'comment'"),
        ("Field,Type\nid,number\nbody,text,the body of the ticket\ntitle,text,its title\n", "'Field', 'Type'"),
        ("title,summary\nfoo\rbar,x\n", "'title', 'summary'"),
    ],
)
def test_a_line_of_csv_that_only_holds_such_a_word_is_no_header(tmp_path: Path, content: str, found: str) -> None:
    texts, (reason,) = read_csv(tmp_path, content)
    assert not texts
    assert f"found {found};" in reason


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("text\nHello, content, world\nContent, body, and tone\n", []),
        ("text, who\nwords, Ada\nContent, body, and tone\n", ["words"]),
        ('text\n"one, two"\n"body, text"\n', ["one, two", "body, text"]),
        ("text\tnote\nContent, body\tx\n", ["Content, body"]),
    ],
)
def test_the_first_line_of_csv_that_names_a_text_is_the_header(tmp_path: Path, content: str, texts: list[str]) -> None:
    found, rejections = read_csv(tmp_path, content)
    assert found == texts
    assert all("the header names" in reason for reason in rejections)


@pytest.mark.parametrize("above", ["", "Report\n", "Report, of 2024\n\n", "by:, Ada\non:, Monday\n\n"])
def test_a_space_behind_each_comma_is_none_of_a_field(tmp_path: Path, above: str) -> None:
    content = f'{above}id, text, "who"\n1, "words, and more", Ada\n2, others,  "Bob ""of"" London"\n'
    documents, rejections = read_as(tmp_path, "a.csv", content)
    assert not rejections
    assert [(one.text, (one.metadata.model_extra or {})["who"]) for one in documents] == [
        ("words, and more", "Ada"),
        ("others", 'Bob "of" London'),
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ('2, "Quote" she said', '"Quote" she said'),
        ('2, "unfinished here', '"unfinished here'),
        ('2, "one" and "two"', '"one" and "two"'),
        ('2, "one, two"', "one, two"),
        ('2, "one ""of"" two"', 'one "of" two'),
        ('2, a 5" disk', 'a 5" disk'),
        ("2,words", "words"),
        ('2,"one, two"', "one, two"),
        ('2,"one,\n, two"', "one,\n, two"),
        ('"2", "one"', "one"),
        ('2,   "one"', "one"),
    ],
)
@pytest.mark.parametrize("above", [1, 25])
def test_a_quote_behind_a_space_is_one_only_around_a_field(tmp_path: Path, above: int, row: str, text: str) -> None:
    content = "id, text\n" + '1, "first, one"\n' * above + f"{row}\n3, last\n"
    if above == 1 and row.startswith("2,") and not row.startswith("2, "):
        # Then not all of the first lines have a space.
        content = content.replace('1, "first, one"', "1, first")
    documents, rejections = read_as(tmp_path, "a.csv", content)
    assert not rejections
    assert [one.text.strip() for one in documents[-2:]] == [text, "last"]
    assert len(documents) == above + 2


def test_spaces_stay_where_not_all_lines_have_them(tmp_path: Path) -> None:
    texts, reasons = read_csv(tmp_path, 'id, text\n1,words\n2, "Quote" she said\n3, "a, b"\n')
    assert texts == ["words", ' "Quote" she said']
    assert reasons == ["has 3 fields, the header names 2"]


def test_a_line_of_many_quotes_costs_no_time(tmp_path: Path) -> None:
    said = ', "a' * 200_000
    (reason,) = read_csv(tmp_path, f"id, text\n1{said}\n")[1]
    assert reason == "has 200001 fields, the header names 2"
