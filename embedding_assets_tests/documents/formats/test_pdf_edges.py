"""Numbers of pages of PDF, and what only looks like them."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets.documents.formats.pdf_edges import without_page_numbers
from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import read_as

TEXTS = [f"the text {word}\n{word} goes on" for word in ("one", "two", "three", "four", "five", "six")]


@pytest.mark.parametrize(
    ("edged", "first"),
    [
        ("{text}\n{page}", 1),
        ("{text}\n{page}", 2),
        ("- {page} -\n{text}", 1),
        ("{text}\nPage {page} of 20", 1),
        ("{text}\nPage {page} of 20", 17),
        ("{text}\n\nSeite {page}\n", 2017),
    ],
)
@pytest.mark.parametrize("cover", ["A title", "A title\n2024", ""])
def test_the_number_of_a_page_is_no_text(edged: str, first: int, cover: str) -> None:
    pages = [edged.format(text=text, page=page) for page, text in enumerate(TEXTS, start=first)]
    assert [page.strip() for page in without_page_numbers([cover, *pages])] == [cover, *TEXTS]


def test_a_page_without_text_counts() -> None:
    pages = [f"{text}\n{page}" for page, text in enumerate(TEXTS, start=1)]
    assert without_page_numbers([*pages, "", "x\n8", "y\n9"]) == [*TEXTS, "", "x", "y"]


@pytest.mark.parametrize(
    "pages",
    [
        [f"Question {page}\n{text}" for page, text in enumerate(TEXTS, start=1)],
        [f"{page}\n{text}" for page, text in enumerate(TEXTS, start=1)],
        [f"- {page}\n{text}" for page, text in enumerate(TEXTS, start=1)],
        [f"Plan 2024: Costs {page}\n{text}" for page, text in enumerate(TEXTS, start=1)],
        [f"{year}\n{text}" for year, text in enumerate(TEXTS, start=2019)],
        [f"{text}\n{year}" for year, text in enumerate(TEXTS, start=2019)],
        [f"{text}\n{score}" for score, text in enumerate(TEXTS, start=7)],
        [f"{text}\n{7 * page}" for page, text in enumerate(TEXTS, start=1)],
        [f"{text}\nResult: {'failed' if page in {3, 5} else 'passed'}" for page, text in enumerate(TEXTS)],
        [f"{text}\nResult: passed" for text in TEXTS],
        [f"Name Price\n{text}" for text in TEXTS],
        [f"{text}\n{page}" for page, text in enumerate(TEXTS[:5], start=1)],
        [*(f"{text}\n{page}" for page, text in enumerate(TEXTS, start=1)), "the end"],
        [f"{text}\n{page}" if page % 2 else f"{page}\n{text}" for page, text in enumerate(TEXTS, start=1)],
        ["", "a", "b"],
        ["", ""],
        [],
    ],
)
def test_what_may_be_text_is_kept(pages: list[str]) -> None:
    assert without_page_numbers(pages) == pages


def test_pages_are_read_without_their_numbers(tmp_path: Path) -> None:
    drawn = (f"{text}\n{page}".replace("\n", ") Tj 0 -14 Td (") for page, text in enumerate(TEXTS, start=1))
    (document,), _ = read_as(tmp_path, "a.pdf", office.pdf(*drawn))
    assert document.text.split("\n\n")[:6] == TEXTS
