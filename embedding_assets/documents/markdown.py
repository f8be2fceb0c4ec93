"""The headings of a Markdown text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_TITLE_SEARCH_CHARACTERS = 20_000
_HEADING_CHARACTERS = 500
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?=[\w-]+[ \t]*:).*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Heading:
    """A Markdown heading; ``start`` and ``end`` are the half-open range of its lines, counted from 0."""

    level: int
    text: str
    start: int
    end: int


def markdown_title(text: str) -> str:
    """The first heading of a Markdown text; empty if none stands near its beginning."""
    headings = markdown_headings(text[:_TITLE_SEARCH_CHARACTERS])
    return next((heading.text for heading in headings if heading.text), "")


def markdown_headings(text: str) -> list[Heading]:
    """The headings that divide a Markdown text; not those inside quotes, lists, code or front matter.

    Args:
        text: with ``\\n`` as its only line ending.
    """
    from markdown_it import MarkdownIt

    blocks = MarkdownIt("commonmark").disable("inline")
    inline = MarkdownIt("commonmark")
    tokens = blocks.parse(_FRONT_MATTER.sub(lambda found: "\n" * found.group().count("\n"), text))
    headings = []
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map is not None:
            words = _inline_text(inline, content.content[:_HEADING_CHARACTERS])
            headings.append(Heading(int(opening.tag[1:]), words, opening.map[0], opening.map[1]))
    return headings


def _inline_text(parser: Any, markup: str) -> str:
    children = parser.parseInline(markup)[0].children or []
    kept = (" " if child.type == "softbreak" else child.content for child in children if child.type != "html_inline")
    return " ".join("".join(kept).split())
