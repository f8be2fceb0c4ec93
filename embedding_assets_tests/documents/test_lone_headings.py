"""Headings that stand above no text, of which none is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_assets.documents.document import Document
from embedding_assets.models import DocumentMetadata
from embedding_assets_tests.support.formats import chunks_of


def split(text: str, title: str = "Guide") -> list[tuple[str, str]]:
    return chunks_of(Document(DocumentMetadata(source="a", title=title), text, markdown=True))


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        # What says something is found by itself, under what it is below.
        (
            "# A\n\n## B is deprecated since 2.0\n\n## C\n\ntext",
            [("Guide > A", "## B is deprecated since 2.0"), ("Guide > A > C", "text")],
        ),
        (
            "## One\n\ntext\n\n## Revenue grew by a third\n\n## Thanks\n\n## Last\n\nwords",
            [("Guide > One", "text"), ("Guide", "## Revenue grew by a third\n\n## Thanks"), ("Guide > Last", "words")],
        ),
        # It belongs to text that is below the same headings.
        (
            "# A\n\nintro\n\n## B is deprecated since 2.0\n\n## C\n\ntext",
            [("Guide > A", "intro\n\n## B is deprecated since 2.0"), ("Guide > A > C", "text")],
        ),
        # What says little goes with what it follows, or what follows it.
        ("# A\n\ntext\n\n# See also\n", [("Guide > A", "text\n\n# See also")]),
        ("# A\n\n## Note\n\n## C\n\ntext", [("Guide > A > C", "## Note\n\n## C\n\ntext")]),
        (
            "# Offsite\n\n# Part one\n\n## Agenda\n\ntext",
            [("Guide > Part one > Agenda", "# Offsite\n\n# Part one\n\n## Agenda\n\ntext")],
        ),
        # Headings of the text below, and the title, are embedded with it anyway.
        ("# A\n\n## B\n\ntext", [("Guide > A > B", "text")]),
        ("# Guide\n\n# A\n\ntext", [("Guide > A", "text")]),
        # Pictures, rules and comments are no text.
        (
            "## Revenue grew by a third\n\n![](chart.png)\n\n## Next\n\ntext",
            [("Guide", "## Revenue grew by a third\n\n![](chart.png)"), ("Guide > Next", "text")],
        ),
        (
            "# Talk\n\nintro\n\n---\n\n## We never restart on Fridays\n\n---\n\n## Next\n\ntext",
            [
                ("Guide > Talk", "intro\n\n---\n\n## We never restart on Fridays\n\n---"),
                ("Guide > Talk > Next", "text"),
            ],
        ),
        ("# A\n\n## Note\n\n<!-- x -->\n\n## C\n\ntext", [("Guide > A > C", "## Note\n\n<!-- x -->\n\n## C\n\ntext")]),
        # A table of contents says nothing, nor do headings of it.
        ("# A\n\n[TOC]\n\n# B\n\ntext", [("Guide > B", "text")]),
        ("#\n\n##\n\ntext", [("Guide", "text")]),
    ],
)
def test_headings_without_text_are_kept(text: str, chunks: list[tuple[str, str]]) -> None:
    assert split(text) == chunks


def test_a_statement_without_spaces_is_one() -> None:
    assert split("# A\n\n## 二〇二五年に廃止\n\n## C\n\ntext")[0] == ("Guide > A", "## 二〇二五年に廃止")


HEADINGS = st.integers(1, 3).flatmap(lambda level: st.integers(1, 6).map(lambda words: "#" * level + " w" * words))


@settings(deadline=None, max_examples=150)
@given(blocks=st.lists(HEADINGS | st.just("text") | st.just("* * *"), max_size=12))
def test_no_heading_above_nothing_is_lost_or_doubled(blocks: list[str]) -> None:
    named = [block.replace("w", f"h{number}x") for number, block in enumerate(blocks)]
    chunks = split("\n\n".join(named))
    said = [f"{header}\n{text}" for header, text in chunks]
    for number, block in enumerate(named):
        if block.startswith("#") and chunks:
            assert any(f"h{number}x" in one for one in said), named
            assert sum(f"# h{number}x" in text for _, text in chunks) <= 1
