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


@pytest.mark.parametrize(
    "text",
    [
        *(
            "<br>",
            "<br/>",
            '<a name="x">',
            "</svg:g>",
            "&nbsp;",
            "![](x.png)",
            "<!-- a -->",
            "<!--\nwords\n-->",
            "<a\nname='x'>",
            "![\n](x)",
            "[TOC]",
            "{:toc}",
            "```sh\n```",
        ),
        *("[a]: b.md", '[a]: <b c.md> "Title"', "[a]: b.md (Title) ", "[a]:b.md\n[c]: d.md"),
    ],
)
def test_markup_of_nothing(text: str) -> None:
    assert has_words(text)
    assert not says_something(text)


@pytest.mark.parametrize(
    "text",
    [
        *("![a chart](x.png)", "[Use](use.md)", "<b>bold</b>", "<!-- open", "`x`"),
        *("<help@example.org>", "<https://example.org/refunds>", "[^1]: Refunds take ten days.", "[^1]: b.md"),
        *("words\n<br>", "<br>\n  words", "<a\nname='x'>\nwords"),
        *("[Warning]: do not restart it", "<tel:5551234>", "<issn:1234-5678>"),
    ],
)
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
        "[a]: b" + " " * 200_000 + "c",
        "[a]: <" * 200_000,
        "<a-" * 200_000,
    ],
)
def test_much_that_is_open_takes_linear_time(text: str) -> None:
    assert says_something(f"{text} a")
