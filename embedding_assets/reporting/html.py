"""The report: one HTML page with everything in it, for whoever has no access to the Dagster UI."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

from embedding_assets.formatting import counted, dollars, megabytes, milliseconds, moment, rate, share
from embedding_assets.health.embeddings import THROUGHPUT_MINIMUM_CHUNKS
from embedding_assets.reporting.figures.backlog import backlog_figure
from embedding_assets.reporting.figures.costs import cost_figure
from embedding_assets.reporting.figures.map import map_figure
from embedding_assets.reporting.figures.points import nearest
from embedding_assets.reporting.figures.searching import latency_figure, recall_figure
from embedding_assets.reporting.figures.throughput import throughput_figure

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

    from embedding_assets.reporting.figures.picture import Picture
    from embedding_assets.reporting.figures.points import RunPoint
    from embedding_assets.reporting.overview import Overview, PeriodCost, SpaceOverview


_PIXELS: Final = (500, 290)
"""Of a figure, in CSS pixels: two beside each other on a screen; still legible when a telephone shrinks it."""

_MAP_PIXELS: Final = (500, 360)
_LATEST_RUNS: Final = 10


@dataclass(frozen=True, slots=True)
class _Tile:
    """A number worth large print; ``share`` of a whole is drawn as a meter, in the colour of ``state``."""

    label: str
    value: str
    share: float | None = None
    state: Literal["", "warn", "bad"] = ""


@dataclass(frozen=True, slots=True)
class _Section:
    report: SpaceOverview
    tiles: list[_Tile]
    pictures: list[Picture]
    runs: list[RunPoint]


def render_report(data: Overview) -> str:
    """The page. It loads nothing, runs no script, and follows the reader's light or dark theme."""
    costs = data.costs
    return _template().render(
        data=data,
        unchecked=f"{' and '.join(data.unchecked)} needs the model and was not looked at (`embedding-assets health`)",
        spaces=[
            _Section(space, _tiles(space), _pictures(space), list(reversed(space.runs[-_LATEST_RUNS:])))
            for space in data.spaces
        ],
        costs={
            "tiles": [_cost_tile(cost) for cost in costs.periods],
            "picture": cost_figure(costs.days, costs.limit_per_day_usd, size=_PIXELS) if costs.days else None,
        },
    )


def _tiles(space: SpaceOverview) -> list[_Tile]:
    index = space.index
    tiles = [
        _Tile(
            f"of {space.chunks:,} chunks embedded",
            share(space.embedded, space.chunks),
            space.embedded / space.chunks,
            "" if space.embedded == space.chunks else "warn",
        )
        if space.chunks
        else _Tile("in the table", "no chunks yet"),
        _Tile("pending" + (f", {space.waiting:,} wait for a retry" if space.waiting else ""), f"{space.pending:,}"),
        _Tile("quarantined", f"{space.quarantined:,}"),
    ]
    if run := space.telling_run:
        large = "" if run is space.runs[-1] else f" of {THROUGHPUT_MINIMUM_CHUNKS} chunks or more"
        speed = rate(run.chunks_per_second)
        tiles.append(_Tile(f"chunks/s in the latest run{large}", speed, state="warn" if space.is_slow else ""))
    if index.curve:
        at = nearest(index.curve, index.ef_search)
        tiles.append(_Tile(f"recall@10 at ef_search {at.ef_search}", f"{at.recall:.3f}"))
        tiles.append(_Tile("a search by the index (median)", milliseconds(at.p50_milliseconds)))
    state = index.state if index.state != "valid" else megabytes(index.size_bytes)
    tiles.append(_Tile("index", state))
    return tiles


def _pictures(space: SpaceOverview) -> list[Picture]:
    index = space.index
    pictures = [
        backlog_figure(space.prefixes, size=_PIXELS),
        throughput_figure(space.runs, space.throughput_floor, size=_PIXELS),
        recall_figure(index.curve, index.ef_search, space.recall_floor, size=_PIXELS),
        latency_figure(index.curve, index.ef_search, index.exact_p50_ms, size=_PIXELS),
    ]
    if space.vectors is not None:
        pictures.append(map_figure(space.vectors, space.sources, size=_MAP_PIXELS))
    return pictures


def _cost_tile(cost: PeriodCost) -> _Tile:
    if cost.limit_usd is None or cost.used is None:
        return _Tile(f"{cost.period} (UTC), no limit", dollars(cost.usd))
    return _Tile(
        f"{cost.period} (UTC), of {dollars(cost.limit_usd)}", dollars(cost.usd), min(cost.used, 1.0), cost.state
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[..., str]] = {
        "counted": counted,
        "number": "{:,}".format,
        "moment": moment,
        "rate": rate,
        "words": _words,
    }
    environment.filters.update(filters)
    return environment.from_string(files("embedding_assets").joinpath("reporting", "report.html").read_text("utf-8"))


def _words(text: str) -> Markup:
    """What is between backquotes as code."""
    from markupsafe import Markup, escape

    # Escaped before anything is added to it.
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704
