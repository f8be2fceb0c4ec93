from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_assets.documents.front_matter import front_matter_end
from embedding_assets.documents.markdown import markdown_structure, parsed_structure
from embedding_assets.documents.simple_markdown import simple_markdown

LINES = st.sampled_from(
    [
        "", " ", "\t", "words", "more words,", "word", "Ärger", "7", "1. one", "1.5 pounds", "12) x", "1234567890. x",
        "1.", "# One", "## Two ##", "#", "#tag", "# ", "#\tTab", "# a `b` *c* &amp; [d](e)", "####### seven",
        "# x\\#", " # y", "    code", "\tcode", "   three", " \tmixed", "```", "```sh", "````", "~~~", "``` `x`",
        "```x```", "   ```", "    ```", "~~~~ a ~", "`code`", "- item", "-", "--", "---", "-x", "- - -", "*", "* * *",
        "**bold** text", "*a*", "+ x", "+x", "_", "___", "_a_", "=", "===", "= x", "|", "|a|b|", "| --- | --- |",
        "---|---", ":--", ": term", "a | b", "> quote", "<div>", "<!-- x -->", "<http://a.b>", "[a]: b", "[a](b)",
        "[x", "y]: z", "[^1]: note", "(a)", "!", "![a](b)", "&", "\x0c", "\xa0", "\u2028", "\\# no", "\\", '"quoted"',
        "a\x00", "# a\x00b", "a  ", "{% raw %}", "$x$", "\u3000x",
        "- another", "* other", "2. two", "-   wide", "  goes on", "  - inner", "     deep", "      - deeper", "  # x",
        "> more", ">", "> - item", ">     code", "> ```", "- > quote", "  > quote", " >>> call()", "    > # x",
        "|a|b|c|", "|:-:|--|", "|-|", "| --- |\t", "||",
        "| a \\| b |", "- ```", "- # x", "- [a]: b",
    ]
)  # fmt: skip
TEXTS = st.lists(LINES, max_size=12).map("\n".join) | st.text(alphabet="#`~-*_=+|:<>[]()1. \t\nab\\!&", max_size=40)


@given(TEXTS)
def test_a_simple_text_has_the_structure_that_the_parser_finds(text: str) -> None:
    if simple_markdown(text) is not None and not front_matter_end(text):
        assert markdown_structure(text) == parsed_structure(text)


def test_pages_of_this_project_have_the_structure_that_the_parser_finds() -> None:
    sections = [
        section
        for page in (Path(__file__).parents[2] / "docs").glob("*.md")
        for section in page.read_text(encoding="utf-8").split("\n## ")
    ]
    simple = [section for section in sections if simple_markdown(section) is not None]
    assert len(simple) > 20
    for section in simple:
        assert markdown_structure(section) == parsed_structure(section)


@pytest.mark.parametrize(
    "text",
    [
        "words",
        "# Title\n\nwords\nand more\n## Next\nwords\n\n    code\n\n    more\n\nend\n",
        "words\n```sh\n# code\n- code\n```\n~~~\n```\n~~~\nwords\n    go on\n",
        "**Note** that 1.5 is\n`code`, -1 and *this*\n",
        "words:\n- one\n  and more\ngoes on\n\n- two\n  - inner\n\n  a paragraph\n\nend\n",
        "words\n\n---\n***\n _ _ _\nwords\n\n~~~~\ncode\n",
        "words\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n|3|\n\n| a |\n|-|\n",
        "  >>> call()\n  1\n\nTitle\n===\nof two\n   lines\n--\nwords\n\nnext\n-",
        ">>> call()\n1.5\n  more\n>>> call()\n[2]\n\nwords\n> quoted\n> # heading\n\n> quoted\ngoes on",
        "1. one\n2. two\n# Next\n> quoted\n> - item\n\n   a little indented\n",
    ],
)
def test_simple_texts(text: str) -> None:
    assert simple_markdown(text) is not None
    assert markdown_structure(text) == parsed_structure(text)


@pytest.mark.parametrize(
    "line",
    [
        "- ```",
        "- a\n* b",
        "- a\n\n      code",
        "> # a\nb",
        "> ```\nb",
        "> a\n>\nb",
        ">     a\nb",
        "> a\n- b",
        ">",
        "words\n1. a",
        "<p>",
        "a | b\n--|--",
        "a\n- -",
        "a | b\n---",
        "words\n| a |\n---",
        "# a |\n---",
        "words\n``` |\n| --- |",
        "[a]: b",
        " # a",
        "# a #",
    ],
)
def test_texts_for_the_parser(line: str) -> None:
    assert simple_markdown(f"# Title\n\nwords\n\n{line}\n") is None


@pytest.mark.parametrize("line", ["[a\n\n", "# a\n", "```\n", "words\n", "    a\n\n", "a `", "- a\n", "> a\n\n"])
def test_long_texts_take_linear_time(line: str) -> None:
    assert simple_markdown(line * 100_000) is not None
