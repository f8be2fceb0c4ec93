"""The words of diagrams (SmartArt) and charts, which Word and PowerPoint keep in parts of their own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from embedding_assets.documents.formats.html import table

_DIAGRAM: Final = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_CHART: Final = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_RELATED: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_NAMES: Final = {f"{_DIAGRAM}relIds": f"{_RELATED}dm", f"{_CHART}chart": f"{_RELATED}id"}
_MOST_POINTS: Final = 100
"""Of a chart; one of more shows a curve, not numbers to be looked up."""

DIAGRAMS: Final = frozenset(_NAMES)
"""The elements that stand where a diagram or a chart does."""


def data_of(diagram: Any) -> str:
    """The name under which what a diagram stands in refers to its part."""
    name: str = diagram.get(_NAMES[diagram.tag], "")
    return name


def diagram_words(data: Any) -> str:
    """The words of the root of such a part: boxes as the items of a list, numbers as a table below their title."""
    if data.tag == f"{_CHART}chartSpace":
        return _chart_words(data)
    texts = (_drawn(text) for text in data.iter(f"{_DIAGRAM}t"))
    return "\n".join(f"- {text}" for text in texts if text)


def _drawn(element: Any) -> str:
    return " ".join("".join(element.itertext(f"{_DRAWING}t")).split())


def _chart_words(data: Any) -> str:
    title = data.find(f"{_CHART}chart/{_CHART}title")
    series = list(data.iter(f"{_CHART}ser"))
    names = [" ".join(_points(one, "tx").values()) for one in series]
    values = [{at: _number(text) for at, text in _points(one, "val", "yVal").items()} for one in series]
    labels: dict[str, str] = {}
    for one in series:
        labels = _points(one, "cat", "xVal") | labels
    rows = [
        [labels.get(at, ""), *(one.get(at, "") for one in values)]
        for at in dict.fromkeys(at for one in values for at in one)
    ]
    shown = [["", *names], *rows] if len(rows) <= _MOST_POINTS else [["", *names]]
    written = table([[cell.replace("|", "\\|") for cell in row] for row in shown])
    return "\n\n".join(filter(None, [_drawn(title) if title is not None else "", written]))


def _points(series: Any, *names: str) -> dict[str, str]:
    """What a part of a series says, by its numbers; of categories in several levels the innermost."""
    found = next((one for one in map(series.find, (f"{_CHART}{name}" for name in names)) if one is not None), None)
    if found is None:
        return {}
    level = found.find(f".//{_CHART}lvl")
    points = (found if level is None else level).iter(f"{_CHART}pt")
    return {point.get("idx", ""): " ".join((point.findtext(f"{_CHART}v") or "").split()) for point in points}


def _number(text: str) -> str:
    """A number as it is shown, without what computing has left of it."""
    with suppress(ValueError):
        return f"{float(text):.10g}"
    return text
