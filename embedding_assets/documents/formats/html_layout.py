"""Lists and tables that only place things on the page, each below its heading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.formats.formulas import is_source
from embedding_assets.documents.formats.html_elements import HEADINGS, LEFT_OUT
from embedding_assets.documents.formats.html_noise import is_unseen
from embedding_assets.documents.words import has_words

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_TEXT: Final = "-text"
_MOST_LOOKED_AT: Final = 1_000
"""Elements and texts of an item until something is said; one in which it takes more is none with a heading."""


def are_headed(items: Iterable[LexborNode]) -> bool:
    """Whether all that items or cells say is below headings with which they begin.

    Args:
        items: what is in a list, texts and all, or the cells of a table.
    """
    found = False
    for item in items:
        said = _said(item)
        first = next(said, None)
        if first is None:
            continue
        if first not in HEADINGS or _TEXT not in said:
            return False
        found = True
    return found


def _said(item: LexborNode) -> Iterator[str]:
    """What says something in an item: headings by their tags, all else as texts."""
    waiting = [iter([item])]
    looked_at = 0
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
            continue
        looked_at += 1
        tag = node.tag or ""
        if looked_at > _MOST_LOOKED_AT:
            yield _TEXT
            return
        if tag in HEADINGS or tag == _TEXT:
            if has_words(node.text() if tag != _TEXT else node.text_content or ""):
                yield tag
        elif (tag == "script" and is_source(node)) or (tag == "img" and node.attributes.get("alt")):
            yield _TEXT
        elif tag not in LEFT_OUT and not tag.startswith(("-", "_", "!")) and not is_unseen(node):
            waiting.append(node.iter(include_text=True))
