"""Every format, damaged in every way: rejected or read, in bounded time and memory; nothing raises or runs."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from embedding_assets.documents.formats.opened import MAX_DOCUMENT_BYTES
from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import read_as

EXAMPLES = office.examples()
IN_BINARY = (".parquet", ".arrow", ".xlsx", ".pdf", ".docx", ".pptx", ".epub", ".gz")


def is_binary(name: str) -> bool:
    return name.endswith(IN_BINARY)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_empty_file_is_rejected(tmp_path: Path, name: str) -> None:
    documents, (rejection,) = read_as(tmp_path, name, b"")
    assert not documents
    assert rejection.source == name


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_of_blanks_is_rejected(tmp_path: Path, name: str) -> None:
    documents, rejections = read_as(tmp_path, name, b"  \n\n \t\n")
    assert not documents
    assert len(rejections) == 1


@pytest.mark.parametrize("name", EXAMPLES)
def test_noise_is_rejected(tmp_path: Path, name: str) -> None:
    documents, rejections = read_as(tmp_path, name, bytes(range(256)) * 40)
    assert rejections
    assert not documents or name == "a.html"


@pytest.mark.parametrize("name", [name for name in EXAMPLES if is_binary(name)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_file_is_not_taken_for_a_whole_one(tmp_path: Path, name: str, share: float) -> None:
    content = EXAMPLES[name]
    _, rejections = read_as(tmp_path, name, content[: int(len(content) * share)])
    # A PDF tells its readers how to go on without its end.
    assert rejections or name == "a.pdf"


@pytest.mark.parametrize("name", [name for name in EXAMPLES if is_binary(name)])
def test_bytes_that_changed_raise_nothing(tmp_path: Path, name: str) -> None:
    content = EXAMPLES[name]
    for at in range(0, len(content), max(1, len(content) // 23)):
        damaged = bytearray(content)
        damaged[at : at + 8] = os.urandom(8)
        documents, rejections = read_as(tmp_path, name, bytes(damaged))
        assert documents or rejections


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ipynb"])
def test_json_that_is_nested_deeply_is_rejected(tmp_path: Path, name: str) -> None:
    documents, rejections = read_as(tmp_path, name, b'{"text": "a", "cells": ' + b"[" * 200_000 + b"\n")
    assert not documents
    assert len(rejections) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.html", "<div>" * 50_000 + "text"),
        ("a.md", ">" * 50_000 + " text"),
        ("a.py", "(" * 50_000 + ")" * 50_000),
        ("a.py", "class A:\n " + " ".join(f"\n{' ' * depth}class B:" for depth in range(1, 300))),
        ("a.md", "---\na: " + "[" * 5_000 + "\n---\ntext\n"),
        ("a.md", "- " * 20_000 + "text\n"),
    ],
)
def test_what_is_nested_deeply_ends(tmp_path: Path, name: str, content: str) -> None:
    documents, rejections = read_as(tmp_path, name, content)
    assert documents or rejections


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.csv.gz", "a.md.gz", "a.parquet.gz"])
def test_a_gzip_bomb_is_rejected(tmp_path: Path, name: str) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
        for _ in range(130):
            stream.write(bytes(1_000_000))
    documents, rejections = read_as(tmp_path, name, packed.getvalue())
    assert not documents
    assert any("times its size" in one.reason or "larger than" in one.reason for one in rejections)


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx", "a.epub"])
def test_a_zip_bomb_is_rejected(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO(EXAMPLES[name])
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as package, package.open("bomb.xml", "w") as bomb:
        for _ in range(310):
            bomb.write(bytes(1_000_000))
    documents, (rejection,) = read_as(tmp_path, name, stream.getvalue())
    assert not documents
    assert rejection.reason == "unpacks to more than a document has"


ENTITIES = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx", "a.epub"])
def test_entities_are_never_expanded(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(io.BytesIO(EXAMPLES[name])) as package:
        files = {one: package.read(one) for one in package.namelist()}
    files = {
        one: f"{ENTITIES}<a>&b;&c;</a>".encode() if one.endswith((".xml", ".opf")) else content
        for one, content in files.items()
    }
    documents, (rejection,) = read_as(tmp_path, name, office.packed(files))
    assert not documents
    assert rejection.reason == "declares entities of its own, as bombs do"


def test_a_password_is_named(tmp_path: Path) -> None:
    _, (rejection,) = read_as(tmp_path, "a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000))
    assert "without a password" in rejection.reason


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.endswith((".txt", ".md", ".rst", ".py", ".html"))])
def test_a_very_long_line_is_rejected(tmp_path: Path, name: str) -> None:
    documents, (rejection,) = read_as(tmp_path, name, "one\n" + "x" * 1_000_001)
    assert not documents
    assert rejection.reason == "is longer than 1,000,000 characters that form no words"


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not name.endswith((".gz", ".jsonl", ".csv", ".tsv"))])
def test_a_file_that_is_too_large_is_rejected_unread(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.truncate(MAX_DOCUMENT_BYTES + 1)
    with path.open("rb") as stream:
        assert stream.read(1) == b"\x00"
    from embedding_assets.documents.formats.options import ReadOptions
    from embedding_assets.documents.formats.reading import read_file

    (rejection,) = read_file(path, name, ReadOptions())
    assert "is larger than 100 MB" in str(rejection) or "is not a readable" in str(rejection)


def test_an_alias_that_multiplies_is_not_written_out(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (document,), _ = read_as(tmp_path, "a.md", "---\n" + "\n".join(lines) + "\n---\ntext\n")
    assert document.metadata.model_extra == {}
    assert document.text == "text\n"


def test_an_arrow_file_whose_offsets_point_anywhere_is_rejected(tmp_path: Path) -> None:
    table = pa.table({"text": ["one", "two", "three"]})
    stream = io.BytesIO()
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    content = stream.getvalue()
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 3, 6, 11))
    assert content.count(offsets) == 1
    damaged = content.replace(offsets, b"".join(number.to_bytes(4, "little") for number in (0, 3, 10**9, 11)))
    documents, (rejection,) = read_as(tmp_path, "a.arrow", damaged)
    assert not documents
    assert rejection.reason == "is not a readable Arrow file"


def test_reasons_hold_no_text_of_the_file(tmp_path: Path) -> None:
    for name, content in EXAMPLES.items():
        damaged = content.replace(b"alpha", b"ses\xffame")
        _, rejections = read_as(tmp_path, name, damaged)
        assert "ame" not in json.dumps([one.reason for one in rejections]).replace("same", "").replace("name", "")
