"""Folders in which some files are in another encoding than UTF-8."""

import pytest

from embedding_assets.documents import file_reading
from embedding_assets.documents.formats.options import ReadOptions

GREETING = "schöne Grüße"


@pytest.fixture
def docs(tmp_path):
    """A folder of files in UTF-8, in ASCII and in cp1252."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "new.md").write_bytes(f"# Neu\n\n{GREETING} neu\n".encode())
    (docs / "rows.csv").write_bytes(f"id,text\n1,{GREETING} eins\n".encode())
    (docs / "plain.txt").write_bytes(b"plain words\n")
    (docs / "old.md").write_bytes(f"# Alt\n\n{GREETING} alt\n".encode("cp1252"))
    return docs


def test_an_encoding_named_for_some_files_leaves_the_others_as_they_are(load, docs):
    load(docs)
    load.embed()
    assert load.rejections == ["docs/old.md:3: is not valid UTF-8; --encoding says what it is, as in --encoding cp1252"]
    report = load(docs, read=ReadOptions(encoding="cp1252"))
    assert (report.new, report.changed, report.unchanged, report.rejected) == (1, 0, 3, 0)
    assert load.pending() == [f"{GREETING} alt"]
    assert load.rows() == [f"{GREETING} neu", f"{GREETING} alt", "plain words", f"{GREETING} eins"]
    assert load(docs, read=ReadOptions(encoding="cp1252")).unchanged == 4


def test_files_in_utf8_that_are_new_are_read_as_such(load, docs):
    report = load(docs, read=ReadOptions(encoding="cp1252"))
    assert (report.new, report.rejected) == (4, 0)
    assert sum(GREETING in text for text in load.rows()) == 3
    load.embed()
    load(docs)
    assert load.pending() == []


@pytest.mark.parametrize("encoding", ["iso-2022-jp", "cp037", "utf-7"])
def test_what_may_be_in_an_encoding_that_looks_like_ascii_is_read_again(load, docs, encoding):
    load(docs)
    assert load(docs, read=ReadOptions(encoding=encoding)).unchanged == 0


def test_a_page_that_names_its_encoding_is_read_again_where_another_is_given(load, docs):
    pytest.importorskip("selectolax")
    (docs / "page.html").write_bytes(
        '<html><head><meta charset="windows-1251"></head><body><p>Привет, мир</p></body></html>'.encode("cp1251")
    )
    load(docs)
    assert "Привет, мир" in load.rows()
    assert load(docs, read=ReadOptions(encoding="cp1252")).changed == 1


def test_rows_that_were_accepted_without_an_encoding_are_read_with_it(load, docs, monkeypatch):
    (docs / "more.jsonl").write_bytes(b'{"text": "one"}\n{"text": "caf\xe9"}\n')
    load(docs, accept_rejected=True)
    read = []
    read_file = file_reading.read_file
    monkeypatch.setattr(file_reading, "read_file", lambda *given: read.append(given[1]) or read_file(*given))
    assert load(docs, read=ReadOptions(encoding="cp1252"), accept_rejected=True).changed == 1
    assert sorted(read) == ["docs/more.jsonl", "docs/old.md"]
    assert "café" in load.rows()
