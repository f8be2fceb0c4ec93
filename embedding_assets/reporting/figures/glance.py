"""Pictures so small that Dagster's UI shows them at once, among the metadata of an asset.

Written by hand: each must take fewer characters than a plotting library spends on its axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from embedding_assets.reporting.figures.picture import INK, INLINE_CHARACTERS, Picture

WIDTH: Final = 240
"""CSS pixels: what the value of an asset's metadata has room for in a window of 1,280 pixels, whose longest key is
``dagster/partition_row_count``."""

HEIGHT: Final = 92
LEFT, RIGHT, TOP, FLOOR = 2, WIDTH - 2, 20, 74
MOST_BARS: Final = 30
_FONT_SIZE: Final = 11
_LINE_HEIGHT: Final = 14
_WIDEST: Final = 0.55
"""Mean width of a character, as a share of the size, in the widest of the fonts that system-ui may be."""


def glance(title: Sequence[tuple[str, str]], *drawings: Sequence[str]) -> Picture:
    """A title and the first of the drawings, ever simpler ones, that leave the picture short enough.

    Args:
        title: words and their colours: those of what they name, so that the title is the legend too.
        drawings: their parts.
    """
    alt = "".join(words for words, _ in title)
    lines = _lines(title)
    above = _LINE_HEIGHT * (len(lines) - 1)
    head = "".join(_heading(line, 11 - above + _LINE_HEIGHT * number) for number, line in enumerate(lines))
    for parts in drawings:
        picture = Picture(_svg("".join([head, *parts]), HEIGHT, above), alt)
        if len(picture.markdown) <= INLINE_CHARACTERS:
            break
    return picture


def note(words: str) -> Picture:
    """A picture for lack of data: what will be here, and what brings it."""
    return Picture(_svg(text(0, 18, words, _size(_fitting([(words, "")]))), 28), words)


def text(x: int, y: int, words: str, attributes: str = "") -> str:
    """Words, their baseline beginning at a point."""
    return f"<text x='{x}' y='{y}'{attributes}>{_escaped(words)}</text>"


def ends(first: str, last: str) -> str:
    """Labels of the two ends of the horizontal axis."""
    return text(0, 89, first) + text(WIDTH, 89, last, " text-anchor='end'")


def limit(y: int, colour: str) -> str:
    """A dashed line across."""
    return f"<path stroke='{colour}' stroke-dasharray='5 3' d='M0 {y}H{WIDTH}'/>"


def line(points: Sequence[tuple[int, int]], colour: str) -> str:
    """A line from point to point."""
    return f"<path fill='none' stroke='{colour}' stroke-width='2' d='M{pairs(points)}'/>"


def dot(x: int, y: int, colour: str) -> str:
    """A point that stands out."""
    return f"<circle cx='{x}' cy='{y}' r='4' fill='{colour}'/>"


def bars(tops: Sequence[int], colour: str) -> str:
    """Upright bars, from the floor to these heights."""
    step = min((RIGHT - LEFT) / len(tops), 40)
    outline = "".join(f"M{LEFT + (n + 0.5) * step:.0f} {FLOOR}V{top}" for n, top in enumerate(tops))
    return f"<path stroke='{colour}' stroke-width='{step * 0.7:.0f}' d='{outline}'/>"


def pairs(points: Sequence[tuple[int, int]]) -> str:
    """Points as a path lists them."""
    return " ".join(f"{x} {y}" for x, y in points)


def scale(lowest: float, highest: float, measure: Callable[[float], float] = float) -> Callable[[float], int]:
    """From values to heights, in whole pixels; the ends are as ``measure`` makes them."""
    extent = highest - lowest or 1.0
    return lambda value: round(FLOOR - (measure(value) - lowest) / extent * (FLOOR - TOP))


def _lines(title: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The title in one line, or in two between its parts where both are larger then."""
    splits = [[list(title)]]
    for n in range(len(title) - 1, 0, -1):
        (words, colour), *rest = title[n:]
        splits.append([list(title[:n]), [(words.lstrip(",; "), colour), *rest]])
    return max(splits, key=lambda lines: min(map(_fitting, lines)))


def _heading(line: Sequence[tuple[str, str]], y: int) -> str:
    """One line of the title, smaller where it is too long."""
    size = _fitting(line)
    [(first, colour), *rest] = line
    words = "".join(
        f"<tspan fill='{other or INK}'>{_escaped(part)}</tspan>" if other != colour else _escaped(part)
        for part, other in rest
    )
    return f"<text y='{y}'{_size(size)}{_fill(colour)}>{_escaped(first)}{words}</text>"


def _fitting(line: Sequence[tuple[str, str]]) -> float:
    """The size in which a line of these words fits."""
    return min(_FONT_SIZE, WIDTH / sum(len(words) for words, _ in line) / _WIDEST)


def _fill(colour: str) -> str:
    return f" fill='{colour}'" if colour else ""


def _size(size: float) -> str:
    return "" if size == _FONT_SIZE else f" font-size='{size:.1f}'"


def _escaped(words: str) -> str:
    return escape(words, quote=False)


def _svg(content: str, height: int, above: int = 0) -> str:
    """An image from so many pixels above zero on."""
    shifted = f" viewBox='0 {-above} {WIDTH} {height + above}'" if above else ""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height + above}'{shifted} "
        f"font-family='system-ui,sans-serif' font-size='{_FONT_SIZE}' fill='{INK}'>{content}</svg>"
    )
