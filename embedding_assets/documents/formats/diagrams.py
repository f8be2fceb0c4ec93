"""The words of diagrams (SmartArt), which Word and PowerPoint keep in a part of their own."""

from __future__ import annotations

from typing import Any, Final

_DIAGRAM: Final = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_DATA: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}dm"

DIAGRAM: Final = f"{_DIAGRAM}relIds"
"""The element that stands where a diagram does."""


def data_of(diagram: Any) -> str:
    """The name under which what a diagram stands in refers to its part."""
    name: str = diagram.get(_DATA, "")
    return name


def diagram_words(data: Any) -> str:
    """The words of the root of such a part; boxes are the items of a list."""
    texts = (" ".join("".join(text.itertext(f"{_DRAWING}t")).split()) for text in data.iter(f"{_DIAGRAM}t"))
    return "\n".join(f"- {text}" for text in texts if text)
