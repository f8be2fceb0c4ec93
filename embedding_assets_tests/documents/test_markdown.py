from __future__ import annotations

import pytest

from embedding_assets.documents.markdown import markdown_headings, markdown_title


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One\n\ntext\n\n## Two\n", [(1, "One", 0, 1), (2, "Two", 4, 5)]),
        ("One\n===\ntext\n\nTwo\n---\n", [(1, "One", 0, 2), (2, "Two", 4, 6)]),
        ("```\n# no\n```\n\n    # no\n\n> # no\n\n- # no\n", []),
        ("---\ntitle: x\n---\n# One\n", [(1, "One", 3, 4)]),
        ("---\n\n# One\n\n---\n", [(1, "One", 2, 3)]),
        ("# A [link](http://x) <b>bold</b> ![image](y)  &amp;\n", [(1, "A link bold image &", 0, 1)]),
        ("Two\nlines\n===\n", [(1, "Two lines", 0, 3)]),
        ("#\n", [(1, "", 0, 1)]),
    ],
)
def test_markdown_headings(text: str, expected: list[tuple[int, str, int, int]]) -> None:
    assert [(one.level, one.text, one.start, one.end) for one in markdown_headings(text)] == expected


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Title\n\ntext\n\n## One\n", "Title"),
        ("Title\nof two\n===\n\ntext\n", "Title of two"),
        ("#\n\n# Title\n", "Title"),
        ("text", ""),
        ("## How do I cancel?\n\nBilling.\n\n## Which cards?\n\nVisa.\n", ""),
        ("# One\n\na\n\n# Two\n\nb\n", ""),
        ("## Before\n\n# After\n", ""),
        ("# Title\n\n```sh\n# a comment\n```\n", "Title"),
        ("# Title\n" + "word " * 10_000 + "\n\n# Two\n", ""),
        ('<h1 align="center">A <em>tool</em></h1>\n\ntext\n\n## Use\n', "A tool"),
        ("## Use\n\n<h1>Late</h1>\n", ""),
    ],
)
def test_the_title_is_a_first_heading_alone_at_its_level(text: str, title: str) -> None:
    assert markdown_title(text) == title


@pytest.mark.parametrize(
    "formula",
    [
        "$$\na\n=\nb\n=\nc\n$$",
        "so\n$$ a\n=\nb $$",
        "\\begin{align}\na\n-\nb\n\\end{align}",
        "$$\n\\begin{aligned}\na\n=\nb\n\\end{aligned}\n$$",
    ],
)
def test_lines_of_a_formula_are_no_headings(formula: str) -> None:
    text = f"# Title\n\n{formula}\n\n## End\n"
    assert [one.text for one in markdown_headings(text)] == ["Title", "End"]


@pytest.mark.parametrize(
    "text",
    [
        "Costs $$\n========\nwords\n\n$$\nx\n$$\n",
        "$$x$$\n# Costs\n$$y$$\n",
        "the shell is `$$`\n# Costs\nand $$\n",
        "```\necho $$\n```\n# Costs\n$$x$$\n",
        "$$\n# Costs\n$$\n",
        "$$\nCosts\n=====\n$$\n",
        "Price: $$\nCosts\n=\nPrice: $$\n",
        "$$ a $$\nCosts\n=\n$$ b $$\n",
    ],
)
def test_headings_beside_formulas_are_headings(text: str) -> None:
    assert ["Costs" in one.text for one in markdown_headings(text)] == [True]


def test_a_price_of_dollars_takes_no_heading() -> None:
    text = "# Restaurants\n## Luigi\nPasta. Price: $$\n## Mario\nFish. Price: $$\n"
    assert [one.text for one in markdown_headings(text)] == ["Restaurants", "Luigi", "Mario"]


def test_many_headings_beside_formulas_are_read() -> None:
    assert len(markdown_headings("$$\n\n" + "# abc\n" * 150_000)) == 150_000
    assert len(markdown_headings("$$\n\n" + "a\n=\n" * 250_000)) == 250_000
