from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets.documents.lines import MAX_LINE_CHARACTERS
from embedding_assets.documents.rejection import Rejection, too_long
from embedding_assets_tests.support.reading import BAD_UTF8, jsonl, read, written

GOOD = b'{"text": "good"}\n'
LONG = b"x" * (MAX_LINE_CHARACTERS + 1)
HUGE = b"x" * 10_000_000
SECRET = "sesame"


def nested(depth: int) -> bytes:
    return b'{"text": "sesame", "deep": ' + b"[" * depth + b"]" * depth + b"}\n"


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
        ("a.jsonl", GOOD + b'{"text": "' + HUGE + b'"}\n' + GOOD, 2, "is longer than 10,000,000 characters", 2),
        ("a.jsonl", GOOD + b'{"text": "' + LONG + b'"}\n' + GOOD, 2, "is longer than 1,000,000 characters that", 2),
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
        ("a.csv", b"\xfe\xfdtext\ngood\n", 1, "is not valid UTF-8", 0),
        ("a.csv", b'n,text\n"two\nlines",good\n2,\n3,good\n', 4, "has an empty or blank 'text'", 2),
        ("a.csv", b"n,text\n1\n2,good\n", 2, "has an empty 'text'", 1),
        ("a.csv", b"text,n\ngood,1\nsesame,2,3\ngood,4\n", 3, "has 3 fields, the header names 2", 2),
        ("a.csv", b'text\ngood\n"sesame"x\ngood\n', 3, "is not valid CSV: ',' expected after '\"'", 2),
        ("a.csv", b'text\ngood\n"sesame\ngood\n', 3, "is not valid CSV: unexpected end of data", 1),
        ("a.csv", b"text\nses\x00ame\ngood\n", 2, "contains a NUL character in 'text'", 1),
        ("a.csv", b"text\n" + HUGE + b"\ngood\n", 2, "is longer than 1,000,000 characters", 1),
        ("a.csv", b'text\n"' + HUGE + b'\ntail"\ngood\n', 2, "is longer than 10,000,000 characters", 1),
        ("a.csv", b'text\n"head\n' + HUGE + b'"\ngood\n', 2, "is longer than 10,000,000 characters", 1),
        ("a.csv", HUGE + b"x\ngood\n", 1, "is longer than 10,000,000 characters", 0),
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


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.jsonl", "a.csv"])
def test_a_book_may_be_a_line_or_a_row(tmp_path: Path, name: str) -> None:
    book = "It was the best of times. " * 50_000
    content = {".jsonl": jsonl({"text": book}), ".csv": f"text\n{book}\n"}.get(Path(name).suffix, book)
    (document,), rejections = read(written(tmp_path / name, content))
    assert (document.text.strip(), rejections) == (book.strip(), [])


def test_what_is_no_writing_is_too_long() -> None:
    assert too_long("x" * 1_000_000) is None
    assert too_long("Es war die beste der Zeiten. " * 50_000) is None
    assert too_long("最も良い時代であり、最も悪い時代であった。" * 60_000) is None
    assert too_long(("QUJD" * 19 + "\n") * 20_000) == "is longer than 1,000,000 characters that form no words"
    assert too_long("word " * 2_000_001) == "is longer than 10,000,000 characters"


def test_kinds_of_rejections_leave_out_what_is_about_one_file(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", "a,b\n1,2\n")
    written(tmp_path / "b.csv", "c,d\n1,2\n")
    written(tmp_path / "c.txt", b"a" + BAD_UTF8)
    kinds = [one.kind for one in read(tmp_path)[1]]
    assert kinds == ["has no column any of chunk_text, text, content, body, page_content"] * 2 + ["is not valid UTF-8"]
