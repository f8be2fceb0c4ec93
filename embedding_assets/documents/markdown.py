"""The headings and blocks of a Markdown text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from embedding_assets.documents.front_matter import front_matter_end
from embedding_assets.documents.simple_markdown import simple_markdown

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_TITLE_SEARCH_CHARACTERS = 20_000
_HEADING_CHARACTERS = 500
# After a line ending rather than at the beginning of a line: what begins with a character is looked for far faster.
_FIRST_LEVEL = re.compile(r"\n {0,3}(?:#[ \t]|=+[ \t]*$)", re.MULTILINE)
_HTML_TITLE = re.compile(r"<h1\b[^<>]*>([^\0]{1,1000}?)</h1>", re.IGNORECASE)
# Not the underscore within a word, as in read_csv.
_INLINE_MARKS = re.compile(r"[\\`*\[<\n\x00]|&[#a-zA-Z]|(?<![^\W_])_|_(?![^\W_])")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
# What opens a formula at the beginning of a line, and what is in none.
_FORMULA = re.compile(r" {0,3}(?:\$\$|\\begin\{([^{}]{1,40})\})")
_NO_FORMULA = re.compile(r"`|^ {0,3}(?:~~~|#{1,6}[ \t])")

_PART_LEVELS = {"list_item_open": 1, "tr_open": 2}

Kind = Literal["text", "code", "table", "list", "html"]


class Heading(NamedTuple):
    """A Markdown heading; ``start`` and ``end`` are the half-open range of its lines, counted from 0."""

    level: int
    text: str
    start: int
    end: int


class LineBlock(NamedTuple):
    """A block between headings.

    Attributes:
        kind: what it is.
        start: its first line, counted from 0.
        end: the line after its last.
        parts: lines at which it can be cut: those at which rows or items begin.
        head: lines at its beginning that belong to each of its parts: of a table its header.
    """

    kind: Kind
    start: int
    end: int
    parts: tuple[int, ...] = ()
    head: int = 0


@dataclass(frozen=True, slots=True)
class MarkdownStructure:
    """What a Markdown text is made of, in order."""

    headings: Sequence[Heading]
    blocks: Sequence[LineBlock]


def markdown_title(text: str) -> str:
    """The heading that a Markdown text stands under as a whole: its first one, if it is the only one of its level, 1.

    One in HTML, as readmes have them, will do where it comes before all others. Empty if there is none.
    """
    start = text[:_TITLE_SEARCH_CHARACTERS]
    first = next((heading for heading in markdown_headings(start) if heading.text), None)
    if first is None or first.level > 1:
        return _html_title(start, first)
    lines = first.end - first.start
    others = len(_FIRST_LEVEL.findall(f"\n{text}")) > (1 if lines == 1 else lines - 1)
    if others and sum(heading.level == 1 for heading in markdown_headings(text)) > 1:
        return ""
    return first.text


def _html_title(start: str, first: Heading | None) -> str:
    found = _HTML_TITLE.search(start)
    if found is None or (first is not None and start.count("\n", 0, found.start()) > first.start):
        return ""
    return " ".join(_TAG.sub(" ", found.group(1)).split())[:_HEADING_CHARACTERS]


def markdown_headings(text: str) -> Sequence[Heading]:
    """The headings that divide a Markdown text; not those inside quotes, lists, code or front matter.

    Args:
        text: with ``\\n`` as its only line ending.
    """
    return markdown_structure(text).headings


# A document is looked at for its title, then split.
@lru_cache(maxsize=2)
def markdown_structure(text: str) -> MarkdownStructure:
    """The headings that divide a Markdown text, and the blocks between them.

    Args:
        text: with ``\\n`` as its only line ending.
    """
    end = front_matter_end(text)
    shown = "\n" * text.count("\n", 0, end) + text[end:] if end else text
    simple = simple_markdown(shown)
    if simple is None:
        found = parsed_structure(shown)
    else:
        headings = [
            Heading(level, _inline_text(markup[:_HEADING_CHARACTERS]), start, end)
            for level, markup, start, end in simple.headings
        ]
        found = MarkdownStructure(headings, [_block(*block) for block in simple.blocks])
    return _without_formulas(found, shown) if "$$" in shown or "\\begin{" in shown else found


def _without_formulas(found: MarkdownStructure, text: str) -> MarkdownStructure:
    """Without headings that are lines of a formula, as an equals sign alone makes one of the line above it."""
    lines = text.split("\n")
    signs = {
        one.end - 1 for one in found.headings if one.end - one.start > 1 and lines[one.end - 1].strip() in {"=", "-"}
    }
    if not signs:
        return found
    signs &= _lines_of_formulas(lines)
    return MarkdownStructure([one for one in found.headings if one.end - 1 not in signs], found.blocks)


def _lines_of_formulas(lines: Sequence[str]) -> set[int]:
    """The lines within formulas that begin and end at a line of their own, without a blank line or code in them."""
    within: set[int] = set()
    opened, end = 0, ""
    for at, line in enumerate(lines):
        if end and end in line:
            within.update(range(opened + 1, at))
            end = ""
        elif not line.strip() or _NO_FORMULA.search(line):
            end = ""
        elif not end and (begin := _FORMULA.match(line)) is not None:
            opened, end = at, "$$" if begin[1] is None else f"\\end{{{begin[1]}}}"
            if end in line[begin.end() :]:
                end = ""
    return within


def parsed_structure(text: str) -> MarkdownStructure:
    """As ``markdown_structure``, of a text without front matter, whatever is in it."""
    headings: list[Heading] = []
    blocks: list[tuple[Kind, int, int, list[int]]] = []
    tokens = _parsers()[1].parse(text)
    for at, token in enumerate(tokens):
        if token.map is None or token.nesting < 0:
            continue
        if token.level == _PART_LEVELS.get(token.type):
            blocks[-1][3].append(token.map[0])
        elif token.level:
            continue
        elif token.type == "heading_open":
            words = _inline_text(tokens[at + 1].content[:_HEADING_CHARACTERS])
            headings.append(Heading(int(token.tag[1:]), words, token.map[0], token.map[1]))
        else:
            blocks.append((_kind(token.type), token.map[0], token.map[1], []))
    return MarkdownStructure(headings, [_block(*block) for block in blocks])


@cache
def _parsers() -> tuple[MarkdownIt, MarkdownIt]:
    """Of lines, and of the blocks of a text; to make them takes longer than to parse a short text."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark"), MarkdownIt("commonmark").enable("table").disable("inline")


def _kind(token: str) -> Kind:
    kinds: dict[str, Kind] = {"fence": "code", "code_block": "code", "table_open": "table", "html_block": "html"}
    return "list" if token.endswith("_list_open") else kinds.get(token, "text")


def _block(kind: Kind, start: int, end: int, parts: Sequence[int]) -> LineBlock:
    if kind != "table":
        return LineBlock(kind, start, end, tuple(parts))
    # The rows below the header and the line under it.
    return LineBlock(kind, start, end, tuple(line for line in parts if line > start + 1), head=2)


def _inline_text(markup: str) -> str:
    if not _INLINE_MARKS.search(markup):
        return " ".join(markup.split())
    children = _parsers()[0].parseInline(markup)[0].children or []
    kept = (" " if child.type == "softbreak" else child.content for child in children if child.type != "html_inline")
    return " ".join("".join(kept).split())
