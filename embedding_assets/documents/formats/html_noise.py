"""What of a page is not its content: navigation, tables of contents, buttons on code, invisible filling."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_ROLES: Final = frozenset({"navigation", "banner", "contentinfo", "search", "complementary", "menu"})
_NEIGHBOURS: Final = 'a[accesskey="n"], a[accesskey="p"]'
"""Links to the pages before and after, as texinfo and DocBook write them."""
_MOST_OF_NAVIGATION: Final = 500
"""Characters of a line of such links."""
_FEWEST_LINKS: Final = 2
_LETTER: Final = re.compile(r"[^\W\d_]")
_SOFT_HYPHEN: Final = "\u00ad"
_FILLING: Final = re.compile(
    r"(?:[\u034f\u200b-\u200d\u2060\ufeff][\u034f\u200b-\u200d\u2060\ufeff \u00a0\u2007]*){4,}"
)
"""Behind the first words of mail, so that programs show no more than these."""


def is_unseen(node: LexborNode) -> bool:
    """Whether an element is hidden for good, or navigation by its role; tabs hide all panels but one for a while."""
    attributes = node.attributes
    role = attributes.get("role")
    if role in _ROLES:
        return True
    is_hidden = "hidden" in attributes or attributes.get("aria-hidden") == "true"
    return is_hidden and role != "tabpanel" and attributes.get("hidden") != "until-found"


def without_noise(tree: LexborHTMLParser, html: str) -> None:
    """Take buttons out of code, and lines of links to the pages around this one."""
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
