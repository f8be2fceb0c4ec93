"""What is wrong with an index is told, with what to do about it; what chance explains is not."""

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.health.embeddings import judge_backlog_age, judge_unit_norm
from embedding_assets.health.index import (
    judge_bloat,
    judge_pgvector,
    judge_planner,
    judge_recall_drop,
    judge_recall_floor,
)
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.measurements import (
    IndexMeasurement,
    accept_latest,
    baseline_measurement,
    measure_index,
    save_measurement,
)
from embedding_assets.postgres.index.recall import recall_interval
from embedding_assets.postgres.index.statistics import VectorStatistics, measure_vectors
from embedding_assets.postgres.schema import MINIMUM_PGVECTOR
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors

CONFIG = IndexConfig()
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def measured(recall: float | None = 0.95, *, queries: int = 100, curve=(), **changes: object) -> IndexMeasurement:
    """As after so many queries of which each found all of its neighbours or none: the widest interval."""
    found = round((recall or 0) * queries)
    low, high = recall_interval([1.0] * found + [0.0] * (queries - found), 10)
    details = {
        "queries": queries, "ef_search": 40, "m": 16, "ef_construction": 64, "operator_class": "vector_cosine_ops",
        "planner_uses_index": True, "reason": "" if recall is not None else "5 vectors are too few", "dead_share": 0.25,
        "curve": [
            {"ef_search": ef, "recall": value, "recall_low": 0, "recall_high": 1, "p50_milliseconds": 1,
             "p95_milliseconds": 2}
            for ef, value in curve
        ],
    }  # fmt: skip
    values = {
        "space": "space", "measured_at": NOW, "index_name": "idx", "embedded": 50_000, "recall": recall,
        "recall_low": None if recall is None else low, "recall_high": None if recall is None else high, "p50_ms": 1.5,
        "p95_ms": 2.5, "exact_p50_ms": 30.0, "index_bytes": 400_000_000, "table_bytes": 5, "bloat": 1.1, "id": 7,
    }  # fmt: skip
    details.update(changes.pop("details", {}))
    return IndexMeasurement(**{**values, "details": details, **changes})


# The floor


@pytest.mark.parametrize(("recall", "passed"), [(1.0, True), (0.9, True), (0.89, False), (0.0, False)])
def test_the_floor(recall, passed):
    verdict = judge_recall_floor(measured(recall), 0.9)
    assert (verdict.name, verdict.passed, verdict.blocking) == ("recall", passed, False)
    assert verdict.numbers["recall_at_10"] == recall
    assert verdict.numbers["exact_p50_milliseconds"] == 30.0
    assert f"recall@10 is {recall:.3f} (" in verdict.description
    assert "with 95% confidence) at ef_search=40, the floor is 0.9" in verdict.description
    assert ("EMBEDDING_RECALL_FLOOR" in verdict.description) is not passed


def test_below_the_floor_the_least_ef_search_that_would_do_is_told():
    curve = [(10, 0.95), (40, 0.8), (80, 0.88), (120, 0.92), (200, 0.97)]
    assert "Set EMBEDDING_INDEX_EF_SEARCH=120," in judge_recall_floor(measured(0.8, curve=curve), 0.9).description
    verdict = judge_recall_floor(measured(0.8, curve=curve), 0.99)
    assert "EMBEDDING_INDEX_EF_SEARCH" not in verdict.description
    assert "Raise EMBEDDING_INDEX_M and EMBEDDING_INDEX_EF_CONSTRUCTION" in verdict.description


@pytest.mark.parametrize("judge", [
    lambda m: judge_recall_floor(m, 0.9), lambda m: judge_recall_drop(m, measured(), CONFIG), judge_planner
])  # fmt: skip
def test_what_was_not_measured_passes_and_says_why(judge):
    verdict = judge(measured(None, details={"planner_uses_index": False}))
    assert verdict.passed
    assert verdict.description == "not measured: 5 vectors are too few"


# The drop


@pytest.mark.parametrize(
    ("before", "now", "queries", "passed"),
    [
        (0.95, 0.95, 100, True),
        (0.95, 0.99, 100, True),
        (0.95, 0.92, 100, True),  # chance explains it
        (0.95, 0.80, 100, False),
        (0.95, 0.92, 5000, False),
        (0.95, 0.935, 5000, True),  # sure, but less than what matters
        (1.0, 0.9, 20, True),
        (1.0, 0.5, 20, False),
    ],
)
def test_the_drop(before, now, queries, passed):
    baseline = measured(before, queries=queries, id=3, measured_at=NOW - timedelta(days=3))
    verdict = judge_recall_drop(measured(now, queries=queries), baseline, CONFIG)
    assert (verdict.name, verdict.passed, verdict.blocking) == ("recall_drop", passed, False)
    assert verdict.numbers["drop"] == pytest.approx(before - now)
    assert "of 2026-11-18" in verdict.description
    assert ("embedding-assets spaces accept-recall space" in verdict.description) is not passed


def test_the_setting_decides_how_large_a_drop_matters():
    baseline, now = measured(0.95, queries=5000, id=3), measured(0.90, queries=5000)
    assert not judge_recall_drop(now, baseline, CONFIG).passed
    assert judge_recall_drop(now, baseline, IndexConfig(recall_drop=0.06)).passed


def test_what_changed_since_is_told():
    baseline = measured(0.95, id=3, embedded=1000, details={"ef_search": 200})
    verdict = judge_recall_drop(measured(0.5), baseline, CONFIG)
    assert "(ef_search was 200 and is 40; there were 1,000 vectors and are 50,000)" in verdict.description
    assert "of 2026-11-21. Vectors that" in judge_recall_drop(measured(0.5), measured(0.95, id=3), CONFIG).description


@pytest.mark.parametrize("baseline", [None, measured(0.95), measured(None, id=3)])
def test_the_first_measurement_and_the_accepted_one_itself_have_not_fallen(baseline):
    verdict = judge_recall_drop(measured(0.95), baseline, CONFIG)
    assert verdict.passed
    assert "which later measurements are compared with" in verdict.description


# The rest


@pytest.mark.parametrize(
    ("bloat", "size", "passed"), [(1.5, 2**30, True), (1.51, 2**30, False), (9.0, 2**19, True), (None, 0, True)]
)
def test_bloat(bloat, size, passed):
    verdict = judge_bloat(measured(bloat=bloat, index_bytes=size), CONFIG)
    assert (verdict.name, verdict.passed, verdict.blocking) == ("bloat", passed, False)
    assert ("EMBEDDING_INDEX_BLOAT_CEILING" in verdict.description) is not passed
    assert verdict.numbers.get("bloat") == bloat


@pytest.mark.parametrize(("uses", "vectors", "passed"), [
    (True, 50_000, True), (True, 5, True), (False, 10_000, True), (False, 10_001, False)
])  # fmt: skip
def test_the_planner(uses, vectors, passed):
    verdict = judge_planner(measured(embedded=vectors, details={"planner_uses_index": uses}))
    assert (verdict.name, verdict.passed) == ("planner_uses_index", passed)
    assert verdict.numbers == {"planner_uses_index": int(uses), "vectors": vectors}
    assert ("ANALYZE" in verdict.description) is not passed


@pytest.mark.parametrize(
    ("installed", "passed"),
    [("0.8.3", False), ("0.7.4", False), ("0.8.4", True), ("0.8.5", True), ("0.10.0", True), ("1.0", True)],
)
def test_the_version_of_pgvector(installed, passed):
    verdict = judge_pgvector(installed, MINIMUM_PGVECTOR)
    assert (verdict.name, verdict.passed, verdict.blocking) == ("pgvector_version", passed, True)
    assert f"pgvector {installed}" in verdict.description
    assert ("ALTER EXTENSION vector UPDATE" in verdict.description) is not passed


@pytest.mark.parametrize(
    ("waited", "passed", "words"),
    [
        (None, True, "no chunk waits"),
        (timedelta(minutes=30), True, "has waited 0.5 h; up to 24 h are fine"),
        (timedelta(hours=24), True, "has waited 24.0 h"),
        (timedelta(hours=25), False, "since 2026-11-20 11:00 UTC; up to 24 h are fine. See that the sensor"),
    ],
)
def test_the_age_of_the_backlog(waited, passed, words):
    verdict = judge_backlog_age(None if waited is None else NOW - waited, NOW, 24)
    assert (verdict.name, verdict.passed) == ("backlog_age", passed)
    assert words in verdict.description
    assert verdict.numbers["oldest_pending_hours"] == (waited or timedelta()) / timedelta(hours=1)


def statistics(**changes: object) -> VectorStatistics:
    empty = dict.fromkeys((field.name for field in dataclasses.fields(VectorStatistics)), 0)
    values = {"sampled": 10, "norm_min": 1.0, "norm_mean": 1.0, "norm_max": 1.0, "pgvector": "0.8.5"}
    return VectorStatistics(**{**empty, **values, **changes})


@pytest.mark.parametrize(
    ("changes", "normalized", "passed", "words"),
    [
        ({}, True, True, "10 vectors looked at, of length 1"),
        ({"norm_min": 0.9995}, True, True, "of length 0.9995 to 1"),
        (
            {"vectors": 40},
            True,
            True,
            "10 of 40 vectors looked at, picked by chance (a single faulty one is among them "
            "with a probability of 25%), of length 1",
        ),
        ({"norm_max": 1.002}, True, False, "fake/hashing makes vectors of length 1"),
        ({"norm_min": 0.5}, True, False, "of length 0.5 to 1: fake/hashing"),
        ({"norm_min": 0.5}, False, True, "of length 0.5 to 1"),
        ({"zero": 2}, True, False, "2 have length zero and are never found. Set those to NULL"),
        ({"zero": 2}, False, False, "2 have length zero"),
        ({"norm_min": None, "norm_max": None, "sampled": 0}, True, True, "0 vectors looked at"),
    ],
)
def test_unit_norm(changes, normalized, passed, words):
    space = dataclasses.replace(FAKE_SPACE, normalized=normalized)
    verdict = judge_unit_norm(statistics(**changes), space)
    assert (verdict.name, verdict.passed, verdict.blocking) == ("unit_norm", passed, True)
    assert words in verdict.description
    assert verdict.numbers["zero"] == changes.get("zero", 0)


# Real indexes


@pytest.fixture
def crowded(database):
    """A space whose vectors are hard to tell from each other."""
    column = register_space(database, FAKE_SPACE)
    vectors = np.repeat(unit_vectors(20, 768), 40, axis=0) + 0.3 * unit_vectors(800, 768, seed=11)
    insert_vectors(database, column, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return column


def test_a_tiny_graph_that_is_hardly_searched_is_below_the_floor_and_a_drop(database, crowded):
    good, tiny = IndexConfig(ef_search=200), IndexConfig(m=2, ef_construction=4, ef_search=1)
    build_vector_index(database, crowded, good)
    first = save_measurement(database, measure_index(database, crowded, good, queries=50))
    assert first.accepted
    assert judge_recall_floor(first, 0.9).passed
    assert judge_recall_drop(first, baseline_measurement(database, crowded.space.name), good).passed

    build_vector_index(database, crowded, tiny)  # and then nobody says that this was on purpose
    second = save_measurement(database, measure_index(database, crowded, tiny, queries=50))
    assert not second.accepted
    floor = judge_recall_floor(second, 0.9)
    assert not floor.passed
    assert floor.numbers["recall_at_10"] < 0.6
    baseline = baseline_measurement(database, crowded.space.name)
    assert baseline.id == first.id
    drop = judge_recall_drop(second, baseline, tiny)
    assert not drop.passed
    assert "ef_search was 200 and is 1; m was 16 and is 2" in drop.description

    accept_latest(database, crowded.space.name)
    accepted = baseline_measurement(database, crowded.space.name)
    assert accepted.id == second.id
    assert judge_recall_drop(second, accepted, tiny).passed


def test_zero_vectors_in_a_real_table(database, crowded):
    assert judge_unit_norm(measure_vectors(database, crowded), crowded.space).passed
    database.run(lambda c: c.execute("UPDATE knowledge_base SET embedding = array_fill(0, ARRAY[768])::vector "
                                     "WHERE chunk_hash = (SELECT min(chunk_hash) FROM knowledge_base)"))  # fmt: skip
    verdict = judge_unit_norm(measure_vectors(database, crowded), crowded.space)
    assert not verdict.passed
    assert verdict.numbers["zero"] == 1
