"""How deep a page is nested, found out before it is parsed, which takes minutes where that is tens of thousands."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from embedding_assets.documents.formats.opened import UnreadableError
from embedding_assets.documents.rejection import TOO_DEEP

_DEEPEST: Final = 3_000
_ATTRIBUTES: Final = r"(?=[\s/>])[^=>]*+(?:=\s*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\s>\"'][^\s>]*+)?+[^=>]*+)*+"
_TAG: Final = re.compile(
    r"<(?:!--(?!-?>)[^-]*+(?:-(?!-!?>)[^-]*+)*+"
    rf"|(script|style|textarea){_ATTRIBUTES}(?<!/)>[^<]*+(?:<(?!/\1[\s/>])[^<]*+)*+"
    r"|(/?)(div|span|ul|ol|section|article|blockquote|table|details|figure|main|aside|nav|header|footer|form|dl"
    rf"|b|i|u|s|em|strong|font|small|big|code|tt|t[rdh]){_ATTRIBUTES}"
    rf"|/?[a-z][^\s/>]*+{_ATTRIBUTES})",
    re.IGNORECASE,
)
"""Elements that end where that is said, and those of tables, which end what has been left open in the cell before.

What is in an attribute is neither. A comment or a script is one match, as far as it goes, or else to the end of the
page; of a template, and of what is for browsers without scripts, elements are made.
"""
_OF_TABLES: Final = frozenset({"tr", "td", "th"})


def check_nesting(html: str) -> None:
    """Refuse a page that is nested far deeper than pages are.

    Raises:
        UnreadableError: it is.
    """
    if html.count("<") <= _DEEPEST:
        return
    opened: list[str] = []
    counts: Counter[str] = Counter()
    for found in _TAG.finditer(html):
        if not found[3]:
            continue
        name = found[3].lower()
        if name in _OF_TABLES or found[2]:
            _close(opened, counts, "table" if name in _OF_TABLES else name, is_kept=name in _OF_TABLES)
            continue
        opened.append(name)
        counts[name] += 1
        if len(opened) > _DEEPEST:
            raise UnreadableError(TOO_DEEP)


def _close(opened: list[str], counts: Counter[str], name: str, *, is_kept: bool) -> None:
    """Take away what was opened within the last element of that name, and this unless it is kept."""
    if not counts[name]:
        return
    while opened[-1] != name:
        counts[opened.pop()] -= 1
    if not is_kept:
        counts[opened.pop()] -= 1
