"""Pictures so small that Dagster's UI shows them at once, among the metadata of an asset.

Written by hand: each must take fewer characters than a plotting library spends on its axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from embedding_assets.reporting.figures.picture import INK, INLINE_CHARACTERS, Picture

WIDTH: Final = 350
"""CSS pixels: what the value of an asset's metadata has room for in windows of 1,280 pixels and more, and beside the
lineage from 1,500 on."""

HEIGHT: Final = 92
LEFT, RIGHT, TOP, FLOOR = 2, 348, 20, 74
MOST_BARS: Final = 30
_FONT_SIZE: Final = 11
_WIDEST: Final = 0.55
"""Mean width of a character, as a share of the size, in the widest of the fonts that system-ui may be."""


def glance(title: Sequence[tuple[str, str]], *drawings: Sequence[str]) -> Picture:
    """A title and the first of the drawings, ever simpler ones, that leave the picture short enough.

    Args:
        title: words and their colours: those of what they name, so that the title is the legend too.
        drawings: their parts.
    """
    head = "".join(
        f"<tspan fill='{colour}'>{_escaped(words)}</tspan>" if colour else _escaped(words) for words, colour in title
    )
    alt = "".join(words for words, _ in title)
    for parts in drawings:
        picture = Picture(_svg("".join([f"<text y='11'{_fitting(alt)}>{head}</text>", *parts]), HEIGHT), alt)
        if len(picture.markdown) <= INLINE_CHARACTERS:
            break
    return picture


def note(words: str) -> Picture:
    """A picture for lack of data: what will be here, and what brings it."""
    return Picture(_svg(text(0, 18, words), 28), words)


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


def _fitting(words: str) -> str:
    """The size of a title that is too long for the usual one."""
    size = min(_FONT_SIZE, WIDTH / len(words) / _WIDEST)
    return "" if size == _FONT_SIZE else f" font-size='{size:.1f}'"


def _escaped(words: str) -> str:
    return escape(words, quote=False)


def _svg(content: str, height: int) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' font-family='system-ui,sans-serif' "
        f"font-size='{_FONT_SIZE}' fill='{INK}'>{content}</svg>"
    )
