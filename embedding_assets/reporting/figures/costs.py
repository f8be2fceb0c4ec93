"""Dollars spent on vectors, by day."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from embedding_assets.formatting import dollars, shortened
from embedding_assets.reporting.figures.glance import MOST_BARS, bars, ends, glance, limit, note, scale
from embedding_assets.reporting.figures.picture import BLUE, OTHERS, SERIES, Picture, of_limit
from embedding_assets.reporting.figures.style import DEFAULT_SIZE, dates_below, draw, legend_below_title, threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from embedding_assets.postgres.usage.ledger import DayCost

_NOTHING: Final = "Nothing spent: only an API costs dollars"
_CAPTION: Final = (
    "What the API billed each day, requests whose outcome is not known included. EMBEDDING_BUDGET_USD_PER_RUN, "
    "EMBEDDING_BUDGET_USD_PER_DAY and EMBEDDING_BUDGET_USD_PER_MONTH set limits."
)
_MOST_SPACES: Final = 3
_FAR_ABOVE: Final = 4
"""A limit that many times higher than the highest day would flatten the days; it is given in words only."""


def cost_figure(
    costs: Sequence[DayCost], limit_per_day_usd: float | None = None, *, size: tuple[int, int] = DEFAULT_SIZE
) -> Picture:
    """Dollars a day, stacked by space; days without costs between the first and the last are shown empty."""
    total = sum(cost.usd for cost in costs)
    if not total:
        return note(_NOTHING)

    def paint(axes: Axes) -> str:
        from matplotlib.dates import date2num

        days = _days(costs)
        places = [float(date2num(day)) for day in days]  # type: ignore[no-untyped-call]
        bottom = [0.0] * len(days)
        for label, colour, names in _groups(costs):
            heights = [sum(cost.usd for cost in costs if cost.day == day and cost.space in names) for day in days]
            axes.bar(places, heights, bottom=bottom, width=0.8, color=colour, label=label)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        if shown := _limit_to_show(limit_per_day_usd, max(bottom)):
            threshold(axes, shown, f"limit {dollars(shown)} a day", is_held=max(bottom) < shown)
        axes.set_ylim(0, max(*bottom, shown or 0.0) * 1.15)
        axes.set_xlim(places[0] - 0.7, max(places[-1], places[0] + 6) + 0.7)
        dates_below(axes, "day (UTC)")
        axes.set_ylabel("dollars")
        axes.yaxis.set_major_formatter(lambda value, _: dollars(value))
        legend_below_title(axes)
        axes.set_title(_title(total, len(days)))
        return f"Costs by day: {_title(total, len(days))}"

    return draw(paint, size, _CAPTION)


def cost_glance(costs: Sequence[DayCost], limit_per_day_usd: float | None = None) -> Picture:
    """The latest days as bars, all spaces together, and the day's limit."""
    if not any(cost.usd for cost in costs):
        return note(_NOTHING)
    days = dict.fromkeys(_days(costs)[-MOST_BARS:], 0.0)
    for cost in costs:
        if cost.day in days:
            days[cost.day] += cost.usd
    title = [(_title(sum(days.values()), len(days)), BLUE)]
    colour = of_limit(is_held=max(days.values()) < (limit_per_day_usd or math.inf))
    title += [(f", the limit is {dollars(limit_per_day_usd)} a day", colour)] if limit_per_day_usd else []
    shown = _limit_to_show(limit_per_day_usd, max(days.values()))
    y = scale(0, max([*days.values(), shown or 0.0]))
    columns = bars([y(usd) for usd in days.values()], BLUE)
    dates = ends(str(min(days)), str(max(days)) if len(days) > 1 else "")
    return glance(title, [columns, limit(y(shown), colour) if shown else "", dates], [columns])


def _days(costs: Sequence[DayCost]) -> list[date]:
    """Every day from the first with costs to the last."""
    first, last = min(cost.day for cost in costs), max(cost.day for cost in costs)
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def _groups(costs: Sequence[DayCost]) -> list[tuple[str, str, set[str]]]:
    """Label, colour and spaces of each part of a bar, the dearest first; too many spaces share the last."""
    totals: Counter[str] = Counter()
    for cost in costs:
        totals[cost.space] += cost.usd  # type: ignore[assignment]
    spaces = [name for name, _ in totals.most_common()]
    groups = [
        (shortened(name, 22), colour, {name}) for name, colour in zip(spaces[:_MOST_SPACES], SERIES, strict=False)
    ]
    rest = set(spaces[_MOST_SPACES:])
    return [*groups, (f"{len(rest)} more", OTHERS, rest)] if rest else groups


def _limit_to_show(usd: float | None, highest: float) -> float | None:
    return usd if usd and usd <= _FAR_ABOVE * highest else None


def _title(usd: float, days: int) -> str:
    return f"{dollars(usd)} spent in " + (f"{days} days" if days > 1 else "one day")
