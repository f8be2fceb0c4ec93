"""A state of everything to draw and to report on."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from embedding_assets.health.verdict import Verdict
from embedding_assets.postgres.backlog import Backlog, PrefixCounts
from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.index.measurements import IndexMeasurement
from embedding_assets.postgres.index.recall import CurvePoint, SearchMeasurement
from embedding_assets.postgres.index.statistics import VectorStatistics
from embedding_assets.postgres.runs import PastRun
from embedding_assets.postgres.usage.ledger import DayCost
from embedding_assets.reporting.overview import ChangedSetting, CostOverview, Overview, SpaceOverview
from embedding_assets.spaces import SpaceColumn, VectorSpace

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

PREFIXES = tuple(PrefixCounts(f"{n:x}", 780 + 3 * n, 5 * n, 2 if n == 4 else 0) for n in range(16))


CURVE = tuple(
    CurvePoint(ef_search, recall, recall - 0.02, min(1.0, recall + 0.015), 0.35 + ef_search / 150, 0.7 + ef_search / 80)
    for ef_search, recall in (
        (10, 0.781),
        (20, 0.882),
        (40, 0.937),
        (80, 0.966),
        (120, 0.976),
        (200, 0.985),
        (400, 0.992),
    )
)

_RUN = PastRun(
    finished_at=NOON, embedded=1000, failed=0, skipped=0, truncated=0, tokens=160_000, seconds=40.0,
    model_load_seconds=0.0, peak_memory_bytes=9 * 10**8, device="cpu", precision="bfloat16",
)  # fmt: skip


def runs(count: int, **changes: object) -> tuple[PastRun, ...]:
    """Runs a day apart, the last at noon: a little faster each day."""
    return tuple(
        replace(_RUN, finished_at=NOON - timedelta(days=count - 1 - n), seconds=40 - 10 * n / count, **changes)
        for n in range(count)
    )


def costs(days: int, *spaces: str, usd: float = 0.5) -> tuple[DayCost, ...]:
    """So much on each day in each space, the last today."""
    last = date(2026, 11, 21)
    return tuple(DayCost(last - timedelta(n), space, usd) for n in reversed(range(days)) for space in spaces)


def embeddings(count: int = 400) -> tuple[np.ndarray, tuple[str, ...]]:
    """Vectors in ten groups, and the source of each: the first is the most frequent."""
    random = np.random.default_rng(1)
    group = np.minimum(random.integers(0, 12, count), random.integers(0, 10, count))
    vectors = random.normal(size=(10, 32))[group] + 0.4 * random.normal(size=(count, 32))
    return vectors.astype(np.float32), tuple(f"source {n}" for n in group)


PASSED = (
    Verdict("finite_dimensions", "error", True, "12,855 vectors checked, all with 768 finite dimensions"),
    Verdict("throughput", "warning", True, "33.3 chunks/s on cpu, the floor is 10"),
    Verdict("recall", "warning", True, "recall@10 is 0.937 in 100 queries, the floor is 0.9"),
)
WARNING = Verdict("coverage", "warning", False, "12,840 of 13,442 chunks are embedded. Run `embedding-assets embed`")
FAILED = Verdict("index_valid", "error", False, "index idx is invalid: a build of it failed. Materialize it")

VECTORS = VectorStatistics(
    count=12_840, heap_bytes=9_000_000, toast_bytes=40_000_000, pending_index_bytes=8192, live_rows=13_442,
    dead_rows=177, vacuumed_at=NOON, sampled=12_840, wrong_dimensions=0, zero=0, not_unit_length=0, norm_min=1.0,
    norm_mean=1.0, norm_max=1.0, pgvector="0.8.5",
)  # fmt: skip


def space(
    *,
    name: str = "local-all-mpnet-base-v2-768-1a2b3c4d",
    model: str = "sentence-transformers/all-mpnet-base-v2",
    serving: bool = True,
    prefixes: tuple[PrefixCounts, ...] = PREFIXES,
    waiting: int = 7,
    index: IndexState | None = None,
    curve: tuple[CurvePoint, ...] = CURVE,
    exact_p50_ms: float | None = 23.4,
    **changes: object,
) -> SpaceOverview:
    """A space with everything measured; without a ``curve`` nothing was."""
    provider, revision = ("local", "e8c3b32e") if serving else ("openai", "api.openai.com")
    identity = VectorSpace(provider, model, revision, 768, True, "", 384)
    column = SpaceColumn(identity, "embedding", "idx_knowledge_embedding", serving)
    index = index or IndexState(column.index, True, True, 104_300_000, "vector_cosine_ops", 16, 64)
    embedded, pending, quarantined = (
        sum(getattr(counts, part) for counts in prefixes) for part in ("embedded", "pending", "quarantined")
    )
    search = SearchMeasurement(
        100, 0.937, True, 0.62, 1.2, 0.917, 0.952, exact_p50_ms, 31.0, curve, duplicates=0.01, near_duplicates=0.02
    )
    values = {
        "backlog": Backlog(embedded + pending + quarantined, embedded, pending, waiting, quarantined, 0),
        "failures": {"zero_vector": 12, "not_finite": 1},
        "runs": runs(12),
        "vectors": replace(VECTORS, count=embedded),
        "measurement": IndexMeasurement(name, NOON, 40, index, 1.02, search, VECTORS, id=1) if curve else None,
        "checks": (*PASSED, WARNING, FAILED),
        "unchecked": ("vectors_match_model",) if embedded else (),
    }
    return SpaceOverview(
        name=name, column=column, configured=serving, prefixes=prefixes, index=index, **{**values, **changes}
    )


def fresh_space(**changes: object) -> SpaceOverview:
    """A space in which nothing has happened yet."""
    values = {
        "prefixes": tuple(PrefixCounts(f"{n:x}", 0, 840) for n in range(16)),
        "runs": (),
        "checks": PASSED[:1],
        "failures": {},
        "vectors": replace(VECTORS, count=0, sampled=0, norm_min=None, norm_mean=None, norm_max=None),
    }
    return space(
        name="openai-text-embedding-3-small-768-9f8e7d6c",
        model="text-embedding-3-small",
        serving=False,
        waiting=0,
        index=IndexState("idx_knowledge_embedding_small", False),
        curve=(),
        **{**values, **changes},
    )


def report(
    *spaces: SpaceOverview,
    ef_search: int = 40,
    recall_floor: float = 0.9,
    throughput_floor: float = 10.0,
    **changes: object,
) -> Overview:
    """The state of a table with these spaces."""
    return replace(
        Overview(
            created_at=NOON,
            version="0.1.0",
            database="embedded PostgreSQL",
            table="knowledge_base",
            chunks=spaces[0].backlog.chunks if spaces else 0,
            documents=412 if spaces else 0,
            ef_search=ef_search,
            recall_floor=recall_floor,
            throughput_floor=throughput_floor,
            spaces=spaces,
            costs=CostOverview(0.86, 15.74, 1.0, 20.0, 0.8, costs(20, "openai-small", "openai-large")),
            settings=(ChangedSetting("EMBEDDING_INDEX_M", "24", "16"),),
        ),
        **changes,
    )


def maps(*spaces: SpaceOverview) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    """Name of a space → a sample of its vectors and their sources."""
    return {space.name: embeddings() for space in spaces}
