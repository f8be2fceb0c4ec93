"""Encodings, packing, and pictures that are data."""

from __future__ import annotations

import codecs
import gzip
import json
from pathlib import Path

import pytest

from embedding_assets.documents.formats.opened import without_data
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.errors import ConfigurationError
from embedding_assets_tests.support.formats import read_as

TEXT = "text,n\r\ncafé 語 🙂,1\r\n"
ROWS = ("a.csv", "a.txt", "b.jsonl")


def content_of(name: str) -> str:
    return '{"text": "café 語 🙂"}\n' if name.endswith("jsonl") else TEXT


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_marks_say_the_encoding(tmp_path: Path, name: str, mark: bytes, encoding: str) -> None:
    (document,), rejections = read_as(tmp_path, name, mark + content_of(name).encode(encoding))
    assert not rejections
    assert "café 語 🙂" in document.text


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.md", "a.tsv", "a.py"])
def test_an_encoding_is_never_guessed_but_can_be_named(tmp_path: Path, name: str) -> None:
    content = "text\ncafé\n".encode("cp1252")
    documents, (rejection,) = read_as(tmp_path, name, content)
    assert not documents
    assert (rejection.line, rejection.reason) == (
        2,
        "is not valid UTF-8; --encoding says what it is, as in --encoding cp1252",
    )
    (document,), rejections = read_as(tmp_path, name, content, ReadOptions(encoding="cp1252"))
    assert not rejections
    assert "café" in document.text


def test_what_is_not_of_the_named_encoding_is_rejected(tmp_path: Path) -> None:
    _, (rejection,) = read_as(tmp_path, "a.jsonl", b'{"text": "\x81"}\n', ReadOptions(encoding="cp1252"))
    assert rejection.reason == "is not valid cp1252"


@pytest.mark.parametrize("name", [*ROWS, "a.md", "a.tsv", "a.json", "a.csv.gz"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "iso-2022-jp"])
def test_an_encoding_is_named_for_what_is_not_utf8(tmp_path: Path, name: str, encoding: str) -> None:
    text = json.dumps({"text": TEXT}, ensure_ascii=False) if "json" in name else TEXT
    content = gzip.compress(text.encode()) if name.endswith("gz") else text.encode()
    documents, rejections = read_as(tmp_path, name, content, ReadOptions(encoding=encoding))
    assert not rejections
    assert all("café 語 🙂" in document.text for document in documents)
    assert documents


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
@pytest.mark.parametrize("encoding", ["iso-2022-jp", "utf-7", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_named_encoding_that_looks_like_ascii_is_taken(tmp_path: Path, name: str, encoding: str) -> None:
    text = '{"text": "日本語"}\n' if name.endswith("jsonl") else "text\n日本語\n"
    (document,), rejections = read_as(tmp_path, name, text.encode(encoding), ReadOptions(encoding=encoding))
    assert not rejections
    assert "日本語" in document.text


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json", "a.md"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named_but_not_taken(tmp_path: Path, name: str, encoding: str) -> None:
    text = '{"text": "some words"}' if "json" in name else "text\nsome words\n"
    documents, (rejection,) = read_as(tmp_path, name, text.encode(encoding))
    assert not documents
    assert rejection.reason == f"contains a NUL character; --encoding {encoding}?"


def test_other_nul_characters_are_no_utf16(tmp_path: Path) -> None:
    for text in (b"some\0words\n", b"\0" * 100, bytes(range(256))[:100]):
        _, (rejection,) = read_as(tmp_path, "a.txt", text)
        assert rejection.reason == "contains a NUL character"
    _, (rejection,) = read_as(tmp_path, "a.csv", b"x")
    assert rejection.reason.startswith("has no column")


def test_ascii_is_no_utf16(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.txt", "plain text\n", ReadOptions(encoding="utf-16-le"))
    assert document.text == "plain text\n"


def test_what_precedes_damage_is_read_in_a_named_encoding_too(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b'{"text": "caf\xc3\xa9 %d"}\n' % (number**9) for number in range(20_000)))
    documents, (rejection,) = read_as(tmp_path, "a.jsonl.gz", packed[:-9_000], ReadOptions(encoding="cp1252"))
    assert documents[0].text == "café 0"
    assert rejection.reason == "is a damaged or cut gzip file"


@pytest.mark.parametrize("name", ["nonsense", "rot13", "unicode_escape", "zlib"])
def test_what_is_no_encoding_of_files_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="--encoding"):
        ReadOptions(encoding=name)


def test_other_options_are_checked_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"--format: there is no format 'docs'; there are markdown, text"):
        ReadOptions(format="docs")
    with pytest.raises(ConfigurationError, match="only one of them"):
        ReadOptions(text_column="a", template="{a}")
    for template in ("no field", "{}", "{a!r}", "{a:>3}", "{a"):
        with pytest.raises(ConfigurationError, match="--text-template"):
            ReadOptions(template=template)


def test_packed_lines_are_read_one_by_one(tmp_path: Path) -> None:
    content = b"".join(b'{"text": "row %d"}\n' % number for number in range(2_000))
    documents, rejections = read_as(tmp_path, "a.jsonl.gz", gzip.compress(content))
    assert not rejections
    assert len(documents) == 2_000


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a ![chart](data:image/png;base64,AAAA) b", "a chart b"),
        ('a ![chart](<data:image/png;base64,AAAA> "title") b', "a chart b"),
        ("a ![chart][x]\n\n[x]: data:image/png;base64,AAAA\n", "a ![chart][x]\n\n\n"),
        ('<p><img src="data:image/png;base64,AAAA" alt="chart"></p>', "<p>chart</p>"),
        ("<img alt='a b' src='data:image/svg+xml;utf8,<svg>'>", "a b"),
        ("![chart](chart.png) and metadata: data: none", "![chart](chart.png) and metadata: data: none"),
        (f"url(data:font/woff;base64,{'A' * 200})", "url(data:font/woff;base64,…)"),
    ],
)
def test_pictures_that_are_data_give_way_to_what_is_said_about_them(text: str, kept: str) -> None:
    assert without_data(text) == kept


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["a.md", "a.html", "a.txt"])
def test_megabytes_of_pictures_cost_no_chunk_and_little_time(tmp_path: Path, name: str) -> None:
    picture = "A" * 3_000_000
    tag = f'<img src="data:image/png;base64,{picture}" alt="chart">'
    text = f"<p>before</p>\n\n{tag}\n\n<p>after</p>\n" + "<img " * 100_000 + "![" * 100_000
    (document,), rejections = read_as(tmp_path, name, text)
    assert not rejections
    assert "chart" in document.text
    assert "AAAA" not in document.text


def test_a_picture_longer_than_a_line_does_not_reject_the_page(tmp_path: Path) -> None:
    text = f"before\n\n![chart](data:image/png;base64,{'A' * 1_200_000})\n\nafter\n"
    (document,), _ = read_as(tmp_path, "a.md", text)
    assert document.text == "before\n\nchart\n\nafter\n"
