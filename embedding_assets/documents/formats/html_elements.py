"""The elements of HTML by what becomes of them."""

from __future__ import annotations

from typing import Final

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
    ]
)
