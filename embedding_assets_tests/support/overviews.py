"""A state of everything to draw and to report on."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from embedding_assets.health.verdict import Verdict
from embedding_assets.postgres.backlog import PrefixCounts
from embedding_assets.postgres.index.recall import CurvePoint
from embedding_assets.postgres.runs import PastRun
from embedding_assets.postgres.usage.ledger import DayCost
from embedding_assets.reporting.overview import ChangedSetting, CostOverview, IndexOverview, Overview, SpaceOverview

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
    Verdict("finite_dimensions", True, True, "12,855 vectors checked, all with 768 finite dimensions"),
    Verdict("throughput", True, False, "33.3 chunks/s on cpu, the floor is 10"),
    Verdict("recall", True, False, "recall@10 is 0.937 in 100 queries, the floor is 0.9"),
)
WARNING = Verdict("coverage", False, False, "12,840 of 13,442 chunks are embedded. Run `embedding-assets embed`")
FAILED = Verdict("index_valid", False, True, "index idx is invalid: a build of it failed. Materialize it")


def space(**changes: object) -> SpaceOverview:
    """A space with everything measured."""
    vectors, sources = embeddings()
    return replace(
        SpaceOverview(
            name="local-all-mpnet-base-v2-768-1a2b3c4d",
            model="sentence-transformers/all-mpnet-base-v2",
            place="on this machine",
            dimensions=768,
            column="embedding",
            serving=True,
            prefixes=PREFIXES,
            waiting=7,
            runs=runs(12),
            index=IndexOverview("idx_knowledge_embedding", "valid", 104_300_000, 40, NOON, CURVE, 23.4),
            checks=(*PASSED, WARNING, FAILED),
            throughput_floor=10.0,
            recall_floor=0.9,
            failures={"zero_vector": 12, "not_finite": 1},
            numbers={"dead rows": "1.3%"},
            vectors=vectors,
            sources=sources,
        ),
        **changes,
    )


def fresh_space() -> SpaceOverview:
    """A space in which nothing has happened yet."""
    return space(
        name="openai-text-embedding-3-small-768-9f8e7d6c",
        model="text-embedding-3-small",
        place="by the API at api.openai.com",
        serving=False,
        prefixes=tuple(PrefixCounts(f"{n:x}", 0, 840) for n in range(16)),
        waiting=0,
        runs=(),
        index=IndexOverview("idx_knowledge_embedding_small", "missing", 0, 40),
        checks=PASSED[:1],
        failures={},
        numbers={},
        vectors=None,
        sources=(),
    )


def report(*spaces: SpaceOverview, **changes: object) -> Overview:
    """The state of a table with these spaces."""
    return replace(
        Overview(
            created_at=NOON,
            version="0.1.0",
            database="embedded PostgreSQL",
            chunks=spaces[0].chunks if spaces else 0,
            documents=412 if spaces else 0,
            spaces=spaces,
            costs=CostOverview(0.86, 15.74, 1.0, 20.0, costs(20, "openai-small", "openai-large"), 0.8),
            settings=(ChangedSetting("EMBEDDING_INDEX_M", "24", "16"),),
        ),
        **changes,
    )
