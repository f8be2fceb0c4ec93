"""Markdown of paragraphs, headings and code alone, read many times as quickly as by the parser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

_HEADING: Final = re.compile(r"(#{1,6})[ \t]+([^ \t\x00][^\x00]*)$")
_FENCE: Final = re.compile(r"`{3,}(?=[^`]*$)|~{3,}")
_CLOSING: Final = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*$")
_INDENTED: Final = ("    ", "\t")
_OTHER: Final = re.compile(
    r"[ <>]"  # what is indented a little, HTML, quotes
    r"|(?:[*+-]|[0-9]{1,9}[.)])(?:[ \t]|$)"  # items of lists
    r"|[*_-][*_ \t-]*$|=+[ \t]*$"  # rules, lines below headings
    r"|[|:-][|: \t-]*$"  # lines below headers of tables
)

LineKind = Literal["text", "heading", "fence", "code", "other"]


@dataclass(slots=True)
class SimpleMarkdown:
    """What a simple text is made of, in order; lines are counted from 0, ranges of them half-open.

    Attributes:
        headings: level, markup and line of each.
        blocks: kind and lines of each.
    """

    headings: list[tuple[int, str, int]] = field(default_factory=list)
    blocks: list[tuple[Literal["text", "code"], int, int]] = field(default_factory=list)


def simple_markdown(text: str) -> SimpleMarkdown | None:
    """The structure of a text of paragraphs, headings and code; None if there may be anything else in it.

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
        elif kind == "heading" and (heading := _heading(line)) is not None:
            found.headings.append((*heading, at))
            at += 1
        elif (end := _end(lines, at, kind)) > 0 and not (may_have_targets and line[0] == "["):
            found.blocks.append(("text" if kind == "text" else "code", at, end))
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
    if _FENCE.match(line):
        return "fence"
    return "other" if _OTHER.match(line) else "text"


def _heading(line: str) -> tuple[int, str] | None:
    """Level and markup; None for what is no heading, or ends with marks that may not belong to it."""
    found = _HEADING.match(line)
    if found is None or line.rstrip().endswith("#"):
        return None
    return len(found[1]), found[2].strip()


def _end(lines: Sequence[str], start: int, kind: LineKind) -> int:
    """The line after a block; 0 if it is not as simple as it begins."""
    if kind == "text":
        return _paragraph_end(lines, start)
    if kind == "code":
        return _code_end(lines, start)
    return _fence_end(lines, start) if kind == "fence" else 0


def _paragraph_end(lines: Sequence[str], start: int) -> int:
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if not line.strip(" \t"):
            return number
        kind = _kind(line)
        if kind in {"heading", "fence"}:
            return number
        if kind == "other":
            return 0
    return len(lines)


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
    return 0
