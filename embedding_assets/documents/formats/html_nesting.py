"""How deep a page is nested, found out before it is parsed, which takes minutes where that is tens of thousands."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from embedding_assets.documents.formats.opened import UnreadableError
from embedding_assets.documents.rejection import TOO_DEEP

_DEEPEST: Final = 3_000
_MOST_HIDDEN: Final = 20_000
"""Elements in attributes and the like that may be none: were they nested, a page would take some seconds."""
_SPACE: Final = r"[\t\n\f\r ]"
_END: Final = r"(?=[\t\n\f\r />])"
_ATTRIBUTES: Final = (
    rf"{_END}(?:[\t\n\f\r /]*+(?:=[^\t\n\f\r />=]*+|[^\t\n\f\r />=]++)"
    rf"(?:{_SPACE}*+={_SPACE}*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\t\n\f\r >\"'][^\t\n\f\r >]*+)?+)?+)*+[\t\n\f\r /]*+"
)
"""As browsers take them apart: an equals sign before any name belongs to one."""
_ESCAPED: Final = (
    rf"!--(?!-*>)(?:[^<-]++|-(?!->)|<script{_END}(?:[^<-]++|-(?!->)|<(?!/script{_END}))*+(?:</script)?"
    rf"|<(?!/script{_END}))*+"
)
"""A comment in a script, in which another script may begin and end."""
_BLOCKS: Final = frozenset(
    [
        "div",
        "ul",
        "ol",
        "section",
        "article",
        "blockquote",
        "table",
        "details",
        "figure",
        "main",
        "aside",
        "nav",
        "header",
        "footer",
        "form",
        "dl",
    ]
)
_INLINE: Final = frozenset(["span", "b", "i", "u", "s", "em", "strong", "font", "small", "big", "code", "tt"])
_OF_TABLES: Final = frozenset({"tr", "td", "th"})
_TAG: Final = re.compile(
    r"<(?:!--(?!-?>)[^-]*+(?:-(?!-!?>)[^-]*+)*+"
    rf"|script{_ATTRIBUTES}>[^<]*+(?:<(?!/script{_END})(?:{_ESCAPED})?+[^<]*+)*+"
    rf"|(style|textarea|title|xmp|iframe|noembed|noframes){_ATTRIBUTES}>[^<]*+(?:<(?!/\1{_END})[^<]*+)*+"
    rf"|(/?)({'|'.join(sorted(_BLOCKS | _INLINE | _OF_TABLES))}){_ATTRIBUTES}"
    rf"|/?[a-z][^\t\n\f\r />]*+(?:{_ATTRIBUTES})?+"
    r"|(?:[!?]|/[^a-z>])[^>]*+)",
    re.IGNORECASE,
)
"""Elements that end where that is said, and those of tables, which end what has been left open in the cell before.

What is in an attribute is neither. A comment or a script is one match, as far as it goes, or else to the end of the
page; of a template, and of what is for browsers without scripts, elements are made.
"""
_OPENED: Final = re.compile(rf"<(?:{'|'.join(sorted(_BLOCKS | _INLINE))}){_END}", re.IGNORECASE)
_OF_OTHERS: Final = re.compile(rf"<(?:svg|math|select){_END}|<!\[CDATA\[", re.IGNORECASE)
"""In these a style is an element as others are, so that what is in it may be elements, too."""


def check_nesting(html: str) -> None:
    """Refuse a page that is nested far deeper than pages are.

    Raises:
        UnreadableError: it is.
    """
    if html.count("<") <= _DEEPEST:
        return
    has_others = _OF_OTHERS.search(html) is not None
    opened: list[str] = []
    counts: Counter[str] = Counter()
    hidden = 0
    for found in _TAG.finditer(html):
        if (has_others or found[3]) and html.find("<", found.start() + 1, found.end()) >= 0:
            hidden += len(_OPENED.findall(html, found.start() + 1, found.end()))
        if found[3]:
            _follow(opened, counts, found[3].lower(), is_end=bool(found[2]))
        if len(opened) > _DEEPEST or hidden > _MOST_HIDDEN:
            raise UnreadableError(TOO_DEEP)


def _follow(opened: list[str], counts: Counter[str], name: str, *, is_end: bool) -> None:
    """Open or close an element."""
    if name in _OF_TABLES:
        _close(opened, counts, "table", is_kept=True)
    elif not is_end:
        opened.append(name)
        counts[name] += 1
    elif not counts[name]:
        return
    elif name in _INLINE:
        _close_inline(opened, counts, name)
    elif name == "table" or not _is_beyond_table(opened, name):
        _close(opened, counts, name, is_kept=False)


def _is_beyond_table(opened: list[str], name: str) -> bool:
    """Whether the last element of that name is around a table that is still open."""
    return next((one for one in reversed(opened) if one in {name, "table"}), name) != name


def _close_inline(opened: list[str], counts: Counter[str], name: str) -> None:
    """Take away the last element of that name, and what was opened in it but for blocks, which stay open."""
    for at in range(len(opened) - 1, -1, -1):
        if opened[at] == name:
            counts[name] -= 1
            del opened[at]
            return
        if opened[at] in _BLOCKS and (name == "span" or opened[at] == "table"):
            return


def _close(opened: list[str], counts: Counter[str], name: str, *, is_kept: bool) -> None:
    """Take away what was opened within the last element of that name, and this unless it is kept."""
    if not counts[name]:
        return
    while opened[-1] != name:
        counts[opened.pop()] -= 1
    if not is_kept:
        counts[opened.pop()] -= 1
