"""The numbers of pages of PDF, which stand at their edges and are no text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_FEWEST: Final = 6
"""Pages that have to agree."""
_LONGEST: Final = 40
_WORDED: Final = re.compile(
    r"(?P<before>(?:page|seite|página|pagina) )(?P<number>\d{1,4})(?P<below>(?: ?(?:/|of|von|de|sur|di) ?\d{1,4})?)",
    re.IGNORECASE,
)
"""``Page 3 of 20``."""
_BARE: Final = re.compile(r"(?P<before>|[-\u2013\u2014] ?)(?P<number>\d{1,4})(?P<below>| ?[-\u2013\u2014])")
"""``3`` or ``- 3 -``."""
_OFFSETS: Final = (0, 1)
"""Of a number that no word calls that of a page: the first page, or the second one, below a cover, is 1."""


class _Numbered(NamedTuple):
    """A line that may be the number of its page.

    Attributes:
        form: what stands around the number.
        is_worded: whether that calls it the number of a page.
        offset: the number less that of the page, which is counted from 0.
    """

    form: tuple[str, str]
    is_worded: bool
    offset: int


def without_page_numbers(pages: Sequence[str]) -> list[str]:
    """Pages without their numbers, where all of them have theirs at one edge and in one form, but for a cover.

    What else is the same on many pages may be what they say, as the result of each of many certificates.
    """
    texts = [page.strip("\n") for page in pages]
    filled = [at for at, text in enumerate(texts) if text.strip()]
    for is_last in (True, False):
        found = {at: _numbered(at, _edge(texts[at], is_last=is_last)) for at in filled}
        if len(filled) > 1 and found[filled[0]] != found[filled[1]]:
            # A cover has none, or a number of something else.
            del found[filled[0]]
        kinds = set(found.values())
        if len(found) < _FEWEST or len(kinds) != 1 or not _is_of_pages(kinds.pop(), is_last=is_last):
            continue
        return [_without_edge(text, is_last=is_last) if at in found else text for at, text in enumerate(texts)]
    return list(pages)


def _edge(text: str, *, is_last: bool) -> str:
    line = text.rpartition("\n")[2] if is_last else text.partition("\n")[0]
    return line.strip()


def _without_edge(text: str, *, is_last: bool) -> str:
    return (text.rpartition("\n")[0] if is_last else text.partition("\n")[2]).strip("\n")


def _numbered(page: int, line: str) -> _Numbered | None:
    if len(line) > _LONGEST or (found := _WORDED.fullmatch(line) or _BARE.fullmatch(line)) is None:
        return None
    form = (found["before"].casefold(), found["below"].casefold())
    return _Numbered(form, found.re is _WORDED, int(found["number"]) - page)


def _is_of_pages(kind: _Numbered | None, *, is_last: bool) -> bool:
    """Whether what all pages have numbers pages; a number above a text may be that of the text, as of a rule."""
    if kind is None:
        return False
    is_dashed, is_plain = all(kind.form), not any(kind.form)
    return kind.is_worded or (kind.offset in _OFFSETS and (is_dashed or (is_last and is_plain)))
