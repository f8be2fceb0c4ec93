"""Titles of AsciiDoc and Org."""

from __future__ import annotations

from pathlib import Path

from embedding_assets_tests.support.formats import chunks_of, read_as


def test_asciidoc_has_sections(tmp_path: Path) -> None:
    text = (
        "// a comment\n= Guide\nAda <ada@example.org>\n:toc:\n\nintro\n\n== Use\n\n[source,sh]\n----\n"
        "== no title\n----\n\n"
        "=== Deep\n\nwords\n\n==no title\n\n[[end]]\n== End\n\n====\nan example\n====\n"
    )
    (document,), _ = read_as(tmp_path, "a.adoc", text)
    assert document.metadata.title == "Guide"
    assert chunks_of(document) == [
        ("Guide", "Ada <ada@example.org>\n:toc:\n\nintro"),
        ("Guide > Use", "[source,sh]\n----\n== no title\n----"),
        ("Guide > Use > Deep", "words\n\n==no title\n\n[[end]]"),
        ("Guide > End", "====\nan example\n===="),
    ]


def test_org_has_sections(tmp_path: Path) -> None:
    text = (
        "#+TITLE: Notes\n\n* First\nwords\n** Sub\n#+BEGIN_SRC org\n* no title\n#+END_SRC\n*bold* text\n"
        "* Second\n** Empty\n* Third\n- item\n"
    )
    (document,), _ = read_as(tmp_path, "a.org", text)
    assert chunks_of(document) == [
        ("a > First", "words"),
        ("a > First > Sub", "#+BEGIN_SRC org\n* no title\n#+END_SRC\n*bold* text"),
        ("a > Third", "* Second\n** Empty\n* Third\n- item"),
    ]
