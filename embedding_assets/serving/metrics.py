"""Measurements for Prometheus: of searches as they come, and of the table now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from embedding_assets.errors import EmbeddingAssetsError
from embedding_assets.health.checks import BACKLOG_AGE

if TYPE_CHECKING:
    from prometheus_client import Metric

    from embedding_assets.reporting.overview import Overview, SpaceOverview
    from embedding_assets.retrieval.random_scores import BestScore
    from embedding_assets.serving.problems import Outcome

logger = logging.getLogger(__name__)

_PREFIX: Final = "embedding_assets"

_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds."""

_SCORES: Final = tuple(tenth / 10 for tenth in range(11))
"""Of cosines, which are the scores of most spaces."""

_SHARE: Final = 10
"""Looking at the table takes at most one part in so many of the time, however large it is."""

_FIRST_SECONDS: Final = 5.0
"""That a scrape waits for the first look."""


class SearchMetrics:
    """Searches and requests, as they come."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            f"{_PREFIX}_search_seconds",
            "Seconds that searches took, waiting included.",
            ["mode", "outcome"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge(
            f"{_PREFIX}_searches_in_flight", "Searches under way, those that wait included.", registry=registry
        )
        self._best_score = Histogram(
            f"{_PREFIX}_search_best_score",
            "Best score of each answer that has one.",
            ["space"],
            buckets=_SCORES,
            registry=registry,
        )
        self._compared = Counter(
            f"{_PREFIX}_search_compared",
            "Answers whose best score was compared with those of chunks picked at random.",
            ["space"],
            registry=registry,
        )
        self._low = Counter(
            f"{_PREFIX}_search_low", "Those whose best score is not clearly higher.", ["space"], registry=registry
        )
        self._requests = Counter(
            f"{_PREFIX}_http_requests", "Requests answered.", ["path", "status"], registry=registry
        )

    def observe(self, kind: str, outcome: Outcome, seconds: float) -> None:
        """Count a search of a kind: its mode, or what else was asked."""
        self._seconds.labels(kind, outcome).observe(seconds)

    def observe_best(self, best: BestScore) -> None:
        """Count an answer by its best score."""
        self._best_score.labels(best.space).observe(best.score)
        if best.is_low is not None:
            self._compared.labels(best.space).inc()
            self._low.labels(best.space).inc(best.is_low)

    def count_request(self, path: str, status: int) -> None:
        """Count a request; ``path`` is one of the service's own."""
        self._requests.labels(path, str(status)).inc()


class TableMetrics(Collector):
    """What the overview of the table says, as it was gathered last.

    Args:
        gather: the overview; None: there is no database yet.
        least_seconds: between two gatherings.
    """

    def __init__(self, gather: Callable[[], Overview | None], least_seconds: float) -> None:
        self._gather = gather
        self._least_seconds = least_seconds
        self._overview: Overview | None = None
        self._gathered_at = float("-inf")
        self._seconds = 0.0
        self._refreshing: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Look at the table again where that is due; only the first look is waited for."""
        now = time.monotonic()
        if self._refreshing is None and now - self._gathered_at >= max(self._least_seconds, _SHARE * self._seconds):
            self._refreshing = asyncio.create_task(self._refresh())
        if self._refreshing is not None and self._overview is None:
            await asyncio.wait([self._refreshing], timeout=_FIRST_SECONDS)

    async def _refresh(self) -> None:
        started = time.monotonic()
        try:
            self._overview = await asyncio.to_thread(self._gather)
        except EmbeddingAssetsError as error:
            self._overview = None
            logger.warning("/metrics goes without the table: %s", error)
        except Exception as error:  # noqa: BLE001 (a scrape must still tell of searches)
            self._overview = None
            logger.error("/metrics goes without the table: %s", type(error).__name__)
        finally:
            self._gathered_at = time.monotonic()
            self._seconds = self._gathered_at - started
            self._refreshing = None

    def collect(self) -> Iterable[Metric]:
        """The families of metrics."""
        overview = self._overview
        yield _gauge("up", "1 if the table could be read at the last look, else 0.", overview is not None)
        if overview is None:
            return
        yield _gauge("overview_timestamp_seconds", "When the table was looked at.", overview.created_at.timestamp())
        yield _gauge("chunks", "Chunks in the table.", overview.chunks)
        yield _gauge("documents", "Documents that they come from.", overview.documents)
        spent = _family("spent_usd", "Dollars billed by APIs.", "period")
        limit = _family("limit_usd", "Most dollars, where that is limited.", "period")
        for period in overview.costs.periods:
            spent.add_metric([_word(period.period)], period.usd)
            if period.limit_usd is not None:
                limit.add_metric([_word(period.period)], period.limit_usd)
        yield from (spent, limit)
        yield from _of_spaces(overview.spaces)


def _of_spaces(spaces: Iterable[SpaceOverview]) -> Iterator[GaugeMetricFamily]:
    """Each family with a value for each space."""
    names = {
        "serving": "1 for the space that searches are asked in.",
        "embedded": "Chunks with a vector.",
        "pending": "Chunks without one that are not given up, those waiting for a retry included.",
        "retrying": "Chunks that failed and wait for a retry.",
        "quarantined": "Chunks that failed too often and are given up.",
        "oldest_pending_seconds": "Seconds that the oldest pending chunk has waited.",
        "index_bytes": "Size of the vector index.",
    }
    plain = {name: _family(name, help_, "space") for name, help_ in names.items()}
    failed = _family("failed", "Chunks that failed last, by code.", "space", "code")
    recall = _family("recall", "recall@10 of searches by the index, as measured last.", "space")
    state = _family("index_state", "1 for the state that the index is in.", "space", "state")
    checks = _family("check_passed", "1 where a check passed, else 0.", "space", "check", "severity")
    for space in spaces:
        age = next((check.numbers for check in space.checks if check.name == BACKLOG_AGE.name), {})
        values = {
            "serving": space.column.serving,
            "embedded": space.backlog.embedded,
            "pending": space.backlog.pending,
            "retrying": space.backlog.waiting,
            "quarantined": space.backlog.quarantined,
            "oldest_pending_seconds": float(age.get("oldest_pending_hours", 0)) * 3600,
            "index_bytes": space.index.size_bytes,
        }
        for name, value in values.items():
            plain[name].add_metric([space.name], value)
        for code, count in space.failures.items():
            failed.add_metric([space.name, code], count)
        if space.measurement is not None and space.measurement.search.recall is not None:
            recall.add_metric([space.name], space.measurement.search.recall)
        for one in ("valid", "invalid", "missing"):
            state.add_metric([space.name, one], space.index.status == one)
        for check in space.checks:
            checks.add_metric([space.name, check.name, check.severity], check.passed)
    yield from (*plain.values(), failed, recall, state, checks)


class Metrics:
    """All of them, and how they are shown.

    Args:
        gather: the overview of the table; None: there is no database yet.
        least_seconds: between two gatherings.
    """

    def __init__(self, gather: Callable[[], Overview | None], least_seconds: float) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.searches = SearchMetrics(self._registry)
        self._table = TableMetrics(gather, least_seconds)
        self._registry.register(self._table)

    async def scrape(self) -> tuple[bytes, str]:
        """What Prometheus reads, and its media type."""
        await self._table.refresh()
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


def _family(name: str, help_: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", help_, labels=labels)


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", help_, value=value)


def _word(period: str) -> str:
    return period.rpartition(" ")[2]
