"""Numbers of pages, running titles and footers of PDF."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets.documents.formats.pdf_edges import without_edges
from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import read_as

TEXTS = [f"the text {word}\n{word} goes on" for word in ("one", "two", "three", "four", "five")]


@pytest.mark.parametrize(
    "edged",
    [
        "{text}\n{page}",
        "- {page} -\n{text}",
        "{text}\nPage {page} of 20",
        "{text}\n\nSeite {page}\n",
    ],
)
@pytest.mark.parametrize("first", [1, 17])
def test_the_number_of_a_page_is_no_text(edged: str, first: int) -> None:
    pages = [edged.format(text=text, page=page) for page, text in enumerate(TEXTS, start=first)]
    assert [page.strip() for page in without_edges(["A title", *pages])] == ["A title", *TEXTS]


def test_a_running_title_beside_the_number_is_no_text() -> None:
    pages = [
        f"{text}\n{page}" if page in {1, 4} else f"Plan 2024: Costs {page}\n{text}" for page, text in enumerate(TEXTS)
    ]
    assert without_edges(pages) == TEXTS


def test_a_footer_is_there_once() -> None:
    pages = [f"{text}\nACME, confidential\n{page}" for page, text in enumerate(TEXTS, start=1)]
    assert without_edges(pages) == [f"{TEXTS[0]}\nACME, confidential", *TEXTS[1:]]


@pytest.mark.parametrize(
    "pages",
    [
        [f"Question {page}\n{text}" for page, text in enumerate(TEXTS, start=1)],
        [f"Name Price\n{text}" for text in TEXTS],
        [f"{text}\n{page}" for page, text in enumerate(TEXTS[:3])],
        [f"{text}\n{7 * page}" for page, text in enumerate(TEXTS, start=1)],
        [*TEXTS, "one\n6"],
        ["", "a", "b"],
        ["1\n2", "only", "1 and 2", "lines\n4", "here"],
        ["x" * 200 + " 1"] * 5,
    ],
)
def test_what_may_be_text_is_kept(pages: list[str]) -> None:
    assert without_edges(pages) == pages


def test_a_question_above_the_number_of_its_page_is_kept() -> None:
    pages = [f"Question {page}\n{text}" for page, text in enumerate(TEXTS, start=1)]
    assert without_edges([f"{text}\n{page}" for page, text in enumerate(pages, start=1)]) == pages


def test_pages_are_read_without_their_numbers(tmp_path: Path) -> None:
    drawn = (f"{text}\n{page}".replace("\n", ") Tj 0 -14 Td (") for page, text in enumerate(TEXTS, start=1))
    (document,), _ = read_as(tmp_path, "a.pdf", office.pdf(*drawn))
    assert document.text.split("\n\n")[:5] == TEXTS
