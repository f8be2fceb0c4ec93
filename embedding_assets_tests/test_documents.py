from __future__ import annotations

import csv
import json
import os
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedding_assets.documents import (
    MAX_LINE_CHARACTERS,
    Document,
    Rejection,
    markdown_headings,
    markdown_title,
    read_documents,
)
from embedding_assets.errors import DocumentError


def read(*paths: Path, text_column: str | None = None) -> tuple[list[Document], list[Rejection]]:
    rejections: list[Rejection] = []
    documents = list(read_documents(paths, text_column=text_column, on_reject=rejections.append))
    return documents, rejections


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def nested(depth: int) -> bytes:
    return b'{"text": "sesame", "deep": ' + b"[" * depth + b"]" * depth + b"}\n"


GOOD = b'{"text": "good"}\n'
LONG = b"x" * (MAX_LINE_CHARACTERS + 1)
HUGE = b"x" * 10_000_000
BAD_UTF8 = b"\xff\xfe"
SECRET = "sesame"


@pytest.mark.parametrize(
    ("name", "content", "line", "reason", "good"),
    [
        # Text and Markdown: the file as a whole.
        ("a.txt", b"", None, "is empty", 0),
        ("a.txt", b" \n\t\n", None, "is empty or blank", 0),
        ("a.md", b"\xef\xbb\xbf", None, "is empty", 0),
        ("a.txt", b"one\ntwo\x00\n", 2, "contains a NUL character", 0),
        ("a.txt", b"one\r\ntwo\r\n" + BAD_UTF8, 3, "is not valid UTF-8", 0),
        ("a.txt", b"a\xed\xa0\x80", 1, "is not valid UTF-8", 0),
        ("a.txt", b"one\n" + LONG, 2, "is longer than 1,000,000 characters", 0),
        ("a.txt", b"one\n" + HUGE + b"\nthree", 2, "is longer than 1,000,000 characters", 0),
        # JSONL: the row.
        ("a.jsonl", b"", None, "is empty", 0),
        ("a.jsonl", b"\n \n", None, "has no rows", 0),
        ("a.jsonl", GOOD + jsonl({"text": ""}) + GOOD, 2, "has an empty or blank 'text'", 2),
        ("a.jsonl", GOOD + jsonl({"text": " \n"}) + GOOD, 2, "has an empty or blank 'text'", 2),
        ("a.jsonl", GOOD + jsonl({"text": None}) + GOOD, 2, "has an empty 'text'", 2),
        ("a.jsonl", GOOD + jsonl({"text": 7}) + GOOD, 2, "has a 'text' that is not a string", 2),
        ("a.jsonl", GOOD + jsonl({"text": [SECRET]}) + GOOD, 2, "has a 'text' that is not a string", 2),
        ("a.jsonl", GOOD + jsonl({"text": "sesame\x00"}) + GOOD, 2, "contains a NUL character in 'text'", 2),
        (
            "a.jsonl",
            GOOD + jsonl({"text": "sesame\ud800"}) + GOOD,
            2,
            "contains a lone surrogate, which is not valid Unicode, in 'text'",
            2,
        ),
        ("a.jsonl", GOOD + b'{"text": "sesame' + BAD_UTF8 + b'"}\n' + GOOD, 2, "is not valid UTF-8", 2),
        ("a.jsonl", GOOD + b'{"text": sesame}\n' + GOOD, 2, "is not valid JSON: Expecting value at column 10", 2),
        ("a.jsonl", GOOD + b'["sesame"]\n' + GOOD, 2, "is not a JSON object", 2),
        ("a.jsonl", GOOD + b'{"text": "sesame", "n": ' + b"9" * 5000 + b"}\n" + GOOD, 2, "is JSON with a number", 2),
        ("a.jsonl", GOOD + b'{"text": ' + b"[" * 200_000 + b"\n" + GOOD, 2, "is nested too deeply", 2),
        ("a.jsonl", GOOD + nested(300) + GOOD, 2, "is nested too deeply", 2),
        ("a.jsonl", GOOD + nested(700) + GOOD, 2, "is nested too deeply", 2),
        ("a.jsonl", GOOD + b'{"text": "' + HUGE + b'"}\n' + GOOD, 2, "is longer than 1,000,000 characters", 2),
        (
            "a.jsonl",
            GOOD + jsonl({"body ": SECRET}) + GOOD,
            2,
            "found 'body '; name the one with the text by --text",
            2,
        ),
        ("a.jsonl", GOOD + jsonl({}) + GOOD, 2, "found none", 2),
        (
            "a.jsonl",
            GOOD + jsonl({"text": SECRET, "chunk_hash": "ABCD"}) + GOOD,
            2,
            "has a chunk_hash that is not low",
            2,
        ),
        ("a.jsonl", GOOD + jsonl({"text": SECRET, "chunk_hash": "a"}) + GOOD, 2, "has a chunk_hash that is not low", 2),
        (
            "a.jsonl",
            GOOD + jsonl({"text": SECRET, "source": ["x"]}) + GOOD,
            2,
            "has a 'source' that is not a string",
            2,
        ),
        ("a.jsonl", GOOD + jsonl({"text": SECRET, "tag": "\x00"}) + GOOD, 2, "contains a NUL character in 'tag'", 2),
        ("a.jsonl", GOOD + jsonl({"text": SECRET, "x\x00": 1}) + GOOD, 2, "contains a NUL character in 'x\\x00'", 2),
        (
            "a.jsonl",
            GOOD + jsonl({"text": SECRET, "tag": {"deep": ["\udfff"]}}) + GOOD,
            2,
            "contains a lone surrogate, which is not valid Unicode, in 'tag'",
            2,
        ),
        # CSV and TSV: the row, also where rows take several lines.
        ("a.csv", b"", None, "is empty", 0),
        ("a.csv", b"\n", None, "has no rows", 0),
        ("a.csv", b"text\n", None, "has no rows", 0),
        ("a.csv", b"text\n" + BAD_UTF8 + b"\ngood\n", 2, "is not valid UTF-8", 1),
        ("a.csv", BAD_UTF8 + b"text\ngood\n", 1, "is not valid UTF-8", 0),
        ("a.csv", b'n,text\n"two\nlines",good\n2,\n3,good\n', 4, "has an empty or blank 'text'", 2),
        ("a.csv", b"n,text\n1\n2,good\n", 2, "has an empty 'text'", 1),
        ("a.csv", b"text,n\ngood,1\nsesame,2,3\ngood,4\n", 3, "has 3 fields, the header names 2", 2),
        ("a.csv", b'text\ngood\n"sesame"x\ngood\n', 3, "is not valid CSV: ',' expected after '\"'", 2),
        ("a.csv", b'text\ngood\n"sesame\ngood\n', 3, "is not valid CSV: unexpected end of data", 1),
        ("a.csv", b"text\nses\x00ame\ngood\n", 2, "contains a NUL character in 'text'", 1),
        ("a.csv", b"text\n" + HUGE + b"\ngood\n", 2, "is longer than 1,000,000 characters", 1),
        ("a.csv", b'text\n"' + HUGE + b'\ntail"\ngood\n', 2, "is longer than 1,000,000 characters", 1),
        ("a.csv", b'text\n"head\n' + HUGE + b'"\ngood\n', 2, "is longer than 1,000,000 characters", 1),
        ("a.csv", HUGE + b"\ngood\n", 1, "is longer than 1,000,000 characters", 0),
        (
            "a.csv",
            b"text,n\n" + b'"' + (b"x" * 600_000 + b"\n") * 4 + b'",1\ngood,2\n',
            2,
            "is longer than 1,000,000 ch",
            1,
        ),
        ("a.csv", b"a,b\nsesame,2\nsesame,3\n", 1, "found 'a', 'b'; name the one with the text by --text-column", 0),
        ("a.tsv", b"text\tn\ngood\t1\n\t2\n", 3, "has an empty or blank 'text'", 1),
        # Parquet.
        ("a.parquet", b"", None, "is empty", 0),
        ("a.parquet", b"PAR1sesamePAR1", None, "is not a readable Parquet file", 0),
        ("a.parquet", b"sesame" * 1000, None, "is not a readable Parquet file", 0),
    ],
)
def test_bad_input_is_rejected_by_file_and_line_and_the_rest_goes_on(
    tmp_path: Path, name: str, content: bytes, line: int | None, reason: str, good: int
) -> None:
    path = written(tmp_path / name, content)
    after = written(tmp_path / "z.txt", "the next file")

    documents, (rejection,) = read(path, after)

    assert (rejection.source, rejection.line) == (path.as_posix(), line)
    assert reason in rejection.reason
    assert SECRET not in str(rejection)
    assert [one.text for one in documents] == ["good"] * good + ["the next file"]


def test_a_rejection_reads_as_a_place_and_a_reason() -> None:
    assert str(Rejection("/a/b.csv", 7, "is empty")) == "/a/b.csv:7: is empty"
    assert str(Rejection("/a/b.csv", None, "is empty")) == "/a/b.csv: is empty"


def test_text_and_markdown(tmp_path: Path) -> None:
    plain = written(tmp_path / "notes.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    marked = written(tmp_path / "guide.md", "intro\n\n# The *first* `heading`\n\nbody\n")
    bare = written(tmp_path / "bare.markdown", "no heading\n")

    documents, rejections = read(plain, marked, bare)

    assert not rejections
    assert [(one.text, one.markdown, one.metadata.title) for one in documents] == [
        ("one\ntwo\nthree\n", False, "notes"),
        ("intro\n\n# The *first* `heading`\n\nbody\n", True, "The first heading"),
        ("no heading\n", True, "bare"),
    ]
    assert [one.metadata.source for one in documents] == [path.as_posix() for path in (plain, marked, bare)]
    assert all(one.file_digest == "" and one.chunk_hash is None for one in documents)


def test_a_row_brings_its_own_fields(tmp_path: Path) -> None:
    row = {
        "content": "kept\r\nwhole",
        "source": "https://example.org/1",
        "title": "A title",
        "id": 7,
        "tags": ["a", {"b": None}],
        "rate": float("inf"),
        "ok": True,
        "none": None,
        "digest": "row's",
        "origin": "row's",
        "embedding": [0.5],
        "token_count": 3,
    }
    path = written(tmp_path / "a.ndjson", b"\xef\xbb\xbf" + jsonl(row))

    (document,), rejections = read(path)

    assert not rejections
    assert document.text == "kept\nwhole"
    assert not document.markdown
    assert document.context_header == "A title"
    assert document.metadata.model_dump() == {
        "source": "https://example.org/1",
        "title": "A title",
        "origin": path.as_posix(),
        "id": 7,
        "tags": ["a", {"b": None}],
        "ok": True,
        "digest": "row's",
    }


def test_a_row_is_named_by_source_or_id_or_file(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        jsonl({"text": "a", "source": "mine"}, {"text": "b", "id": "x"}, {"text": "c", "source": ""}),
    )
    documents, _ = read(path)
    assert [one.metadata.source for one in documents] == ["mine", f"{path.as_posix()}#x", path.as_posix()]
    assert [one.metadata.title for one in documents] == ["a", "a", "a"]
    assert [one.context_header for one in documents] == ["", "", ""]


def test_a_row_that_is_a_chunk_keeps_hash_and_header(tmp_path: Path) -> None:
    row = {"chunk_text": "text", "chunk_hash": "00ff", "context_header": "A > B", "title": "T"}
    (document,), _ = read(written(tmp_path / "a.jsonl", jsonl(row)))
    assert (document.chunk_hash, document.context_header, document.metadata.title) == ("00ff", "A > B", "T")


@pytest.mark.parametrize(
    ("row", "column", "text"),
    [
        ({"body": "4", "content": "3", "text": "2", "chunk_text": "1"}, None, "1"),
        ({"body": "4", "text": None}, None, "4"),
        ({"body": "4", "text": "2"}, "body", "4"),
        ({"abstract": "5", "text": "2"}, "abstract", "5"),
    ],
)
def test_which_field_is_the_text(tmp_path: Path, row: dict[str, str], column: str | None, text: str) -> None:
    (document,), _ = read(written(tmp_path / "a.jsonl", jsonl(row)), text_column=column)
    assert document.text == text


def test_a_column_that_is_named_but_missing_is_reported_with_what_there_is(tmp_path: Path) -> None:
    names = [f"column{number}" for number in range(30)]
    path = written(tmp_path / "a.csv", ",".join(names) + "\n" + ",".join(names) + "\n")
    documents, (rejection,) = read(path, text_column="abstract")
    assert not documents
    assert rejection.reason.startswith("has no column 'abstract'; found 'column0', 'column1'")
    assert "…" in rejection.reason


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


def test_a_line_of_wide_characters_is_measured_in_characters(tmp_path: Path) -> None:
    fits = written(tmp_path / "a.txt", "語" * MAX_LINE_CHARACTERS + "\n")
    too_long = written(tmp_path / "b.txt", "語" * (MAX_LINE_CHARACTERS + 1) + "\n")
    documents, rejections = read(fits, too_long)
    assert [one.metadata.title for one in documents] == ["a"]
    assert [str(one) for one in rejections] == [f"{too_long.as_posix()}:1: is longer than 1,000,000 characters"]


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
        (5, "is longer than 1,000,000 characters"),
    ]


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
    when = pa.array([0, 2**60], pa.timestamp("ms"))
    pq.write_table(pa.table({"text": ["one", "two"], "when": when}), tmp_path / "b.parquet")

    documents, rejections = read(tmp_path)

    assert [one.text for one in documents] == ["one", "three", "one"]
    assert [(one.line, one.reason) for one in rejections] == [
        (2, "is not valid UTF-8"),
        (2, "holds a value that is out of range"),
    ]


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


def test_folders_are_walked_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b/2.md", "b/1.TXT", "a.rst", "c.text", ".hidden.md", ".git/x.md", "image.png", "b/.x/y.md"):
        written(tmp_path / name, name)
    (tmp_path / "loop").symlink_to(tmp_path)

    documents, rejections = read(tmp_path, tmp_path / "a.rst")

    assert not rejections
    assert [one.text for one in documents] == ["a.rst", "b/1.TXT", "b/2.md", "c.text"]


def test_a_folder_with_nothing_to_read_says_so(tmp_path: Path) -> None:
    written(tmp_path / "image.png", b"x")
    documents, (rejection,) = read(tmp_path)
    assert not documents
    assert rejection.reason.startswith("holds no file ending in .md, .markdown")


def test_a_path_that_cannot_be_meant_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    good = written(tmp_path / "a.md", "text")
    with pytest.raises(
        DocumentError, match=r"missing\.md does not exist; accepted are folders and files ending in \.md"
    ):
        read_documents([good, tmp_path / "missing.md"], text_column=None, on_reject=print)
    with pytest.raises(DocumentError, match=r"image\.png is of an unknown kind; accepted are .*\.parquet"):
        read_documents([good, written(tmp_path / "image.png", b"x")], text_column=None, on_reject=print)


def test_a_file_name_that_is_not_utf8_is_rejected_printably(tmp_path: Path) -> None:
    try:
        written(tmp_path / os.fsdecode(b"\xff.md"), "text")
    except OSError:
        pytest.skip("this file system keeps names in UTF-8")
    documents, (rejection,) = read(tmp_path)
    assert not documents
    assert str(rejection).encode().endswith("�.md: has a name that is not valid UTF-8".encode())


def test_what_cannot_be_opened_is_rejected(tmp_path: Path) -> None:
    # A folder removed while its parent is walked, a file removed before it is read: permissions do not stop root.
    first = written(tmp_path / "a/1.md", "text")
    second = written(tmp_path / "a/2.md", "text")
    third = written(tmp_path / "b/3.md", "text")
    rejections: list[Rejection] = []
    documents = read_documents([first, second, third.parent], text_column=None, on_reject=rejections.append)
    next(documents)
    second.unlink()
    third.unlink()
    third.parent.rmdir()
    third.parent.symlink_to(third.parent)

    assert list(documents) == []
    assert [one.source for one in rejections][:1] == [second.as_posix()]
    assert rejections[0].reason == "cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One\n\ntext\n\n## Two\n", [(1, "One", 0, 1), (2, "Two", 4, 5)]),
        ("One\n===\ntext\n\nTwo\n---\n", [(1, "One", 0, 2), (2, "Two", 4, 6)]),
        ("```\n# no\n```\n\n    # no\n\n> # no\n\n- # no\n", []),
        ("---\ntitle: x\n---\n# One\n", [(1, "One", 3, 4)]),
        ("---\n\n# One\n\n---\n", [(1, "One", 2, 3)]),
        ("# A [link](http://x) <b>bold</b> ![image](y)  &amp;\n", [(1, "A link bold image &", 0, 1)]),
        ("Two\nlines\n===\n", [(1, "Two lines", 0, 3)]),
        ("#\n", [(1, "", 0, 1)]),
    ],
)
def test_markdown_headings(text: str, expected: list[tuple[int, str, int, int]]) -> None:
    assert [(one.level, one.text, one.start, one.end) for one in markdown_headings(text)] == expected


def test_the_title_is_the_first_heading_that_says_something() -> None:
    assert markdown_title("#\n\n## Title\n") == "Title"
    assert markdown_title("text") == ""
