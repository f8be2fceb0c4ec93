"""What stands at the edges of pages of PDF and is no text: their numbers, with running titles, and footers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

_FEWEST: Final = 4
"""Pages that have to agree."""
_LONGEST: Final = 120
_NUMBER: Final = re.compile(r"(?<!\d)\d{1,4}(?!\d)")
_BARE: Final = re.compile(r"\W*(?:(?:pages?|p|of|seite|von|página|de|sur|pagina|di|\d+)\b\W*)*", re.IGNORECASE)
"""A number between dashes, or ``Page 3 of 20``; the sign stands for the number of the page."""


class _Edge(NamedTuple):
    """The first or last line of a page, where the page's number may be in it.

    Attributes:
        page: counted from 0.
        line: what it says.
        is_last: whether it is the last.
    """

    page: int
    line: str
    is_last: bool


def without_edges(pages: Sequence[str]) -> list[str]:
    """Pages without their numbers, the titles beside these, and what stands at the end of most pages but once."""
    texts = [page.strip("\n") for page in pages]
    if sum(bool(text) for text in texts) < _FEWEST:
        return list(pages)
    edges = _edges(texts)
    for edge in _numbered(edges):
        texts[edge.page] = _without(texts[edge.page], edge)
    for edge in _footers(_edges(texts)):
        texts[edge.page] = _without(texts[edge.page], edge)
    return texts


def _edges(texts: Sequence[str]) -> list[_Edge]:
    found = []
    for page, text in enumerate(texts):
        first, _, below = text.partition("\n")
        found.append(_Edge(page, first.strip(), is_last=False))
        if below:
            found.append(_Edge(page, below.rpartition("\n")[2].strip(), is_last=True))
    return [edge for edge in found if 0 < len(edge.line) <= _LONGEST]


def _without(text: str, edge: _Edge) -> str:
    return (text.rpartition("\n")[0] if edge.is_last else text.partition("\n")[2]).strip("\n")


def _numbered(edges: Sequence[_Edge]) -> list[_Edge]:
    """Those with the number of their page: of each page one, if most pages have theirs."""
    numbers: dict[int, set[int]] = {}
    for edge in edges:
        numbers.setdefault(edge.page, set()).update(int(one) - edge.page for one in _NUMBER.findall(edge.line))
    offsets = Counter(offset for found in numbers.values() for offset in found)
    offset, count = offsets.most_common(1)[0] if offsets else (0, 0)
    if count < _FEWEST or 2 * count < len(numbers):
        return []
    keys = {edge: key for edge in edges if (key := _key(edge, offset))}
    bare = {edge.page: edge for edge, key in keys.items() if _BARE.fullmatch(key)}
    if len(bare) < 2:
        # It may be the number of what is on the page, as of a question.
        return []
    times = Counter(keys.values())
    titles = (edge for edge, key in keys.items() if edge.page not in bare and times[key] > 1)
    return [*bare.values(), *{edge.page: edge for edge in titles}.values()]


def _key(edge: _Edge, offset: int) -> str:
    """The line with a sign in place of the number of its page; empty if that is not there."""
    number = str(edge.page + offset)
    found = [one for one in _NUMBER.finditer(edge.line) if one.group() == number]
    return f"{edge.line[: found[-1].start()]}#{edge.line[found[-1].end() :]}" if found else ""


def _footers(edges: Sequence[_Edge]) -> list[_Edge]:
    last = [edge for edge in edges if edge.is_last]
    line, count = Counter(edge.line for edge in last).most_common(1)[0] if last else ("", 0)
    if count < _FEWEST or 2 * count <= len({edge.page for edge in edges}):
        return []
    return [edge for edge in last if edge.line == line][1:]
