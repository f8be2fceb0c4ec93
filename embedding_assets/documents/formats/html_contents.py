"""Lists that are the table of contents of their page: each of their links repeats a heading of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_LISTS: Final = frozenset({"ul", "ol", "dl"})
_SAYING: Final = frozenset({"img", "math", "script", "input"})
"""Elements that say something beside their text."""
_FEWEST_LINKS: Final = 2
_LONGEST: Final = 300
"""Characters of a link; no heading is longer."""
_SECTION: Final = re.compile(r"\s*(?:\d+\.)*\s*")
"""What stands before a link: nothing, or the number of a section."""
_NO_WORDS: Final = re.compile(r"^[\d.\s]+|[\W_]+")
"""The number of a section, and what is around words, as signs that link to a heading."""


@dataclass(slots=True)
class _Found:
    """What a list has been seen to hold."""

    links: int = 0
    has_more: bool = False


class _Open(NamedTuple):
    """The rest of an element that is being looked through, and what the list that it is, or stands in, holds."""

    children: Iterator[LexborNode]
    found: _Found


def contents_of(tree: LexborHTMLParser, html: str) -> frozenset[int]:
    """The lists whose words are all in links to places of the page, each of which says what a heading says.

    Args:
        tree: the page.
        html: as it is written.

    Returns:
        their ``mem_id``.
    """
    links = _links_to_headings(tree) if "#" in html else frozenset()
    if len(links) < _FEWEST_LINKS or tree.root is None:
        return frozenset()
    lists = _lists(tree.root, links)
    return frozenset(at for at, found in lists.items() if found.links >= _FEWEST_LINKS and not found.has_more)


def _links_to_headings(tree: LexborHTMLParser) -> frozenset[int]:
    links = tree.css('a[href^="#"]')
    if len(links) < _FEWEST_LINKS:
        return frozenset()
    headings = {_words(heading) for heading in tree.css("h1, h2, h3, h4, h5, h6")} - {""}
    said = [link for link in links if _words(link) in headings]
    places = {node.attributes.get("id") for node in tree.css("[id]")} if said else set()
    places |= {node.attributes.get("name") for node in tree.css("a[name]")} if said else set()
    return frozenset(
        link.mem_id
        for link in said
        if (place := unquote((link.attributes.get("href") or "")[1:])) and not place.startswith(("/", "!"))
        if place in places and not any(part.tag in _SAYING for part in link.traverse())
    )


def _words(node: LexborNode) -> str:
    text = node.text()
    return _NO_WORDS.sub("", text).casefold() if len(text) <= _LONGEST else ""


def _lists(root: LexborNode, links: frozenset[int]) -> dict[int, _Found]:
    """What each list holds, those within it included; each element is looked at once."""
    found: dict[int, _Found] = {}
    waiting = [_Open(root.iter(include_text=True), _Found())]
    while waiting:
        children, around = waiting[-1]
        child = next(children, None)
        if child is None:
            waiting.pop()
            if waiting and waiting[-1].found is not around:
                _add(waiting[-1].found, around)
        elif child.mem_id in links:
            around.links += 1
        elif child.tag == "-text":
            around.has_more |= not _SECTION.fullmatch(child.text_content or "")
        elif child.tag in _SAYING:
            around.has_more = True
        else:
            if child.tag in _LISTS:
                around = found[child.mem_id] = _Found()
            waiting.append(_Open(child.iter(include_text=True), around))
    return found


def _add(around: _Found, inner: _Found) -> None:
    around.links += inner.links
    around.has_more |= inner.has_more
