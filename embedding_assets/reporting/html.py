"""The report: one HTML page with everything in it, for readers without access to the Dagster UI."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

from embedding_assets.formatting import counted, dollars, megabytes, milliseconds, moment, rate, share
from embedding_assets.health.embeddings import THROUGHPUT_MINIMUM_CHUNKS
from embedding_assets.postgres.index.recall import nearest_point
from embedding_assets.reporting.figures.backlog import backlog_figure
from embedding_assets.reporting.figures.costs import cost_figure
from embedding_assets.reporting.figures.map import map_figure
from embedding_assets.reporting.figures.searching import latency_figure, recall_figure
from embedding_assets.reporting.figures.throughput import throughput_figure
from embedding_assets.reporting.overview import place_of

if TYPE_CHECKING:
    import numpy as np
    from jinja2 import Template
    from markupsafe import Markup
    from numpy.typing import NDArray

    from embedding_assets.reporting.figures.picture import Picture
    from embedding_assets.reporting.overview import Overview, PeriodCost, SpaceOverview

_PIXELS: Final = (500, 290)
"""Of a figure, in CSS pixels: two beside each other on a screen; still legible when a telephone shrinks it."""

_MAP_PIXELS: Final = (500, 360)
_LATEST_RUNS: Final = 10

Sample = tuple["NDArray[np.floating]", tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Tile:
    """A number worth large print; ``share`` of a whole is drawn as a meter, in the colour of ``state``."""

    label: str
    value: str
    share: float | None = None
    state: Literal["", "warn", "bad"] = ""


def render_report(data: Overview, maps: Mapping[str, Sample] | None = None) -> str:
    """The page. It loads nothing, runs no script, and follows the reader's light or dark theme.

    Args:
        data: what to show.
        maps: name of a space → a sample of its vectors, shape (n, dimensions), and the source of each.
    """
    costs, maps = data.costs, maps or {}
    return _template().render(
        data=data,
        unchecked=f"{' and '.join(data.unchecked)} needs the model and was not checked (`embedding-assets health`)",
        spaces=[
            {
                "overview": space,
                "place": place_of(space.column.space),
                "tiles": _tiles(data, space),
                "pictures": _pictures(data, space, maps.get(space.name)),
                "runs": list(reversed(space.runs[-_LATEST_RUNS:])),
                "numbers": _numbers(space),
            }
            for space in data.spaces
        ],
        costs={
            "tiles": [_cost_tile(cost) for cost in costs.periods],
            "picture": cost_figure(costs.days, costs.limit_usd_per_day, size=_PIXELS) if costs.days else None,
        },
    )


def _tiles(data: Overview, space: SpaceOverview) -> list[_Tile]:
    index, backlog = space.index, space.backlog
    tiles = [
        _Tile(
            f"of {backlog.chunks:,} chunks embedded",
            share(backlog.coverage),
            backlog.coverage,
            "" if backlog.coverage == 1 else "warn",
        )
        if backlog.chunks
        else _Tile("in the table", "no chunks yet"),
        _Tile(
            "pending" + (f", {backlog.waiting:,} wait for a retry" if backlog.waiting else ""), f"{backlog.pending:,}"
        ),
        _Tile("quarantined", f"{backlog.quarantined:,}"),
    ]
    if run := space.representative_run:
        large = "" if run is space.runs[-1] else f" of {THROUGHPUT_MINIMUM_CHUNKS} chunks or more"
        state: Literal["", "warn"] = "warn" if data.is_slow(space) else ""
        tiles.append(_Tile(f"chunks/s in the latest run{large}", rate(run.chunks_per_second), state=state))
    if space.curve:
        at = nearest_point(space.curve, data.ef_search)
        tiles.append(_Tile(f"recall@10 at ef_search {at.ef_search}", f"{at.recall:.3f}"))
        tiles.append(_Tile("a search by the index (median)", milliseconds(at.p50_ms)))
    tiles.append(_Tile("index", megabytes(index.size_bytes) if index.valid else index.status))
    return tiles


def _pictures(data: Overview, space: SpaceOverview, sample: Sample | None) -> list[Picture]:
    curve = space.curve
    pictures = [
        backlog_figure(space.prefixes, size=_PIXELS),
        throughput_figure(space.runs, data.throughput_floor, size=_PIXELS),
        recall_figure(curve, data.ef_search, data.recall_floor, size=_PIXELS),
        latency_figure(curve, data.ef_search, space.exact_p50_ms, size=_PIXELS),
    ]
    return pictures + ([map_figure(*sample, size=_MAP_PIXELS)] if sample else [])


def _numbers(space: SpaceOverview) -> dict[str, str]:
    """Further measurements, by what they are called."""
    vectors, measurement = space.vectors, space.measurement
    numbers = {
        "table without indexes": megabytes(vectors.table_bytes),
        "of it vectors and long texts, stored out of line (TOAST)": megabytes(vectors.toast_bytes),
        "dead rows": share(vectors.dead_share),
        "pgvector": vectors.pgvector,
    }
    if vectors.norm_min is not None and vectors.norm_max is not None:
        numbers[f"lengths of {vectors.sampled:,} vectors"] = f"{vectors.norm_min:.4g} to {vectors.norm_max:.4g}"
        numbers["zero vectors among them"] = f"{vectors.zero:,}"
    if measurement is None:
        return numbers
    search = measurement.search
    if measurement.bloat is not None:
        numbers["size of the index, as a multiple of a fresh one's"] = f"{measurement.bloat:.2f}"
    if search.recall is not None:
        interval = f"{search.recall_low:.3f} to {search.recall_high:.3f}"
        numbers[f"recall@10 in {search.queries:,} queries, with its 95% interval"] = f"{search.recall:.3f} ({interval})"
        numbers["vectors that another one equals"] = share(search.duplicates or 0)
        numbers["vectors nearly like another one (cosine from 0.98)"] = share(search.near_duplicates or 0)
    return numbers


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
    """Mark what is between backquotes as code."""
    from markupsafe import Markup, escape

    # Escaped before anything is added to it.
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704
