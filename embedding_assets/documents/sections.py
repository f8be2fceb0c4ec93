"""Documents → sections under one heading, and the blocks in them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedding_assets.documents.document import Document
from embedding_assets.documents.front_matter import front_matter_end
from embedding_assets.documents.markdown import Heading, Kind, LineBlock, markdown_structure
from embedding_assets.documents.words import has_words, says_something

if TYPE_CHECKING:
    from embedding_assets.config import HeaderChoice

_PARAGRAPH_END = re.compile(r"\n(?:[ \t]*\n)+")
_MARKS = re.compile(r"[`~]+")
_FENCE = re.compile(r"[ \t]{0,3}(`{3,}|~{3,})[^\n]*\n")
_HTML_TABLE = re.compile(r"\s*(?:<[a-zA-Z][^<>]*>\s*)?<table\b", re.IGNORECASE)
_HTML_ROW = re.compile(r"<tr\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]\s+")


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a text; the blocks of a section follow one another without gaps.

    Attributes:
        kind: what it is.
        start: offset in the text.
        end: offset at which the next one starts.
        parts: offsets at which it can be cut, in order.
        before: what each piece but the first repeats: the header of a table, the fence of code, a list's lead-in.
        after: what each piece but the last ends with.
    """

    kind: Kind
    start: int
    end: int
    parts: Sequence[int] = ()
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a text under one header.

    Attributes:
        title: what the whole text is called; empty if it has no name but its file's.
        names: headings above it, outermost first, without the title.
        start: offset in the text.
        end: offset at which it ends.
        blocks: what it is made of.
        markdown: whether it is Markdown.
    """

    title: str
    names: tuple[str, ...]
    start: int
    end: int
    blocks: Sequence[Block]
    markdown: bool

    def header(self, choice: HeaderChoice) -> str:
        """Title and headings, or those of them that are chosen."""
        title = [self.title] if self.title and choice in {"all", "title"} else []
        return " > ".join([*title, *(self.names if choice in {"all", "headings"} else ())])


def sections_of(document: Document) -> list[Section]:
    """The sections of a document that say something; ``document.text`` has ``\\n`` as its only line ending."""
    if document.markdown:
        return _markdown_sections(document)
    text = document.text
    if not document.parts:
        return [_plain_section(text, *_given(document), 0, len(text))] if has_words(text) else []
    root = document.context_header or document.metadata.title
    return [
        _code_section(text, root, _below(root, part.names), part.start, part.end)
        if document.is_code
        else _plain_section(text, root, _below(root, part.names), part.start, part.end)
        for part in document.parts
        if has_words(text[part.start : part.end])
    ]


def _given(document: Document) -> tuple[str, tuple[str, ...]]:
    """Title and headings of a text without headings of its own."""
    header = document.context_header
    return (header, ()) if header == document.metadata.title else ("", (header,))


def _below(title: str, names: Sequence[str]) -> tuple[str, ...]:
    """The headings below a title, which may be the first of them itself."""
    kept = tuple(name for name in names if name)
    return kept[1:] if title and kept[:1] == (title,) else kept


def _plain_section(text: str, title: str, names: tuple[str, ...], start: int, end: int) -> Section:
    blocks = []
    at = start
    for found in _PARAGRAPH_END.finditer(text, start, end):
        blocks.append(Block("text", at, found.end()))
        at = found.end()
    if at < end:
        blocks.append(Block("text", at, end))
    return Section(title, names, start, end, blocks, markdown=False)


def _code_section(text: str, title: str, names: tuple[str, ...], start: int, end: int) -> Section:
    return Section(title, names, start, end, [_code_block(text, start, start, end, fence="")], markdown=False)


def _markdown_sections(document: Document) -> list[Section]:
    text = document.text
    root = document.context_header or document.metadata.title
    structure = markdown_structure(text)
    offsets = _line_offsets(text)
    sections: list[Section] = []
    above: list[Heading] = []
    start, taken = front_matter_end(text), 0
    for heading in [*structure.headings, Heading(1, "", len(offsets) - 1, len(offsets) - 1)]:
        end = max(start, offsets[heading.start])
        until = bisect_left(structure.blocks, heading.start, taken, key=lambda block: block.start)
        if says_something(text[start:end]):
            blocks = _blocks(text, offsets, start, end, structure.blocks[taken:until])
            names = _below(root, [one.text for one in above])
            sections.append(Section(root, names, start, end, blocks, markdown=True))
        taken = until
        above = [*(one for one in above if one.level < heading.level), heading]
        start = offsets[heading.end]
    if not sections and has_words(text) and structure.headings and says_something(text):
        # Headings alone are kept where nothing else would be.
        return [Section(document.context_header, (), 0, len(text), [Block("text", 0, len(text))], markdown=True)]
    return sections


def _line_offsets(text: str) -> list[int]:
    """Where each line starts, and the end."""
    at = 0
    offsets = [0, *[at := at + len(line) + 1 for line in text.split("\n")[:-1]]]
    if offsets[-1] < len(text):
        offsets.append(len(text))
    # Of a line that is counted after the last line ending.
    offsets.append(len(text))
    return offsets


def _blocks(text: str, offsets: Sequence[int], start: int, end: int, found: Sequence[LineBlock]) -> list[Block]:
    blocks: list[Block] = []
    for number, block in enumerate(found):
        # What belongs to no block, such as blank lines and targets of links, goes with the next one.
        begins = blocks[-1].end if blocks else start
        ends = end if number + 1 == len(found) else offsets[block.end]
        first = offsets[block.start]
        parts = [offsets[line] for line in block.parts]
        if block.kind == "table":
            blocks.append(Block("table", begins, ends, parts, text[first : offsets[block.start + block.head]]))
        elif block.kind == "list":
            blocks.append(Block("list", begins, ends, parts[1:], _lead_in(text[max(start, first - 500) : first])))
        elif block.kind == "code":
            fence = _FENCE.match(text, first, ends)
            blocks.append(_code_block(text, begins, first, ends, fence=fence.group() if fence else ""))
        elif block.kind == "html" and len(rows := _html_rows(text, first, ends)) > 1:
            blocks.append(Block("table", begins, ends, rows[1:], f"{text[first : rows[1]].rstrip()}\n"))
        else:
            blocks.append(Block("text", begins, ends))
    return blocks or [Block("text", start, end)]


def _html_rows(text: str, start: int, end: int) -> list[int]:
    """Where the rows of a table begin that is written in HTML."""
    if not _HTML_TABLE.match(text, start):
        return []
    return [found.start() for found in _HTML_ROW.finditer(text, start, end)]


def _lead_in(above: str) -> str:
    """The sentence before a list that leads to it, with the line ending it needs; empty if there is none."""
    line = above.rstrip().rpartition("\n")[2].strip()
    if not line.rstrip("*_ ").endswith(":"):
        return ""
    return f"{_SENTENCE_END.split(line)[-1]}\n\n"


def _code_block(text: str, start: int, first: int, end: int, *, fence: str) -> Block:
    marks = _MARKS.match(fence.strip())
    parts = list(_line_starts(text, first + len(fence), end))
    if marks is None:
        return Block("code", start, end, parts)
    # The last fence alone would be a piece of nothing.
    while parts and not text[parts[-1] : end].strip(" \t\n`~"):
        parts.pop()
    return Block("code", start, end, parts, fence, f"\n{marks.group()}")


def _line_starts(text: str, start: int, end: int) -> Iterator[int]:
    at = text.find("\n", start, end)
    while 0 <= at < end - 1:
        yield at + 1
        at = text.find("\n", at + 1, end)
