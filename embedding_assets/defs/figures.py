"""Pictures as Dagster metadata: one small enough to be seen at once, the full ones with captions behind a link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dagster import MarkdownMetadataValue, MetadataValue

from embedding_assets.postgres.prefixes import PrefixCounts
from embedding_assets.postgres.runs import PastRun
from embedding_assets.postgres.usage.ledger import DayCost
from embedding_assets.reporting.figures.backlog import backlog_figure, backlog_glance
from embedding_assets.reporting.figures.costs import cost_figure, cost_glance
from embedding_assets.reporting.figures.map import map_figure
from embedding_assets.reporting.figures.picture import gallery
from embedding_assets.reporting.figures.quality import quality_figure, quality_glance
from embedding_assets.reporting.figures.searching import latency_figure, latency_glance, recall_figure, recall_glance
from embedding_assets.reporting.figures.throughput import throughput_figure, throughput_glance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedding_assets.config import Settings
    from embedding_assets.postgres.index.measurements import IndexMeasurement
    from embedding_assets.postgres.quality import QualityMeasurement
    from embedding_assets.reporting.figures.picture import Picture

_Pictures = dict[str, MarkdownMetadataValue]


_BEFORE = "before the run"


def backlog_pictures(prefixes: Sequence[PrefixCounts], *, with_figure: bool) -> _Pictures:
    """Embedded and pending chunks, by prefix, as they were before they are embedded.

    The figure takes a second, for which the vectors of a run would wait.
    """
    figure = {"figures": _gallery([backlog_figure(prefixes, when=_BEFORE)])} if with_figure else {}
    return {"backlog": _inline(backlog_glance(prefixes, when=_BEFORE)), **figure}


def run_pictures(
    prefixes: Sequence[PrefixCounts], runs: Sequence[PastRun], days: Sequence[DayCost], settings: Settings
) -> _Pictures:
    """The backlog, if it was counted, and throughput and costs over time.

    So small that every partition of a run can have them.
    """
    floor, limit = settings.embedding.throughput_floor, settings.budget.usd_per_day
    costs = {"costs": _inline(cost_glance(days, None if limit is None else float(limit)))} if days else {}
    return {
        **({"backlog": _inline(backlog_glance(prefixes, when="after the run"))} if prefixes else {}),
        "throughput": _inline(throughput_glance(runs, floor)),
        **costs,
    }


def index_pictures(
    measurement: IndexMeasurement,
    runs: Sequence[PastRun],
    days: Sequence[DayCost],
    settings: Settings,
    *,
    vectors: NDArray[np.floating],
    sources: Sequence[str],
) -> _Pictures:
    """Recall and latency by ef_search. In full also a map of some vectors, shape (n, dimensions), by their source.

    And throughput and costs in full: the partitions of a run are recorded in any order, so no page shows a certain one
    of them, and kept with each of 256 they would take megabytes of Dagster's storage.
    """
    curve, ef_search, exact = measurement.search.curve, settings.index.ef_search, measurement.search.exact_p50_ms
    floor, limit = settings.embedding.recall_floor, settings.budget.usd_per_day
    figures = [recall_figure(curve, ef_search, floor), latency_figure(curve, ef_search, exact)] if curve else []
    figures += [map_figure(vectors, sources), throughput_figure(runs, settings.embedding.throughput_floor)]
    figures += [cost_figure(days, None if limit is None else float(limit))] if days else []
    return {
        "recall_curve": _inline(recall_glance(curve, ef_search, floor)),
        "latency_curve": _inline(latency_glance(curve, ef_search, exact)),
        "figures": _gallery(figures),
    }


def quality_pictures(history: Sequence[QualityMeasurement]) -> _Pictures:
    """How good answers were over time."""
    return {"quality": _inline(quality_glance(history)), "figures": _gallery([quality_figure(history)])}


def _inline(picture: Picture) -> MarkdownMetadataValue:
    return MetadataValue.md(picture.markdown)


def _gallery(pictures: Sequence[Picture]) -> MarkdownMetadataValue:
    return MetadataValue.md(gallery(pictures))
