"""The lines of PDF: words that are divided between them, and leaders to the numbers of pages."""

from __future__ import annotations

from pathlib import Path

from embedding_assets.documents.formats.pdf import _DIVIDED, _LEADERS
from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import read_as


def text_of(folder: Path, *pages: str) -> str:
    drawn = (page.replace("\n", ") Tj 0 -14 Td (") for page in pages)
    (document,), rejections = read_as(folder, "a.pdf", office.pdf(*drawn))
    assert not rejections
    return document.text


def test_a_word_that_is_whole_elsewhere_is_put_together(tmp_path: Path) -> None:
    text = text_of(
        tmp_path, "by manip-\nulation of a well-\nknown one-\noff, that", "Manipulation is well-known, wellknown"
    )
    assert text.split("\n")[:3] == ["by manipulation of a well-", "known one-", "off, that"]


def test_leaders_in_a_table_of_contents_are_no_text(tmp_path: Path) -> None:
    text = text_of(tmp_path, "1 Introduction . . . . . . . . 1\n2 Use.........3\nand so on...\n127.0.0.1")
    assert text.strip().split("\n") == ["1 Introduction … 1", "2 Use … 3", "and so on...", "127.0.0.1"]


def test_long_words_and_spaces_cost_no_time() -> None:
    """Each place in them was tried with all of the rest."""
    size = 1_000_000
    spaces, word = " " * size, "a" * size
    assert _LEADERS.sub("#", f"a{spaces}b ....{spaces}") == f"a{spaces}b ....{spaces}"
    assert _LEADERS.sub("#", f"{spaces}.....{spaces}") == "#"
    assert _DIVIDED.findall(f"abc-\ndef {word}") == [("abc", "def")]
    assert _DIVIDED.findall(f"{word} {word}-\n1") == []
