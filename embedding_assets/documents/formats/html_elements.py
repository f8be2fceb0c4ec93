"""The elements of HTML by what becomes of them."""

from __future__ import annotations

import re
from typing import Final

_XML: Final = re.compile(
    r"(?:\s|<!--[^>]*-->|<!DOCTYPE[^<>]*>)*+(?:<\?xml\s|<html\s[^<>]*http://www\.w3\.org/1999/xhtml)", re.IGNORECASE
)
_EMPTY: Final = re.compile(
    r"<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr)[\s/])"
    r"([a-zA-Z][\w:.-]*+)((?:[^<>\"'/]|\"[^\"<]*\"|'[^'<]*'|/(?!>))*+)/>"
)
"""An element of XML that ends where it begins, which in HTML would go on, as of a title, to the end of the page."""
HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
LEFT_OUT: Final = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "nav",
        "svg",
        "iframe",
        "object",
        "embed",
        "canvas",
        "audio",
        "video",
        "button",
        "select",
        "datalist",
        "input",
        "textarea",
        "dialog",
        "head",
        "link",
        "meta",
        # How the characters beside it are pronounced.
        "rp",
        "rt",
    ]
)
AROUND: Final = frozenset({"header", "footer", "aside"})
BLOCKS: Final = frozenset(
    [
        "p",
        "div",
        "section",
        "article",
        "main",
        "body",
        "html",
        "header",
        "footer",
        "aside",
        "figure",
        "figcaption",
        "address",
        "details",
        "summary",
        "dl",
        "dt",
        "dd",
        "center",
        "fieldset",
        "form",
        "hgroup",
        "li",
        "label",
    ]
)


def without_xml_ends(page: str) -> str:
    """A page of XHTML as one of HTML; any other as it is."""
    return _EMPTY.sub(r"<\1\2></\1>", page) if "/>" in page and _XML.match(page) else page
