"""Documents → sections under one heading, and the blocks in them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embedding_assets.documents.document import Document
from embedding_assets.documents.front_matter import front_matter_end
from embedding_assets.documents.lone_headings import lone_headings
from embedding_assets.documents.markdown import Heading, Kind, LineBlock, markdown_structure
from embedding_assets.documents.words import has_words, is_blank, says_something

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
    structure = markdown_structure(text)
    headings = structure.headings
    offsets = _line_offsets(text)
    # Of what stands before the first heading, and below each.
    starts = [front_matter_end(text), *(offsets[heading.end] for heading in headings)]
    ends = [*(offsets[heading.start] for heading in headings), len(text)]
    says = [says_something(text[start:end]) for start, end in zip(starts, ends, strict=True)]
    if not any(says):
        # Headings alone are kept where nothing else would be.
        is_kept = has_words(text) and headings and says_something(text)
        block = Block("text", 0, len(text))
        return [Section(document.context_header, (), 0, len(text), [block], markdown=True)] if is_kept else []
    sections = _Sections(document.context_header or document.metadata.title)
    blank = [not is_text and is_blank(text[start:end]) for is_text, start, end in zip(says, starts, ends, strict=True)]
    lone = lone_headings(headings, says[1:], blank[1:], sections.title)
    above: list[Heading] = []
    taken = 0
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if number:
            heading = headings[number - 1]
            above = [one for one in above if one.level < heading.level]
            if number - 1 in lone:
                found = lone[number - 1]
                sections.add_headings(above, ends[found.first], ends[found.end], is_statement=found.is_statement)
            above.append(heading)
        until = len(structure.blocks)
        if number < len(headings):
            until = bisect_left(structure.blocks, headings[number].start, taken, key=lambda block: block.start)
        if says[number]:
            begin = sections.begin(start)
            sections.add(above, begin, end, _blocks(text, offsets, begin, end, structure.blocks[taken:until]))
        elif not blank[number]:
            sections.interrupt()
        taken = until
    return sections.all()


class _Sections:
    """The sections of Markdown, with the headings that stand above no text in those beside them."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._found: list[Section] = []
        self._waiting: Section | None = None

    def begin(self, start: int) -> int:
        """Where the next section begins: at its text, or at headings above it that say little and follow nothing."""
        if self._waiting is not None:
            start = self._waiting.start
            self._waiting = None
        return start

    def add(self, above: Sequence[Heading], start: int, end: int, blocks: Sequence[Block]) -> None:
        """Add text below headings."""
        self._found.append(self._section(above, start, end, blocks))

    def add_headings(self, above: Sequence[Heading], start: int, end: int, *, is_statement: bool) -> None:
        """Add headings above no text: to the text that they follow, if they are below the same ones or say little."""
        start = self.begin(start)
        one = self._section(above, start, end, [Block("text", start, end)])
        last = self._found[-1] if self._found else None
        if last is not None and last.end == start and (last.names == one.names or not is_statement):
            self._found[-1] = replace(last, end=end, blocks=[*last.blocks, *one.blocks])
        elif is_statement:
            self._found.append(one)
        else:
            self._waiting = one

    def interrupt(self) -> None:
        """Note that something follows which belongs to no section, as a table of contents."""
        if self._waiting is not None:
            self._found.append(self._waiting)
            self._waiting = None

    def all(self) -> list[Section]:
        """All of them in order."""
        self.interrupt()
        return self._found

    def _section(self, above: Sequence[Heading], start: int, end: int, blocks: Sequence[Block]) -> Section:
        return Section(self.title, _below(self.title, [one.text for one in above]), start, end, blocks, markdown=True)


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
