from __future__ import annotations

import pytest

from embedding_assets.documents.words import has_words, says_something


@pytest.mark.parametrize("text", ["a", "7", "語", "👍", "x_", "- a", "&"[:0] + "é"])
def test_words(text: str) -> None:
    assert has_words(text)
    assert says_something(text)


@pytest.mark.parametrize("text", ["", "-", "...", "\u200b", "\ufeff", "___", "|---|", "“”"])
def test_no_words(text: str) -> None:
    assert not has_words(text)
    assert not says_something(text)


@pytest.mark.parametrize("text", ["<br>", "&nbsp;", "![](x.png)", "<!-- a -->", "[TOC]", "{:toc}", "```sh\n```"])
def test_markup_of_nothing(text: str) -> None:
    assert has_words(text)
    assert not says_something(text)


@pytest.mark.parametrize("text", ["![a chart](x.png)", "[Use](use.md)", "<b>bold</b>", "<!-- open", "`x`"])
def test_markup_of_something(text: str) -> None:
    assert says_something(text)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- " * 200_000,
        "![" * 200_000,
        "![\n" * 200_000,
        "![](" * 200_000,
        "[a](#" * 200_000,
        "<a " * 200_000,
        "```" + " " * 200_000 + "!",
        "[" * 200_000,
    ],
)
def test_much_that_is_open_takes_linear_time(text: str) -> None:
    assert says_something(f"{text} a")
