"""What of a page is not what it looks like: navigation, buttons, headings of notes, filling."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_ROLES: Final = frozenset({"navigation", "banner", "contentinfo", "search", "complementary", "menu"})
_EDITING: Final = "mw-editsection"
_BOXES: Final = (("[x] ", "li > div.checkbox-on"), ("[ ] ", "li > div.checkbox-off"))
"""Before the tasks of Notion."""
_NOTES: Final = frozenset({"note", "tip", "warning", "important", "caution", "admonition"})
_SOFT_HYPHEN: Final = "\u00ad"
_FILLING: Final = re.compile(
    r"(?:[\u034f\u200b-\u200d\u2060\ufeff][\u034f\u200b-\u200d\u2060\ufeff \u00a0\u2007]*){4,}"
)
"""Behind the first words of mail, so that programs show no more than these."""


def is_unseen(node: LexborNode) -> bool:
    """Whether an element is hidden for good, or navigation, as the links by which Wikipedia is edited.

    Tabs hide all panels but one for a while.
    """
    attributes = node.attributes
    if not attributes:
        return False
    role = attributes.get("role")
    if role in _ROLES or _EDITING in (attributes.get("class") or "").split():
        return True
    is_hidden = "hidden" in attributes or attributes.get("aria-hidden") == "true"
    return is_hidden and role != "tabpanel" and attributes.get("hidden") != "until-found"


def without_noise(tree: LexborHTMLParser, html: str) -> None:
    """Take buttons out of code, and write boxes of tasks as text."""
    if "checkbox-o" in html:
        for text, box in _BOXES:
            for node in tree.css(box):
                node.replace_with(text)
    if "<button" in html:
        remove(tree.css("pre button"))


def remove(nodes: Iterable[LexborNode]) -> None:
    """Take out elements: each once, and before what it stands in."""
    for node in reversed({node.mem_id: node for node in nodes}.values()):
        node.decompose()


def seen(text: str) -> str:
    """A text without places where a word may be divided, and without filling that is not seen."""
    return _FILLING.sub(" ", text.replace(_SOFT_HYPHEN, ""))


def is_of_note(heading: LexborNode) -> bool:
    """Whether it only says of a box that it is a note or a warning, and heads nothing behind it."""
    classes = (heading.parent.attributes.get("class") or "").split() if heading.parent is not None else []
    return not _NOTES.isdisjoint(classes)
