"""What each format's reader makes of a good file."""

from __future__ import annotations

import gzip
import io
import json
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pptx
import pypdf
import pytest

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.formats.reading import read_file
from embedding_assets.documents.formats.registry import FORMATS, Format
from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import chunks_of, read_as
from embedding_assets_tests.support.reading import written


@pytest.mark.parametrize("name", office.examples())
def test_every_format_is_read(tmp_path: Path, name: str) -> None:
    documents, rejections = read_as(tmp_path, name, office.examples()[name])
    assert not rejections
    assert office.WORDS in documents[0].text
    assert {one.metadata.origin for one in documents} == {name}


def test_every_format_is_among_the_examples() -> None:
    suffixes = {name[name.index(".") :] for name in office.examples()}
    assert all(suffixes & set(one.suffixes) for one in FORMATS)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.xlsx", "a.parquet"])
def test_rows_are_digested_with_the_manner_of_reading(tmp_path: Path, name: str) -> None:
    content = office.examples()[name]
    (first, *_), _ = read_as(tmp_path, name, content)
    (again, *_), _ = read_as(tmp_path / "moved", name, content)
    (templated, *_), _ = read_as(tmp_path, name, content, ReadOptions(template="{text}{Text}!"))
    assert first.file_digest == again.file_digest != ""
    assert first.file_digest != templated.file_digest


def test_html_is_its_main_content(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.html", office.HTML)
    assert document.metadata.title == "Page"
    assert document.text == (
        "# Page\n\nalpha beta gamma\ndelta\n\n- one\n- two\n  \n  1. inner\n\n| name | value |\n| --- | --- |\n"
        "| size | 7 |\n\n```python\ndef run():\n    pass\n```\n\na chart\n"
    ).replace("  \n", document.text[document.text.index("- two\n") + 6 :].split("1.")[0].rsplit("\n", 1)[0] + "\n")


def test_html_without_a_main_element_goes_without_what_stands_around(tmp_path: Path) -> None:
    html = (
        "<title>About us</title><header>Menu</header><div hidden>unseen</div><div role=navigation>links</div>"
        "<p>We are <b>here</b>.</p><footer>imprint</footer>"
    )
    (document,), _ = read_as(tmp_path, "a.htm", html)
    assert (document.metadata.title, document.text) == ("About us", "We are here.\n")


def test_html_says_its_encoding_itself(tmp_path: Path) -> None:
    html = '<meta charset="windows-1252"><p>caf\xe9 \x80</p>'.replace("\x80", "€").encode("cp1252")
    (document,), _ = read_as(tmp_path, "a.html", html)
    assert document.text == "café €\n"


def test_a_notebook_is_its_cells_and_what_they_printed(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.ipynb", office.notebook())
    assert document.text.strip() == (
        "# Study\n\nalpha beta gamma\n\n```python\nprint(6 * 7)\n```\n\n```\nforty two\n```"
    )
    assert document.metadata.model_dump()["language"] == "python"
    assert document.places is not None
    assert document.places.unit == "cell"


def test_what_a_cell_prints_at_length_is_cut_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outputs = [{"output_type": "stream", "text": "alpha " * 4_000}]
    cells = [{"cell_type": "code", "source": "run()", "outputs": outputs}] * 2
    (document,), _ = read_as(tmp_path, "a.ipynb", json.dumps({"cells": cells, "nbformat": 4}))
    assert 40_000 < len(document.text) < 40_100
    assert [one.message for one in caplog.records] == ["left out what 2 cells printed beyond 20,000 characters"]


def test_word_is_headings_lists_and_tables(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.docx", office.word())
    assert document.text == (
        "# Manual\n\n# Setup\n\nalpha beta gamma\n\n- first\n- second\n\n"
        "| name | value |\n| --- | --- |\n| size | 7\\|8 |\n"
    )
    assert document.metadata.model_dump()["author"] == "Ada"


def test_slides_stand_under_their_titles_with_their_notes(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.pptx", office.slides())
    assert chunks_of(document) == [
        ("a > Plan", "alpha beta gamma"),
        ("a > Costs", "seven dollars\n\nsaid aloud"),
    ]


def test_a_pdf_knows_its_pages(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.pdf", office.pdf("page one", "page two"))
    assert document.text == "page one\n\npage two\n\n"
    assert document.places is not None
    assert (document.places.unit, document.places.starts) == ("page", (10,))


def test_a_scan_says_what_it_needs(tmp_path: Path) -> None:
    documents, (rejection,) = read_as(tmp_path, "a.pdf", office.pdf("", ""))
    assert not documents
    assert rejection.reason == "holds no text: scans have to be recognized (OCR) first (2 pages)"


def test_pages_without_text_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (document,), _ = read_as(tmp_path, "a.pdf", office.pdf("page one", "", "page three", "..."))
    assert [record.message for record in caplog.records] == ["2 of 4 pages have no text (scans?)"]
    assert document.metadata.model_dump()["pages_without_text"] == 2
    (document,), _ = read_as(tmp_path, "b.pdf", office.pdf("page one"))
    assert "pages_without_text" not in document.metadata.model_dump()
    assert len(caplog.records) == 1


def test_a_book_is_its_chapters_in_order(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.epub", office.epub())
    assert chunks_of(document) == [("A book > First", "one two"), ("A book > Second", office.WORDS)]
    assert document.metadata.model_dump()["author"] == "Ada"


def test_a_book_may_name_its_type(tmp_path: Path) -> None:
    kind = '<!DOCTYPE package PUBLIC "+//ISBN 0-9673008-1-9//DTD OEB 1.2 Package//EN" "http://openebook.org/oeb12.dtd">'
    (document,), rejections = read_as(tmp_path, "a.epub", office.epub(package=kind + office.PACKAGE))
    assert not rejections
    assert office.WORDS in document.text


def test_a_chapter_that_is_missing_does_not_reject_the_book(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    package = office.PACKAGE.replace("c.xhtml", "cover.xhtml")
    (document,), rejections = read_as(tmp_path, "a.epub", office.epub(package=package))
    assert not rejections
    assert chunks_of(document) == [("A book > Second", office.WORDS)]
    said = "left out 1 chapter that the book lists and does not have"
    assert [one.message for one in caplog.records] == [said]


@pytest.mark.parametrize("declared", ['<!DOCTYPE a [<!ENTITY b "b">]>', "<!DOCTYPE a SYSTEM 'x' [ ]>"])
def test_a_book_declares_nothing_of_its_own(tmp_path: Path, declared: str) -> None:
    documents, (rejection,) = read_as(tmp_path, "a.epub", office.epub(package=declared + office.PACKAGE))
    assert not documents
    assert rejection.reason == "declares entities of its own, as bombs do"


def test_mail_is_its_text_and_names_its_attachments(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.eml", office.mail())
    fields = document.metadata.model_dump()
    assert (document.text, document.context_header) == ("alpha beta gamma\n", "The plan")
    assert (fields["title"], fields["from"], fields["attachments"]) == ("The plan", "ada@example.org", ["plan.png"])


def test_mail_of_html_alone_is_read_as_a_page(tmp_path: Path) -> None:
    mail = b"Subject: Offer\nContent-Type: text/html; charset=utf-8\n\n<p>Only <b>today</b></p>"
    (document,), _ = read_as(tmp_path, "a.eml", mail)
    assert document.text == "Only today\n"


@pytest.mark.parametrize(
    ("plain", "text"), [(" \n", "The real words\n"), ("---\n", "The real words\n"), ("Plain\n", "Plain\n")]
)
def test_mail_whose_plain_part_says_nothing_is_read_as_a_page(tmp_path: Path, plain: str, text: str) -> None:
    message = EmailMessage()
    message["Subject"] = "Hi"
    message.set_content(plain)
    message.add_alternative("<p>The <i>real</i> words</p>", subtype="html")
    (document,), _ = read_as(tmp_path, "a.eml", message.as_bytes())
    assert document.text == text


@pytest.mark.parametrize("kind", ["plain", "html"])
def test_mail_in_latin_1_has_the_quotes_of_windows(tmp_path: Path, kind: str) -> None:
    mail = f"Subject: Offer\nContent-Type: text/{kind}; charset=ISO-8859-1\n\n".encode() + b"\x93caf\xe9\x94 5 \x80\n"
    (document,), _ = read_as(tmp_path, "a.eml", mail)
    assert document.text == "\u201ccaf\u00e9\u201d 5 \u20ac\n"


@pytest.mark.parametrize("name", office.SOURCES)
def test_code_is_divided_at_its_definitions(tmp_path: Path, name: str) -> None:
    (document,), _ = read_as(tmp_path, name, office.SOURCES[name])
    names = [part.names for part in document.parts if office.WORDS in document.text[part.start : part.end]]
    assert len(names) == 1
    assert names[0][-1].lower() == "first"
    assert "".join(document.text[part.start : part.end] for part in document.parts) == document.text


def test_comments_and_decorators_belong_to_what_they_stand_above(tmp_path: Path) -> None:
    source = "import a\n\n# says é why\n@a.b\ndef one():\n    pass\n\n"
    source += "class Two:\n    def three(self):\n        pass\n\nx = 1\n"
    (document,), _ = read_as(tmp_path, "a.py", source)
    assert [(part.names, document.text[part.start : part.end]) for part in document.parts] == [
        ((), "import a\n\n"),
        (("one",), "# says é why\n@a.b\ndef one():\n    pass\n\n"),
        (("Two",), "class Two:\n"),
        (("Two", "three"), "    def three(self):\n        pass\n"),
        ((), "\nx = 1\n"),
    ]


def test_small_neighbours_in_code_share_a_chunk(tmp_path: Path) -> None:
    methods = "".join(f"    def m{number}(self):\n        return {number}\n\n" for number in range(4))
    (document,), _ = read_as(tmp_path, "a.py", f"class Small:\n{methods}")
    ((header, text),) = chunks_of(document)
    assert header == "a.py > Small"
    assert text.count("def ") == 4


def test_restructured_text_has_sections_and_runs_nothing(tmp_path: Path) -> None:
    text = (
        "=====\nGuide\n=====\n\nintro\n\n.. include:: /etc/passwd\n\nUse\n---\n\nrun it\n\nMore\n~~~~\n\ndeep\n\n"
        "+---+\n| x |\n+---+\n\nEnd\n---\n\n.. raw:: html\n\n   <script>\n"
    )
    (document,), _ = read_as(tmp_path, "a.rst", text)
    assert document.metadata.title == "Guide"
    assert chunks_of(document) == [
        ("Guide", "intro\n\n.. include:: /etc/passwd"),
        ("Guide > Use", "run it"),
        ("Guide > Use > More", "deep\n\n+---+\n| x |\n+---+"),
        ("Guide > End", ".. raw:: html\n\n   <script>"),
    ]


def test_what_only_links_pages_of_restructured_text_is_no_chunk(tmp_path: Path) -> None:
    text = (
        ".. _start:\n\nGuide\n=====\n\nSee\n---\n\n.. toctree::\n   :maxdepth: 2\n\n   install\n   use\n\n"
        ".. _use: https://example.org\n\nUse\n---\n\n.. note:: run it\n\nIndex\n-----\n\n.. index:: use\n"
    )
    (document,), _ = read_as(tmp_path, "a.rst", text)
    assert chunks_of(document) == [("Guide > Use", ".. note:: run it")]
    (document,), _ = read_as(tmp_path, "b.rst", "Guide\n=====\n\n.. toctree::\n\n   install\n")
    assert chunks_of(document) == [("", "Guide\n=====\n\n.. toctree::\n\n   install")]


def test_comments_of_restructured_text_alone_are_no_chunk(tmp_path: Path) -> None:
    text = (
        ":orphan:\n\n.. Licensed under\n   the terms\n\n.. |x| image:: x.png\n   :alt: Build\n\n..\n   hidden\n\n"
        "Guide\n=====\n\n"
        ".. a comment\n\nuse |x|\n\n... and\n\nSee\n---\n\n.. note :: this\n\nTalk\n----\n\n.. hidden: not said\n"
    )
    (document,), _ = read_as(tmp_path, "a.rst", text)
    assert chunks_of(document) == [
        ("Guide", ".. a comment\n\nuse |x|\n\n... and"),
        ("Guide > See", ".. note :: this"),
        ("Guide", "Talk\n----\n\n.. hidden: not said"),
    ]


def test_a_title_of_restructured_text_above_nothing_is_text(tmp_path: Path) -> None:
    text = "Guide\n=====\n\n.. _use:\n\nUse\n===\n\nrun it\n\nMore\n----\n\nDeep\n----\n\nwords\n\nLast\n----\n\n"
    text += "End\n===\n"
    (document,), _ = read_as(tmp_path, "README", text, ReadOptions(format="rst"))
    assert chunks_of(document) == [
        ("README > Use", "Guide\n=====\n\n.. _use:\n\nUse\n===\n\nrun it"),
        ("README > Use > Deep", "More\n----\n\nDeep\n----\n\nwords"),
        ("README", "Last\n----\n\nEnd\n==="),
    ]


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ([{"text": "a"}, {"text": "b"}], ["a", "b"]),
        ({"version": 1, "items": [{"text": "a"}, {"body": "b"}]}, ["a", "b"]),
        ({"one": {"text": "a"}, "two": {"text": "b"}}, ["a", "b"]),
        ({"text": "a", "tags": [{"x": 1}]}, ["a"]),
    ],
)
def test_json_is_rows_in_one_of_four_ways(tmp_path: Path, value: Any, texts: list[str]) -> None:
    documents, rejections = read_as(tmp_path, "a.json", json.dumps(value))
    assert not rejections
    assert [one.text for one in documents] == texts


def test_json_that_is_no_rows_says_so(tmp_path: Path) -> None:
    settings = {"compilerOptions": {"strict": True}, "include": ["src"]}
    for value in (7, [], settings, [1, 2], [{"a": 1}] * 100, {"a": {"b": 1}, "c": {"d": 2}}):
        documents, (rejection,) = read_as(tmp_path, "a.json", json.dumps(value))
        assert not documents
        assert rejection.line is None


def test_json_rows_without_a_text_are_rejected_one_by_one_beside_others(tmp_path: Path) -> None:
    documents, (rejection,) = read_as(tmp_path, "a.json", json.dumps([{"a": 1}, {"text": "words"}]))
    assert [one.text for one in documents] == ["words"]
    assert rejection.line == 1


def test_excel_rows_are_documents(tmp_path: Path) -> None:
    documents, rejections = read_as(tmp_path, "a.xlsx", office.workbook())
    assert not rejections
    assert [(one.text, one.metadata.model_dump()["price"]) for one in documents] == [
        ("alpha beta gamma", 12.5),
        ("second row", 3),
    ]


def test_parquet_and_arrow_keep_what_is_nested(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.arrow"):
        documents, rejections = read_as(tmp_path, name, office.examples()[name])
        assert not rejections
        assert [one.metadata.model_dump()["nested"] for one in documents] == [
            {"page": 1, "tags": ["a"]},
            {"page": 2, "tags": []},
        ]


def test_what_is_packed_is_named_without_the_packing(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "guide.md.gz", gzip.compress(b"text\n"))
    assert (document.metadata.source, document.metadata.title) == ("guide.md.gz", "guide")


def test_what_is_not_installed_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Format, "is_installed", False)
    documents, (rejection,) = read_as(tmp_path, "a.pdf", office.pdf("one"))
    assert not documents
    assert rejection.reason == "needs pypdf to be read: pip install 'embedding-assets[documents]'"


def test_a_format_can_be_named(tmp_path: Path) -> None:
    documents, _ = read_as(tmp_path, "a", b'{"text": "one"}\n', ReadOptions(format="jsonl"))
    assert [one.text for one in documents] == ["one"]
    _, (rejection,) = read_as(tmp_path, "a", b"one")
    assert rejection.reason.startswith("is of an unknown kind")


@pytest.mark.parametrize("name", ["README", "License", "changelog", "COPYING", "NEWS.gz"])
def test_names_that_are_text_by_custom(tmp_path: Path, name: str) -> None:
    text = b"# Words\n\nalpha\n"
    (document,), _ = read_as(tmp_path, name, gzip.compress(text) if name.endswith(".gz") else text)
    assert (document.text, document.markdown) == ("# Words\n\nalpha\n", False)


def test_a_fetched_file_is_known_by_the_name_that_it_had(tmp_path: Path) -> None:
    path = written(tmp_path / "tmp1234", "alpha")
    (document,) = read_file(path, "bucket/README", ReadOptions())
    assert isinstance(document, Document)
    (rejection,) = read_file(path, "bucket/Makefile", ReadOptions())
    assert "is of an unknown kind" in str(rejection)


def test_ligatures_of_fonts_are_letters(tmp_path: Path) -> None:
    names = b"/Encoding << /Type /Encoding /Differences [1 /ffi /fl /uniFEE3 /uniFEAE] >>"
    content = office.pdf("o\x01ce \x02oor \x03\x04").replace(b"/BaseFont", names + b" /BaseFont")
    (document,), _ = read_as(tmp_path, "a.pdf", content)
    assert document.text.split() == ["office", "floor", "\u0631\u0645"]


def test_a_bullet_that_begins_like_a_heading_is_none(tmp_path: Path) -> None:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text = "Usage"
    slide.placeholders[1].text = "# of users: 5\nmore"
    (document,), _ = read_as(tmp_path, "a.pptx", office.saved(presentation.save))
    assert chunks_of(document) == [("a > Usage", "#\u00a0of users: 5\n\nmore")]


def encrypted() -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(office.pdf("words")))
    writer.encrypt("", "of its owner", algorithm="AES-256")
    return office.saved(writer.write)


def test_a_pdf_that_is_encrypted_without_a_password_is_read(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.pdf", encrypted())
    assert document.text.strip() == "words"


def test_a_pdf_that_cannot_be_decrypted_here_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> bytes:
        raise pypdf.errors.DependencyError("cryptography>=3.1 is required for AES algorithm")

    content = encrypted()
    monkeypatch.setattr(pypdf.PdfReader, "decrypt", missing)
    _, (rejection,) = read_as(tmp_path, "a.pdf", content)
    assert rejection.reason.startswith("is encrypted by AES, and needs cryptography")
