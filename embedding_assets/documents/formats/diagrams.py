"""The words of diagrams (SmartArt) and charts, which Word and PowerPoint keep in parts of their own."""

from __future__ import annotations

from typing import Any, Final

from embedding_assets.documents.formats.chart_points import rows_of
from embedding_assets.documents.formats.html import table

_DIAGRAM: Final = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_CHART: Final = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_RELATED: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_NAMES: Final = {f"{_DIAGRAM}relIds": f"{_RELATED}dm", f"{_CHART}chart": f"{_RELATED}id"}

DIAGRAMS: Final = frozenset(_NAMES)
"""The elements that stand where a diagram or a chart does."""


def data_of(diagram: Any) -> str:
    """The name under which what a diagram stands in refers to its part."""
    name: str = diagram.get(_NAMES[diagram.tag], "")
    return name


def diagram_words(data: Any) -> str:
    """The words of the root of such a part: boxes as the items of a list, a chart as a table below its title."""
    if data.tag == f"{_CHART}chartSpace":
        return _chart_words(data)
    texts = (_drawn(text) for text in data.iter(f"{_DIAGRAM}t"))
    return "\n".join(f"- {text}" for text in texts if text)


def _drawn(element: Any) -> str:
    return " ".join("".join(element.itertext(f"{_DRAWING}t")).split())


def _chart_words(data: Any) -> str:
    title = data.find(f"{_CHART}chart/{_CHART}title")
    series = list(data.iter(f"{_CHART}ser"))
    written = table([[cell.replace("|", "\\|") for cell in row] for row in [["", *map(_name, series)], *rows_of(data)]])
    return "\n\n".join(filter(None, [_said(title) if title is not None else "", written]))


def _name(series: Any) -> str:
    said = series.find(f"{_CHART}tx")
    return _said(said) if said is not None else ""


def _said(element: Any) -> str:
    """What is written in an element, or in the cells that it refers to."""
    values = (value.text or "" for value in element.iter(f"{_CHART}v"))
    return _drawn(element) or " ".join(" ".join(values).split())
