"""Recall and latency of an index, measured against exact search."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from embedding_assets.postgres.index.neighbours import Answer, NeighbourSearch, StoredQuery, sample_queries

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn

EF_SEARCH_CURVE: Final = (10, 20, 40, 80, 120, 200, 400)
"""Values of hnsw.ef_search at which recall and latency are measured, so that one can be chosen."""

_NEAR_DUPLICATE_COSINE: Final = 0.98
_DUPLICATE_COSINE: Final = 1 - 1e-6
"""Equal vectors, but for the rounding of the distance."""

_NEIGHBOURS: Final = 10
_FEWEST_QUERIES: Final = 20
_BUDGET_SECONDS: Final = 60.0
_LIMIT_SECONDS: Final = 300.0

_CURVE_SECONDS: Final = 60.0
"""For the whole curve. Only an index that is read from a slow disk takes so long, and then points are missing."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Recall and latency at one value of hnsw.ef_search; ``recall_low`` and ``recall_high`` are a 95% interval."""

    ef_search: int
    recall: float
    recall_low: float
    recall_high: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class SearchMeasurement:
    """Recall and latency of searches by an index, measured on stored vectors.

    Attributes:
        queries: vectors asked for their nearest neighbours.
        recall: share of the true ``k`` nearest that the index returned; None without an index or enough vectors.
        planner_uses_index: whether PostgreSQL picks the index by itself; in a small table it rightly does not.
        p50_ms: median latency of the queries that were answered by the index, in milliseconds.
        p95_ms: what one in twenty of them exceeded.
        recall_low: lower end of the 95% interval of ``recall``.
        recall_high: its upper end.
        exact_p50_ms: median latency of the same queries without the index.
        exact_p95_ms: what one in twenty of them exceeded.
        curve: recall and latency by hnsw.ef_search, ascending, the configured value included.
        duplicates: share of the vectors that another one equals.
        near_duplicates: share that has another one within a cosine of 0.98, equal ones included.
        reason: why the recall is None; empty if it is not.
    """

    queries: int
    recall: float | None
    planner_uses_index: bool
    p50_ms: float | None
    p95_ms: float | None = None
    recall_low: float | None = None
    recall_high: float | None = None
    exact_p50_ms: float | None = None
    exact_p95_ms: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    duplicates: float | None = None
    near_duplicates: float | None = None
    reason: str = ""


def nearest_point(curve: Sequence[CurvePoint], ef_search: int) -> CurvePoint:
    """The measured point at ``ef_search``, or the next one to it; ``curve`` has at least one."""
    return min(curve, key=lambda point: abs(point.ef_search - ef_search))


def measure_recall(
    database: Database,
    column: SpaceColumn,
    config: IndexConfig,
    *,
    k: int = _NEIGHBOURS,
    queries: int = 100,
    curve: Sequence[int] = EF_SEARCH_CURVE,
) -> SearchMeasurement:
    """Compare the index with exact search for a sample of stored vectors.

    A query's own row is left out. What is as near as the k-th of the exact answer is as right as that, so duplicates do
    not lower the recall. The plans are asked whether the exact search reads no index, and the other one this index.
    Method: https://github.com/pgvector/pgvector#monitoring

    The same vectors are asked each time, as long as they are there: what differs between two measurements is then the
    index, and not the sample. Being in the graph themselves they are found somewhat better than the vector of a
    question would be, so a recall is to be compared with others measured this way.

    Args:
        database: where.
        column: the space and its index.
        config: how searches use the index.
        k: neighbours of a query.
        queries: most queries; fewer where exact search takes long (``has_asked_enough``).
        curve: further values of hnsw.ef_search to measure at, as many as there is time for.
    """
    sample = sample_queries(database, column, max(queries, k + 1))
    if len(sample) <= k:
        return _not_measured(len(sample), f"{len(sample)} vectors are too few")
    search = NeighbourSearch(database, column, k)
    obstacle = _obstacle(search, sample[0], column.index)
    if obstacle:
        return _not_measured(len(sample), obstacle)
    started = time.monotonic()
    answers = search.exact(
        sample[:queries],
        enough=lambda count: has_asked_enough(count, time.monotonic() - started),
        seconds=_LIMIT_SECONDS,
    )
    if not answers:
        return _not_measured(len(sample), f"a single exact search takes longer than {_LIMIT_SECONDS:g} s")
    # Rows may have been deleted since the sample was taken.
    pairs = [(query, answer) for query, answer in zip(sample, answers, strict=False) if len(answer.distances) == k]
    if not pairs:
        return _not_measured(len(sample), "the vectors were deleted meanwhile")
    asked, exact = zip(*pairs, strict=True)
    points = _measure_curve(search, asked, exact, k=k, configured=config.ef_search, others=curve)
    configured = next((point for point in points if point.ef_search == config.ef_search), None)
    if configured is None:
        return _not_measured(len(sample), f"{len(asked)} searches by the index take longer than {_LIMIT_SECONDS:g} s")
    exact_p50, exact_p95 = _percentiles(exact)
    return SearchMeasurement(
        queries=len(asked),
        recall=configured.recall,
        planner_uses_index=search.planner_uses_index(sample[0], config.ef_search),
        p50_ms=configured.p50_ms,
        p95_ms=configured.p95_ms,
        recall_low=configured.recall_low,
        recall_high=configured.recall_high,
        exact_p50_ms=exact_p50,
        exact_p95_ms=exact_p95,
        curve=tuple(sorted(points, key=lambda point: point.ef_search)),
        duplicates=sum(answer.cosine >= _DUPLICATE_COSINE for answer in exact) / len(exact),
        near_duplicates=sum(answer.cosine >= _NEAR_DUPLICATE_COSINE for answer in exact) / len(exact),
    )


def planner_uses_index(database: Database, column: SpaceColumn, config: IndexConfig) -> bool:
    """True if PostgreSQL answers a search by the index of its own accord; asks for one plan."""
    sample = sample_queries(database, column, 1)
    search = NeighbourSearch(database, column, _NEIGHBOURS)
    return bool(sample) and search.planner_uses_index(sample[0], config.ef_search)


def has_asked_enough(queries: int, seconds: float) -> bool:
    """True if so many exact queries, which took so long together, are enough.

    Twenty at least, more while they take less than a minute; but no further one after five minutes, however few. A
    query of 768 dimensions takes some five seconds for a million vectors that the server has in memory.
    """
    return seconds >= _LIMIT_SECONDS or (queries >= _FEWEST_QUERIES and seconds >= _BUDGET_SECONDS)


def _obstacle(search: NeighbourSearch, query: StoredQuery, index: str) -> str:
    """The reason why the two ways of searching cannot be compared; empty if they can."""
    if not search.can_use_index(query):
        return f"there is no index {index} that searches can use"
    if not search.is_exact(query):
        return "the server reads an index even where that is turned off"
    return ""


def _measure_curve(
    search: NeighbourSearch,
    asked: Sequence[StoredQuery],
    exact: Sequence[Answer],
    *,
    k: int,
    configured: int,
    others: Sequence[int],
) -> list[CurvePoint]:
    """The point of the configured hnsw.ef_search, then those of others while there is time."""
    # Untimed: exact search has pushed the index out of the server's memory.
    search.by_index(asked, max(configured, *others, 0), seconds=_CURVE_SECONDS)
    found: dict[int, list[Answer]] = {}
    deadline = time.monotonic() + _CURVE_SECONDS
    for value in (configured, *sorted({*others} - {configured})):
        seconds = _LIMIT_SECONDS if value == configured else deadline - time.monotonic()
        answers = search.by_index(asked, value, seconds=seconds) if seconds > 0 else []
        if len(answers) < len(asked):
            break
        found[value] = answers
    recalls = {value: _recalls(answers, exact, k) for value, answers in found.items()}
    # Where nothing was missed, nothing shows how neighbours are missed together. Other points of the curve do.
    observed = [trials for values in recalls.values() if (trials := independent_trials(values, k))]
    trials = min(observed, default=None)
    return [_curve_point(value, found[value], recalls[value], k, trials) for value in found]


def independent_trials(recalls: Sequence[float], k: int) -> float | None:
    """As many trials, each finding a neighbour or not, as would make the mean of ``recalls`` vary as it does.

    Neighbours of one query are found or missed together (Saha, Miller and Wang 2015, doi:10.1515/ijb-2015-0024). At
    least one a query: no variable between 0 and 1 varies more than one that is either. At most one a neighbour.

    Args:
        recalls: the share of ``k`` neighbours that each query found.
        k: neighbours of a query.

    Returns:
        None where all queries found the same share.
    """
    n = len(recalls)
    mean = sum(recalls) / n
    variance = sum((recall - mean) ** 2 for recall in recalls) / max(n - 1, 1)
    return min(max(n * mean * (1 - mean) / variance, n), n * k) if variance else None


def recall_interval(recalls: Sequence[float], k: int, *, otherwise: float | None = None) -> tuple[float, float]:
    """The 95% interval of the mean of ``recalls``, each the share of ``k`` neighbours that one query found.

    Wilson's score interval (1927, doi:10.1080/01621459.1927.10502953), which stays within 0 and 1 and never shrinks to
    a point, for as many ``independent_trials`` as were made; where that is not known ``otherwise``, or one a query.
    """
    mean = sum(recalls) / len(recalls)
    trials = independent_trials(recalls, k) or otherwise or len(recalls)
    z = 1.959964
    centre = (mean + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(mean * (1 - mean) / trials + z * z / (4 * trials * trials))
    return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))


def _recalls(answers: Sequence[Answer], exact: Sequence[Answer], k: int) -> list[float]:
    return [
        sum(distance <= truth.distances[-1] for distance in answer.distances) / k
        for answer, truth in zip(answers, exact, strict=True)
    ]


def _curve_point(
    ef_search: int, answers: Sequence[Answer], recalls: Sequence[float], k: int, otherwise: float | None
) -> CurvePoint:
    low, high = recall_interval(recalls, k, otherwise=otherwise)
    return CurvePoint(ef_search, sum(recalls) / len(recalls), low, high, *_percentiles(answers))


def _percentiles(answers: Sequence[Answer]) -> tuple[float, float]:
    p50, p95 = np.percentile([answer.milliseconds for answer in answers], [50, 95])
    return float(p50), float(p95)


def _not_measured(queries: int, reason: str) -> SearchMeasurement:
    return SearchMeasurement(queries, None, planner_uses_index=False, p50_ms=None, reason=reason)
