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


def test_the_title_is_the_first_heading_that_says_something() -> None:
    assert markdown_title("#\n\n## Title\n") == "Title"
    assert markdown_title("text") == ""
