"""Markdown of paragraphs, headings, code, plain lists and quotes, read many times as quickly as by the parser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

_HEADING: Final = re.compile(r"(#{1,6})[ \t]+([^ \t\x00][^\x00]*)$")
_FENCE: Final = re.compile(r"`{3,}(?=[^`]*$)|~{3,}")
_CLOSING: Final = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*$")
_RULE: Final = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_UNDERLINE: Final = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_QUOTING: Final = re.compile(r" {0,3}(?:> ?)+")
_BELOW_HEADER: Final = re.compile(r"\|(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*$")
_MAYBE_BELOW_HEADER: Final = re.compile(r" {0,3}[|:-][|: \t-]*$")
_MOST_CELLS: Final = 60_000
_INDENTED: Final = ("    ", "\t")
_OTHER: Final = re.compile(
    r"<"  # HTML
    r"|(?:[*+-]|[0-9]{1,9}[.)])(?:[ \t]|$)"  # items of lists
    r"|[*_-][*_ \t-]*$|=+[ \t]*$"  # rules, lines below headings
    r"|[|:-][|: \t-]*$"  # lines below headers of tables
)

_ITEM: Final = re.compile(r"(?:[*+-]|[0-9]{1,9}[.)]) {1,3}(?=[^ \t])")
_CODE_COLUMNS: Final = 4

LineKind = Literal["text", "heading", "fence", "code", "item", "quote", "other"]
BlockKind = Literal["text", "code", "list", "table"]
FoundBlock = tuple[BlockKind, int, int, tuple[int, ...]]


@dataclass(slots=True)
class SimpleMarkdown:
    """What a simple text is made of, in order; lines are counted from 0, ranges of them half-open.

    Attributes:
        headings: level, markup and lines of each.
        blocks: kind and lines of each, and those at which the items of a list or the rows of a table begin.
    """

    headings: list[tuple[int, str, int, int]] = field(default_factory=list)
    blocks: list[FoundBlock] = field(default_factory=list)


def simple_markdown(text: str) -> SimpleMarkdown | None:
    """The structure of a text; None if there may be anything in it that takes the parser.

    Args:
        text: with ``\\n`` as its only line ending.
    """
    found = SimpleMarkdown()
    may_have_targets = "]:" in text
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        kind = _kind(line) if line.strip(" \t") else None
        if kind is None:
            at += 1
        elif kind in {"heading", "fence"} and _may_head_table(lines, at):
            return None
        elif kind == "heading" and (heading := _heading(line)) is not None:
            found.headings.append((*heading, at, at + 1))
            at += 1
        elif may_have_targets and (kind in {"item", "quote"} or line.lstrip(" ").startswith("[")):
            return None
        elif (block := _block(lines, at, kind)) is not None:
            found.blocks.append(block)
            at = block[2]
        elif kind == "text" and (end := _underlined_end(lines, at)) > 0:
            level = 1 if "=" in lines[end - 1] else 2
            found.headings.append((level, "\n".join(lines[at : end - 1]).strip(), at, end))
            at = end
        else:
            return None
    return found


def _kind(line: str) -> LineKind:
    """What a line is that is not blank, where a block begins."""
    first = line[0]
    if first.isalpha():
        return "text"
    if line.startswith(_INDENTED):
        return "code"
    if first == "#":
        return "heading"
    if first == ">":
        return "quote"
    return "fence" if _FENCE.match(line) else _kind_of_text(line)


def _kind_of_text(line: str) -> LineKind:
    if not (line[0] == " " or _OTHER.match(line)):
        return "text"
    begun = len(line) - len(line.lstrip(" ")) or _column(line)
    kind = _kind(line[begun:]) if begun else "other"
    if line[0] == " ":
        return kind if kind in {"text", "quote"} else "other"
    return "item" if kind == "text" else "other"


def _heading(line: str) -> tuple[int, str] | None:
    """Level and markup; None for what is no heading, or ends with marks that may not belong to it."""
    found = _HEADING.match(line)
    if found is None or line.rstrip().endswith("#"):
        return None
    return len(found[1]), found[2].strip()


def _may_head_table(lines: Sequence[str], at: int) -> bool:
    """Whether a line may be the header of a table, which comes before all else that it looks like."""
    return "|" in lines[at] and at + 1 < len(lines) and _MAYBE_BELOW_HEADER.match(lines[at + 1]) is not None


def _block(lines: Sequence[str], start: int, kind: LineKind) -> FoundBlock | None:
    """The block that begins with a line; None if it is not as simple as it begins."""
    if kind == "item":
        items, end = _list(lines, start)
        return ("list", start, end, tuple(items)) if end else None
    if lines[start][0] == "|" and (end := _table_end(lines, start)):
        return "table", start, end, tuple(range(start, end))
    end = _end(lines, start, kind)
    return ("code" if kind in {"code", "fence"} else "text", start, end, ()) if end else None


def _end(lines: Sequence[str], start: int, kind: LineKind) -> int:
    """The line after a block; 0 if it is not as simple as it begins."""
    if kind == "text":
        return _paragraph_end(lines, start)
    if kind == "code":
        return _code_end(lines, start)
    if kind == "quote":
        return _quote_end(lines, start)
    if kind == "fence":
        return _fence_end(lines, start)
    return start + 1 if kind == "other" and _RULE.match(lines[start]) else 0


def _paragraph_end(lines: Sequence[str], start: int) -> int:
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if not line.strip(" \t"):
            return number
        kind = _kind(line)
        # Of the lists with numbers only those from 1 on end a paragraph.
        if kind in {"heading", "fence", "quote"} or (kind == "item" and not line[0].isdigit()):
            return number
        if kind in {"item", "other"}:
            return 0
    return len(lines)


def _underlined_end(lines: Sequence[str], start: int) -> int:
    """The line after that below a heading; 0 if it is none, or the line above might be the header of a table."""
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if _UNDERLINE.match(line):
            words = "".join(lines[start:number])
            return 0 if "\x00" in words or "|" in words else number + 1
        if not line.strip(" \t") or _kind(line) not in {"text", "code"}:
            return 0
    return 0


def _table_end(lines: Sequence[str], start: int) -> int:
    """The line after a table with all its bars; 0 if it is not that simple, or none."""
    header = lines[start].rstrip(" \t")
    columns = header.count("|") - 1
    is_header = columns > 0 and header[-1] == "|" and "\\" not in header
    below = lines[start + 1] if is_header and start + 1 < len(lines) else ""
    if below.count("|") - 1 != columns or not _BELOW_HEADER.match(below):
        return 0
    end = start + 2
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    is_over = end == len(lines) or not lines[end].strip(" \t")
    return end if is_over and (end - start) * columns < _MOST_CELLS else 0


def _quote_end(lines: Sequence[str], start: int) -> int:
    end = start
    is_of_text = True
    while end < len(lines) and lines[end].strip(" \t"):
        line = lines[end]
        kind = _kind(line)
        if kind == "quote":
            is_of_text = is_of_text and _is_quoted_text(line)
        elif not is_of_text or kind != "text":
            return 0  # only with a paragraph a line without the mark goes on
        end += 1
    # To one that ends with an empty line belong those after it.
    return end if lines[end - 1].strip("> \t") else 0


def _is_quoted_text(line: str) -> bool:
    quoted = _QUOTING.sub("", line, count=1)
    return bool(quoted.strip(" \t")) and _kind(quoted) == "text"


def _list(lines: Sequence[str], start: int) -> tuple[list[int], int]:
    """The lines at which the items of a list begin, and the line after it; 0 if it is not as simple as it begins.

    Of paragraphs alone, also those of items of lists in it: to an item belongs what is indented as its text is, and
    what goes on with a paragraph.
    """
    items: list[int] = []
    mark = _mark(lines[start])
    column = 0
    is_after_blank = False
    for number in range(start, len(lines)):
        line = lines[number]
        shown = line.lstrip(" ")
        if not line.strip(" \t"):
            is_after_blank = True
            continue
        if shown[0] == "\t":
            return items, 0
        indent = len(line) - len(shown)
        kind = _kind(shown)
        if indent == 0 and kind == "item":
            if _mark(line) != mark:
                return items, 0
            items.append(number)
            column = _column(line)
        elif indent == 0 and (is_after_blank or kind in {"heading", "fence"}):
            return items, number
        elif kind not in {"text", "item"} or (
            indent and not _is_within(indent - column, is_after_blank=is_after_blank)
        ):
            return items, 0
        is_after_blank = False
    return items, len(lines) - (not lines[-1].strip(" \t"))


def _is_within(columns: int, *, is_after_blank: bool) -> bool:
    """Whether a paragraph indented so much more than the text of an item, or less, is surely the item's."""
    return 0 <= columns < _CODE_COLUMNS or (columns > 0 and not is_after_blank)


def _mark(line: str) -> str:
    """What tells an item of one list from that of another."""
    return line[: _column(line)].rstrip()[-1]


def _column(line: str) -> int:
    """Where the text of an item begins."""
    found = _ITEM.match(line)
    return found.end() if found else 0


def _code_end(lines: Sequence[str], start: int) -> int:
    end = start
    for number in range(start, len(lines)):
        line = lines[number]
        if line.strip(" \t"):
            if not line.startswith(_INDENTED):
                break
            end = number
    return end + 1


def _fence_end(lines: Sequence[str], start: int) -> int:
    opening = _FENCE.match(lines[start])
    fence = opening.group() if opening else ""
    for number in range(start + 1, len(lines)):
        found = _CLOSING.match(lines[number])
        if found and found[1].startswith(fence):
            return number + 1
    return len(lines) - (not lines[-1].strip(" \t"))
