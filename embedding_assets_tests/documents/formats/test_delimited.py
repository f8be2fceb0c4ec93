"""CSV as programs export it: lines above the header, line ends of old Macs."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets.documents.formats import tab_rows
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets_tests.support.formats import read_as


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_may_end_as_on_old_macs(tmp_path: Path, encoding: str) -> None:
    rows = "".join(f'"row\r{number}",{number}\r' for number in range(5_000))
    documents, rejections = read_as(tmp_path, "a.csv", f"text,n\r{rows}".encode(encoding))
    assert not rejections
    assert [one.text for one in documents] == [f"row\n{number}" for number in range(5_000)]


@pytest.mark.parametrize(
    "above", ["Report 2024\n\n", "Report 2024;;;\n;;;\n", "Report, of 2024\n", "# made, by, a program\nat;noon\n"]
)
def test_a_header_may_stand_below_a_title(tmp_path: Path, above: str, caplog: pytest.LogCaptureFixture) -> None:
    documents, (rejection,) = read_as(tmp_path, "a.csv", f"{above}text;a;b;c\none;1;2;3\n1;2;3;4;5\n")
    assert [(one.text, one.metadata.model_extra) for one in documents] == [("one", {"a": "1", "b": "2", "c": "3"})]
    assert rejection.line == above.count("\n") + 3
    assert "above the header" in caplog.text


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("name,price\ntea,text\n", "'name', 'price'"),
        ("name\ntext\nwords\n", "'name'"),
        ("Report\nname,price\ntea,7\n", "'name', 'price'"),
    ],
)
def test_rows_of_another_table_are_no_header(tmp_path: Path, content: str, found: str) -> None:
    documents, (rejection,) = read_as(tmp_path, "a.csv", content)
    assert not documents
    assert f"found {found};" in rejection.reason


def test_a_header_over_several_lines_is_no_title(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.csv", '"name\nof it",text\ntea,words\n')
    assert (document.text, document.metadata.model_extra) == ("words", {"name\nof it": "tea"})


def test_a_named_column_is_looked_for_below_a_title(tmp_path: Path) -> None:
    content = "text\nid,answer\n1,words\n"
    (document,), _ = read_as(tmp_path, "a.csv", content, ReadOptions(text_column="answer"))
    assert document.text == "words"


def rows_of(folder: Path, content: str) -> list[tuple[str, ...]]:
    documents, _ = read_as(folder, "a.tsv", content)
    return [(one.text, *(one.metadata.model_extra or {}).values()) for one in documents]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ('"multi\nline"\t1\nx\t2\n', [("multi\nline", "1"), ("x", "2")]),
        ('"one\n\nhe said ""two""\nthree"\t1\n', [('one\n\nhe said "two"\nthree', "1")]),
        ('x\t"of\ntwo"\n"y\nz"\t"3"\n', [("x", "of\ntwo"), ("y\nz", "3")]),
        ('"never closed\t1\nx\t2\n', [('"never closed', "1"), ("x", "2")]),
        ('"open\nx\t2\nclosed"\t3\n', [('"open',), ("x", "2"), ('closed"', "3")]),
        ('x\t"Hello\ny\tworld"\n', [("x", '"Hello'), ("y", 'world"')]),
        ('5"\t1\n6"\t2\n', [('5"', "1"), ('6"', "2")]),
        ('"open\nand "so\t1\n', [('"open',), ('and "so', "1")]),
    ],
)
def test_only_fields_over_several_lines_may_be_quoted_between_tabs(
    tmp_path: Path, rows: str, found: list[tuple[str, ...]]
) -> None:
    assert rows_of(tmp_path, f"text\tn\n{rows}") == found


def test_an_opened_quote_does_not_hold_the_rest_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tab_rows, "MAX_WRITING_CHARACTERS", 10)
    records = ((number, [text]) for number, text in enumerate(['"open', "12345", "67890", 'closed"'], start=1))
    assert next(tab_rows.whole_rows(records)) == (1, ['"open'])
    assert list(records) == [(4, ['closed"'])]
