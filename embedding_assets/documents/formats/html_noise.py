"""What of a page is not what it looks like: navigation, tables of contents, layout, headings of notes, filling."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_ROLES: Final = frozenset({"navigation", "banner", "contentinfo", "search", "complementary", "menu"})
_BOXES: Final = (("[x] ", "li > div.checkbox-on"), ("[ ] ", "li > div.checkbox-off"))
"""Before the tasks of Notion."""
_NEIGHBOURS: Final = 'a[accesskey="n"], a[accesskey="p"]'
"""Links to the pages before and after, as texinfo and DocBook write them."""
_MOST_OF_NAVIGATION: Final = 500
"""Characters of a line of such links."""
_HEADINGS: Final = "h1, h2, h3, h4, h5, h6"
_NOTES: Final = frozenset({"note", "tip", "warning", "important", "caution", "admonition"})
_FEWEST_LINKS: Final = 2
_LETTER: Final = re.compile(r"[^\W\d_]")
_SOFT_HYPHEN: Final = "\u00ad"
_FILLING: Final = re.compile(
    r"(?:[\u034f\u200b-\u200d\u2060\ufeff][\u034f\u200b-\u200d\u2060\ufeff \u00a0\u2007]*){4,}"
)
"""Behind the first words of mail, so that programs show no more than these."""


def is_unseen(node: LexborNode) -> bool:
    """Whether an element is hidden for good, or navigation by its role; tabs hide all panels but one for a while.

    What is not to be printed is such as the links by which Wikipedia is edited.
    """
    attributes = node.attributes
    if not attributes:
        return False
    role = attributes.get("role")
    classes = attributes.get("class") or ""
    if role in _ROLES or "mw-editsection" in classes or "noprint" in classes:
        return True
    is_hidden = "hidden" in attributes or attributes.get("aria-hidden") == "true"
    return is_hidden and role != "tabpanel" and attributes.get("hidden") != "until-found"


def without_noise(tree: LexborHTMLParser, html: str) -> None:
    """Take buttons out of code, and lines of links to the pages around this one; write boxes of tasks as text."""
    if "checkbox-o" in html:
        for text, box in _BOXES:
            for node in tree.css(box):
                node.replace_with(text)
    if "<button" in html:
        remove(tree.css("pre button"))
    if "accesskey" in html:
        around = (_line_of(link) for link in tree.css(_NEIGHBOURS))
        remove([line for line in around if line is not None and len(line.text()) <= _MOST_OF_NAVIGATION])


def _line_of(link: LexborNode) -> LexborNode | None:
    """The table or paragraph that a link stands in."""
    node = link.parent
    while node is not None and node.tag not in {"table", "p"}:
        node = node.parent
    return node


def remove(nodes: Iterable[LexborNode]) -> None:
    """Take out elements: each once, and before what it stands in."""
    for node in reversed({node.mem_id: node for node in nodes}.values()):
        node.decompose()


def is_contents(items: LexborNode) -> bool:
    """Whether all words of a list are links to places of its page."""
    links = items.css('a[href*="#"]')
    if len(links) < _FEWEST_LINKS:
        return False
    is_named = "toc" in (items.attributes.get("class") or "").split()
    if not is_named and not all((link.attributes.get("href") or "").startswith("#") for link in links):
        return False
    linked = sum(len(_LETTER.findall(link.text())) for link in links)
    return linked == len(_LETTER.findall(items.text()))


def seen(text: str) -> str:
    """A text without places where a word may be divided, and without filling that is not seen."""
    return _FILLING.sub(" ", text.replace(_SOFT_HYPHEN, ""))


def are_headed(items: Iterable[LexborNode]) -> bool:
    """Whether items of a list, or cells, begin with headings, so that the list only places them."""
    found = False
    for item in items:
        heading = item.css_first(_HEADINGS)
        if heading is not None and not item.text().lstrip().startswith(heading.text().strip()):
            return False
        found = found or heading is not None
    return found


def is_of_note(heading: LexborNode) -> bool:
    """Whether it only says of a box that it is a note or a warning, and heads nothing behind it."""
    classes = (heading.parent.attributes.get("class") or "").split() if heading.parent is not None else []
    return not _NOTES.isdisjoint(classes)
