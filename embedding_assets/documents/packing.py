"""Blocks of a section → pieces that fit, each filled as far as the structure allows."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from embedding_assets.documents.sections import Block
from embedding_assets.documents.words import is_blank

# The splitter reads ahead within what it is given, which takes quadratic time in a long text without paragraphs.
_PORTION_CHARACTERS = 32_768
# What stands before a block that has to be cut is cut with it if it would fill less of a chunk than one in so many.
_SMALL_PART = 4
_CODE = re.compile(r"`|~~~|^(?: {4}|\t)", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_SENTENCE_START = re.compile(r"(?:(?<=[.!?])[ \t]+|\n\s*)(?=\S)")
_WORD_START = re.compile(r"(?<=\s)(?=\S)")


class Piece(NamedTuple):
    """A stretch of a text, without the blank around it, and what is repeated around it.

    Attributes:
        start: offset in the text.
        end: offset at which it ends.
        before: e.g. the header of the table that it is a piece of.
        after: e.g. the fence of code that goes on.
    """

    start: int
    end: int
    before: str = ""
    after: str = ""

    def of(self, text: str) -> str:
        """The text of the piece."""
        start, end = self.inside(text)
        return f"{self.before}{text[start:end]}{self.after}"

    def inside(self, text: str) -> tuple[int, int]:
        """Start and end without blank lines around; the first line's indentation stays, for it may be code."""
        part = text[self.start : self.end]
        end = self.start + len(part.rstrip())
        first = self.start + len(part) - len(part.lstrip())
        return min(text.rfind("\n", self.start, first) + 1 or self.start, end), end


class _Unit(NamedTuple):
    """What is not cut any more; it follows the one before it without a gap."""

    start: int
    end: int
    size: int
    before: str = ""
    after: str = ""


class Packer:
    """Packs the blocks of one section.

    Args:
        text: the document's.
        size: tokens of a text.
        capacity: most tokens of a piece.
        max_characters: most characters of a piece.
        overlap: tokens of the piece before that a piece begins with.
        markdown: whether sentences are those of Markdown.
    """

    def __init__(
        self,
        text: str,
        size: Callable[[str], int],
        *,
        capacity: int,
        max_characters: int,
        overlap: int,
        markdown: bool,
    ) -> None:
        self._text = text
        self._size = size
        self._capacity = max(1, capacity - overlap)
        self._max_characters = max_characters
        self._overlap = overlap
        self._is_markdown = markdown
        self._kind: Any = MarkdownSplitter if markdown else TextSplitter
        self._splitter = self._kind.from_callback(size, self._capacity)

    def pieces(self, blocks: Sequence[Block], of: Piece) -> list[Piece]:
        """The pieces of a stretch of these blocks, in order."""
        units: list[_Unit] = []
        for block in blocks:
            start, end = max(block.start, of.start), min(block.end, of.end)
            if start < end:
                self._add_units(units, block, start, end)
        pieces = [piece for piece in self._packed(units) if self._says(piece)]
        return self._lapped(pieces) if self._overlap else pieces

    def _says(self, piece: Piece) -> bool:
        """Whether there is anything in a piece; of Markdown, outside of code, also besides comments and anchors."""
        text = self._text[piece.start : piece.end]
        if not self._is_markdown or piece.before or piece.after or "<" not in text or _CODE.search(text):
            return bool(text.strip())
        return not is_blank(text)

    def _add_units(self, units: list[_Unit], block: Block, start: int, end: int) -> None:
        def unit(first: int, last: int, size: int) -> _Unit:
            return _Unit(first, last, size, before if first > block.start else "", after if last < block.end else "")

        size = self._size(self._text[start:end])
        before = self._affordable(block.before)
        after = block.after if before else ""
        if size <= self._capacity:
            units.append(unit(start, end, size))
        elif not block.parts:
            units += [_Unit(*cut) for cut in self._cut_after(units, start, end)]
        else:
            room = self._capacity - (self._size(before) + self._size(after) if before else 0)
            for first, last in self._parts(block, start, end, room):
                size = self._size(self._text[first:last])
                units += [unit(*cut) for cut in ([(first, last, size)] if size <= room else self._cut(first, last))]

    def _affordable(self, before: str) -> str:
        """What is repeated, unless it would take too much of each piece."""
        return before if before and self._size(before) <= self._capacity // 2 else ""

    def _parts(self, block: Block, start: int, end: int, room: int) -> Iterator[tuple[int, int]]:
        cuts = block.parts[bisect_left(block.parts, start + 1) : bisect_left(block.parts, end)]
        if block.kind != "code":
            yield from _between(start, cuts, end)
            return
        # Rather between paragraphs of code than between lines of one.
        known = frozenset(cuts)
        ends = [found.end() for found in _BLANK_LINE.finditer(self._text, start, end) if found.end() in known]
        for first, last in _between(start, ends, end):
            if self._size(self._text[first:last]) <= room:
                yield first, last
            else:
                yield from _between(first, cuts[bisect_left(cuts, first + 1) : bisect_left(cuts, last)], last)

    def _cut_after(self, units: Sequence[_Unit], start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """As ``_cut``; what is little before it gets a beginning to stand with."""
        before = units[-1].size if units else 0
        if 0 < before < self._capacity // _SMALL_PART:
            reach = min(end, start + self._max_characters)
            found = self._kind.from_callback(self._size, self._capacity - before).chunk_indices(self._text[start:reach])
            if len(found) > 1:
                first = start + found[1][0]
                yield start, first, self._size(self._text[start:first].strip())
                start = first
        yield from self._cut(start, end)

    def _cut(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Start, end and size of pieces between sentences, or words, or in words."""
        for first, last in self._portions(start, end):
            found = [first + offset for offset, chunk in self._splitter.chunk_indices(self._text[first:last])]
            for left, right in _between(first, found[1:], last):
                yield left, right, self._size(self._text[left:right].strip())

    def _portions(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """A long stretch in portions, parted at the last paragraph, line or word that is within reach."""
        while end - start > _PORTION_CHARACTERS:
            stop = start + _PORTION_CHARACTERS
            ends = (self._text.rfind(mark, start + 1, stop) for mark in ("\n\n", "\n", " "))
            cut = next((cut for cut in ends if cut > start), stop)
            yield start, cut
            start = cut
        yield start, end

    def _packed(self, units: Sequence[_Unit]) -> list[Piece]:
        pieces: list[Piece] = []
        size = 0
        for unit in units:
            if pieces:
                last = pieces[-1]
                joined = Piece(last.start, unit.end, last.before, unit.after)
                characters = unit.end - last.start + len(last.before)
                if size + unit.size <= self._capacity and characters <= self._max_characters:
                    pieces[-1] = joined
                    size += unit.size
                    continue
            pieces.append(Piece(unit.start, unit.end, unit.before, unit.after))
            size = unit.size + (self._size(unit.before) + self._size(unit.after) if unit.before else 0)
        return pieces

    def _lapped(self, pieces: Sequence[Piece]) -> list[Piece]:
        lapped = list(pieces[:1])
        for left, right in pairwise(pieces):
            start = right.start if right.before or left.after else self._overlap_start(left.start, right.start)
            lapped.append(Piece(start, right.end, right.before, right.after))
        return lapped

    def _overlap_start(self, earliest: int, start: int) -> int:
        """Where the overlap before an offset begins: at a sentence if there is one within reach, else at a word."""
        low = max(earliest, start - self._max_characters)
        for marks in (_SENTENCE_START, _WORD_START):
            reached = start
            for found in reversed([one.end() for one in marks.finditer(self._text, low, start)]):
                if self._size(self._text[found:start]) > self._overlap:
                    break
                reached = found
            if reached < start:
                return reached
        return start


def _between(start: int, cuts: Sequence[int], end: int) -> Iterator[tuple[int, int]]:
    at = start
    for cut in cuts:
        if at < cut < end:
            yield at, cut
            at = cut
    yield at, end
