"""Recall and latency of the index by ``ef_search``, to choose one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from embedding_assets.formatting import milliseconds
from embedding_assets.postgres.index.recall import nearest_point
from embedding_assets.reporting.figures.glance import WIDTH, dot, ends, glance, limit, line, note, pairs, scale
from embedding_assets.reporting.figures.picture import BLUE, INK, SERIES, Picture, of_limit
from embedding_assets.reporting.figures.style import DEFAULT_SIZE, draw, legend_below_title, threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from embedding_assets.postgres.index.recall import CurvePoint

_NOTHING: Final = "Nothing yet: materialize pgvector_index_health to measure"
_RECALL_CAPTION: Final = (
    "Searching by the index is approximate: it finds this share of the true ten nearest chunks. A larger "
    "EMBEDDING_INDEX_EF_SEARCH finds more and takes longer; choose by this figure and the next."
)
_LATENCY_CAPTION: Final = (
    "What a search takes in the database: the median, what 95% of the searches stay below (p95), and the median of "
    "comparing with every vector instead. Embedding the question comes on top."
)
_P95: Final = SERIES[3]
_LOG_SCALE_FROM: Final = 8.0
"""Latencies that differ by a larger factor are drawn on a logarithmic scale."""


def recall_figure(
    curve: Sequence[CurvePoint], ef_search: int, floor: float | None = None, *, size: tuple[int, int] = DEFAULT_SIZE
) -> Picture:
    """recall@10 with its confidence interval.

    Args:
        curve: by rising ``ef_search``.
        ef_search: the one in use.
        floor: below this the check on recall warns.
        size: in CSS pixels.
    """
    if not curve:
        return note(_NOTHING)

    def paint(axes: Axes) -> str:
        searched = [point.ef_search for point in curve]
        low, high = [point.recall_low for point in curve], [point.recall_high for point in curve]
        axes.fill_between(searched, low, high, color=BLUE, alpha=0.22, linewidth=0, label="95% confidence")
        recalls = [point.recall for point in curve]
        axes.plot(searched, recalls, color=BLUE, linewidth=2, marker="o", markersize=4.5, label="recall@10")
        if floor:
            is_held = nearest_point(curve, ef_search).recall >= floor
            threshold(axes, floor, f"floor {floor:g}", is_held=is_held)
        _put_ef_search_below(axes, searched, ef_search)
        lowest = min([*low, floor or 1.0])
        margin = 0.06 * (1 - lowest) + 0.002
        axes.set_ylim(max(0.0, lowest - margin), 1 + margin)
        axes.set_ylabel("share of the true 10 nearest found")
        legend_below_title(axes)
        title = _recall_title(curve, ef_search)
        axes.set_title(title)
        return title

    return draw(paint, size, _RECALL_CAPTION)


def latency_figure(
    curve: Sequence[CurvePoint],
    ef_search: int,
    exact_p50_ms: float | None = None,
    *,
    size: tuple[int, int] = DEFAULT_SIZE,
) -> Picture:
    """Latency of a search, and of exact search for comparison.

    Args:
        curve: by rising ``ef_search``.
        ef_search: the one in use.
        exact_p50_ms: median latency without the index, milliseconds.
        size: in CSS pixels.
    """
    if not curve:
        return note(_NOTHING)

    def paint(axes: Axes) -> str:
        from matplotlib.ticker import LogLocator

        searched = [point.ef_search for point in curve]
        p50, p95 = [point.p50_ms for point in curve], [point.p95_ms for point in curve]
        axes.plot(searched, p95, color=_P95, linewidth=1.4, marker="o", markersize=3.5, label="p95")
        axes.plot(searched, p50, color=BLUE, linewidth=2, marker="o", markersize=4.5, label="median")
        if exact_p50_ms:
            label = "median without the index"
            axes.axhline(exact_p50_ms, color=INK, linewidth=1.4, linestyle=(0, (5, 3)), label=label)
        _put_ef_search_below(axes, searched, ef_search)
        lowest, highest = _extent(curve, exact_p50_ms)
        if _is_wide(lowest, highest):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.minorticks_off()
            axes.set_ylim(lowest / 1.5, highest * 1.5)
        else:
            axes.set_ylim(0, highest * 1.15 or 1.0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.set_ylabel("milliseconds")
        legend_below_title(axes)
        title = _latency_title(curve, ef_search, exact_p50_ms)
        # The line marks where: a title that is wider than the figure would be cut off.
        axes.set_title(title.replace(f" at ef_search {nearest_point(curve, ef_search).ef_search},", ","))
        return title

    return draw(paint, size, _LATENCY_CAPTION)


def recall_glance(curve: Sequence[CurvePoint], ef_search: int, floor: float | None = None) -> Picture:
    """The curve, its confidence interval, and the floor."""
    if not curve:
        return note(_NOTHING)
    x = _across(curve)
    y = scale(min([*(point.recall_low for point in curve), floor or 1.0]), 1.0)
    band = [(x(point.ef_search), y(point.recall_high)) for point in curve]
    band += [(x(point.ef_search), y(point.recall_low)) for point in reversed(curve)]
    shade = f"<path fill='{BLUE}' opacity='.25' d='M{pairs(band)}z'/>"
    at = nearest_point(curve, ef_search)
    colour = of_limit(is_held=at.recall >= (floor or 0.0))
    rest = [
        line([(x(point.ef_search), y(point.recall)) for point in curve], BLUE),
        dot(x(at.ef_search), y(at.recall), BLUE),
        limit(y(floor), colour) if floor else "",
        _ends(curve),
    ]
    title = [(_recall_title(curve, ef_search), BLUE)] + ([(f", the floor is {floor:g}", colour)] if floor else [])
    return glance(title, [shade, *rest], rest)


def latency_glance(curve: Sequence[CurvePoint], ef_search: int, exact_p50_ms: float | None = None) -> Picture:
    """Median and 95th percentile, and exact search for comparison."""
    if not curve:
        return note(_NOTHING)
    x = _across(curve)
    lowest, highest = _extent(curve, exact_p50_ms)
    is_wide = _is_wide(lowest, highest)
    y = scale(math.log(lowest / 1.3), math.log(highest), math.log) if is_wide else scale(0, highest)
    at = nearest_point(curve, ef_search)
    p95 = line([(x(point.ef_search), y(point.p95_ms)) for point in curve], _P95)
    rest = [
        line([(x(point.ef_search), y(point.p50_ms)) for point in curve], BLUE),
        dot(x(at.ef_search), y(at.p50_ms), BLUE),
        limit(y(exact_p50_ms), INK) if exact_p50_ms else "",
        _ends(curve),
    ]
    title = [(f"{milliseconds(at.p50_ms)} at ef_search {at.ef_search}", BLUE)]
    title += [(f", p95 {milliseconds(at.p95_ms)}", _P95)]
    title += [(f"; exact {milliseconds(exact_p50_ms)}", INK)] if exact_p50_ms else []
    return glance(title, [p95, *rest], rest)


def _recall_title(curve: Sequence[CurvePoint], ef_search: int) -> str:
    at = nearest_point(curve, ef_search)
    return f"recall@10 is {at.recall:.3f} at ef_search {at.ef_search}"


def _latency_title(curve: Sequence[CurvePoint], ef_search: int, exact_p50_ms: float | None) -> str:
    at = nearest_point(curve, ef_search)
    against = f", {milliseconds(exact_p50_ms)} without the index" if exact_p50_ms else ""
    return f"{milliseconds(at.p50_ms)} a search at ef_search {at.ef_search}{against}"


def _extent(curve: Sequence[CurvePoint], exact_p50_ms: float | None) -> tuple[float, float]:
    """The lowest and the highest latency there is to draw."""
    return min(point.p50_ms for point in curve), max([*(point.p95_ms for point in curve), exact_p50_ms or 0.0])


def _is_wide(lowest: float, highest: float) -> bool:
    return lowest > 0 and highest / lowest > _LOG_SCALE_FROM


def _put_ef_search_below(axes: Axes, searched: Sequence[int], in_use: int) -> None:
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(searched, [str(value) for value in searched])
    axes.set_xlim(searched[0] / 1.12, searched[-1] * 1.12)
    axes.set_xlabel("ef_search: candidates examined by a search")
    if searched[0] <= in_use <= searched[-1]:
        axes.axvline(in_use, color=INK, linewidth=1, linestyle=":")
        place = ("data", "axes fraction")
        axes.annotate("in use", (in_use, 0), xycoords=place, xytext=(3, 3), textcoords="offset points", fontsize=8.5)


def _across(curve: Sequence[CurvePoint]) -> Callable[[int], int]:
    """From ``ef_search`` to pixels, on a logarithmic scale."""
    first = math.log(curve[0].ef_search)
    extent = math.log(curve[-1].ef_search) - first or 1.0
    return lambda value: round(6 + (math.log(value) - first) / extent * (WIDTH - 12))


def _ends(curve: Sequence[CurvePoint]) -> str:
    return ends(f"ef_search {curve[0].ef_search}", str(curve[-1].ef_search) if len(curve) > 1 else "")
