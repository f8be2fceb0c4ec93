"""The numbers of charts: a row for each category, if it is certain which number stands where, and what it is."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Context, Decimal, InvalidOperation
from itertools import islice
from typing import Any, Final

_CHART: Final = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_POINT: Final = f"{_CHART}pt"
_PLACED: Final = (f"{_CHART}scatterChart", f"{_CHART}bubbleChart")
"""Those of which each series has its own places on both axes."""
_MOST_SERIES: Final = 100
_MOST_POINTS: Final = 100
"""Of a series; one of more is a curve, not numbers to be looked up."""
_MOST_LEVELS: Final = 5
_LONGEST: Final = 200
"""Characters of a category that stands over others."""
_LONGEST_NUMBER: Final = 40
_MOST_ZEROS: Final = 30
_PRECISION: Final = Context(prec=15)
"""As Excel computes; digits beyond are what computing has left."""

_Points = dict[int, str]
"""What a part of a series says, by the places of its points."""


class _UncertainError(ValueError):
    """The numbers of a chart may be other ones than it shows."""


def rows_of(chart: Any) -> list[list[str]]:
    """A category and its number in each series, for all of them; none if a chart cannot be read for certain.

    Args:
        chart: the root of its part.
    """
    series = list(chart.iter(f"{_CHART}ser"))
    if len(series) > _MOST_SERIES or next(chart.iter(*_PLACED), None) is not None:
        return []
    try:
        from_1904 = chart.find(f"{_CHART}date1904")
        is_1904 = from_1904 is not None and from_1904.get("val", "1") in {"1", "true"}
        values = [_points(one.find(f"{_CHART}val"), is_1904=is_1904) for one in series]
        labels = _labels([_points(one.find(f"{_CHART}cat"), is_1904=is_1904) for one in series])
    except _UncertainError:
        return []
    places = sorted({place for one in values for place in one})
    return [[labels.get(place, ""), *(one.get(place, "") for one in values)] for place in places]


def _labels(of_series: list[_Points]) -> _Points:
    """The categories, which all series have in common."""
    labels: _Points = {}
    for points in of_series:
        for place, text in points.items():
            if labels.setdefault(place, text) != text:
                raise _UncertainError
    return labels


def _points(part: Any, *, is_1904: bool) -> _Points:
    if part is None:
        return {}
    levels = list(islice(part.iter(f"{_CHART}lvl"), _MOST_LEVELS + 1))
    if levels:
        return _joined([_texts(level) for level in levels])
    numbers = next(part.iter(f"{_CHART}numCache", f"{_CHART}numLit"), None)
    if numbers is None:
        return _texts(part)
    usual = numbers.findtext(f"{_CHART}formatCode") or ""
    codes = {_place(point): point.get("formatCode", usual) for point in islice(numbers.iter(_POINT), _MOST_POINTS)}
    return {place: _shown(text, codes[place], is_1904=is_1904) for place, text in _texts(numbers).items()}


def _texts(part: Any) -> _Points:
    points = list(islice(part.iter(_POINT), _MOST_POINTS + 1))
    if len(points) > _MOST_POINTS:
        raise _UncertainError
    return {_place(point): " ".join((point.findtext(f"{_CHART}v") or "").split()) for point in points}


def _place(point: Any) -> int:
    place = point.get("idx", "")
    if not (place.isascii() and place.isdecimal() and len(place) < 8):
        raise _UncertainError
    return int(place)


def _joined(levels: list[_Points]) -> _Points:
    """Categories in levels, the innermost first, each with those that it stands below: 2024, Q1."""
    if len(levels) > _MOST_LEVELS or any(len(text) > _LONGEST for level in levels[1:] for text in level.values()):
        raise _UncertainError
    current = [""] * len(levels)
    found: _Points = {}
    for place in sorted({place for level in levels for place in level}):
        # An outer one holds up to the next one.
        current = [level.get(place, before) for level, before in zip(levels, current, strict=True)]
        current[0] = levels[0].get(place, "")
        found[place] = ", ".join(filter(None, reversed(current)))
    return found


def _shown(text: str, code: str, *, is_1904: bool) -> str:
    """A number as it is shown, by its format: a day as one."""
    from openpyxl.styles.numbers import is_date_format
    from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, from_excel

    if not is_date_format(code):
        return _number(text)
    if "y" not in code.lower():
        # May be a time, or how long something takes.
        raise _UncertainError
    try:
        day = from_excel(float(text), CALENDAR_MAC_1904 if is_1904 else CALENDAR_WINDOWS_1900)
    except (ValueError, OverflowError):
        raise _UncertainError from None
    if not isinstance(day, datetime):
        raise _UncertainError
    return day.date().isoformat() if day.time() == time() else day.isoformat(" ", "seconds")


def _number(text: str) -> str:
    """A number without an exponent, and without what computing has left of it; what is none as it is."""
    try:
        number = Decimal(text) if len(text) <= _LONGEST_NUMBER else Decimal("NaN")
    except InvalidOperation:
        return text
    if not number.is_finite() or abs(number.adjusted()) > _MOST_ZEROS:
        return text
    if number != number.to_integral_value():
        number = _PRECISION.plus(number)
    written = f"{number:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written
