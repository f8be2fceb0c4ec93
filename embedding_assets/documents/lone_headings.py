"""Headings that stand above nothing, as statements, names of slides and lines in the style of a heading do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from embedding_assets.documents.markdown import Heading
from embedding_assets.documents.words import has_words

_FEWEST_WORDS: Final = 4
_WORD: Final = re.compile(r"[\u3005-\u9fff\uac00-\ud7af]|[^\W_\u3005-\u9fff\uac00-\ud7af]+")
"""Also a character where there are no spaces between words."""


@dataclass(frozen=True, slots=True)
class LoneHeadings:
    """Headings that follow one another, at most as high as the first, and are above no text.

    Attributes:
        first: number of the first, counted from 0.
        end: number of the one behind the last.
        is_statement: whether they say enough to be found by themselves.
    """

    first: int
    end: int
    is_statement: bool


def lone_headings(
    headings: Sequence[Heading], says: Sequence[bool], blank: Sequence[bool], title: str
) -> dict[int, LoneHeadings]:
    """Those of a text, by the number of their first.

    Args:
        headings: all of it.
        says: whether there is text below each, up to the next one.
        blank: whether there is nothing but rules, pictures and the like; not a table of contents, which they head.
        title: that of the text, which heads all of it anyway.
    """
    is_above = above_text([heading.level for heading in headings], says)
    found: dict[int, LoneHeadings] = {}
    at = 0
    while at < len(headings):
        end = at
        while end < len(headings) and headings[end].level >= headings[at].level and blank[end] and not is_above[end]:
            end += 1
        words = " ".join(one.text for one in headings[at:end])
        if has_words(words) and words != title:
            found[at] = LoneHeadings(at, end, len(_WORD.findall(words)) >= _FEWEST_WORDS)
        at = max(end, at + 1)
    return found


def above_text(levels: Sequence[int], says: Sequence[bool]) -> list[bool]:
    """Whether there is text below each heading, or below one that is below it."""
    above = [False] * len(levels)
    opened: list[int] = []
    for number, level in enumerate(levels):
        while opened and levels[opened[-1]] >= level:
            opened.pop()
        opened.append(number)
        if says[number]:
            for one in opened:
                above[one] = True
    return above
