"""Verdicts on an index: what is wrong is reported with what to do about it; what chance explains is not."""

from datetime import timedelta

import numpy as np
import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.health import index
from embedding_assets.health.embeddings import unit_norm
from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.measurements import (
    accept_latest,
    baseline_measurement,
    measure_index,
    save_measurement,
)
from embedding_assets.postgres.index.statistics import measure_vectors
from embedding_assets.postgres.server_version import RECOMMENDED_PGVECTOR
from embedding_assets.postgres.spaces import register_space
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE
from embedding_assets_tests.support.measurements import NOON, index_measurement, index_state
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors

CONFIG = IndexConfig()
COLUMN = SpaceColumn(FAKE_SPACE, "embedding", "idx", serving=True)


# Validity


@pytest.mark.parametrize(
    ("state", "vectors", "passed", "found"),
    [
        (index_state(), 5, True, "index idx is valid: vector_cosine_ops, m=16, ef_construction=64"),
        (IndexState("idx", exists=False), 0, True, "nothing is embedded yet"),
        (IndexState("idx", exists=False), 1, False, "index idx does not exist. Materialize"),
        (index_state(valid=False), 1, False, "index idx is invalid: a build of it failed"),
        (index_state(m=8), 1, False, "was built with vector_cosine_ops, m=8, ef_construction=64, and the settings ask"),
        (index_state(m=8), 1, False, "the settings ask for vector_cosine_ops, m=16, ef_construction=64. Materialize"),
        (index_state(operator_class="vector_l2_ops"), 1, False, "was built with vector_l2_ops"),
    ],
)
def test_validity(state, vectors, passed, found):
    verdict = index.index_valid(state, COLUMN, CONFIG, vectors)
    assert (verdict.name, verdict.severity, verdict.passed) == ("index_valid", "error", passed)
    assert found in verdict.description


def test_the_size_goes_with_the_verdict():
    assert index.index_valid(index_state(size_bytes=8192), COLUMN, CONFIG, 1).numbers == {"size_bytes": 8192}


# The floor


@pytest.mark.parametrize(("recall", "passed"), [(1.0, True), (0.9, True), (0.89, False), (0.0, False)])
def test_the_floor(recall, passed):
    verdict = index.recall(index_measurement(recall), 0.9)
    assert (verdict.name, verdict.severity, verdict.passed) == ("recall", "warning", passed)
    assert verdict.numbers["recall"] == recall
    assert verdict.numbers["exact_p50_ms"] == 30.0
    assert f"recall@10 is {recall:.3f} (" in verdict.description
    assert "with 95% confidence) at ef_search=40, the floor is 0.9" in verdict.description
    assert ("EMBEDDING_RECALL_FLOOR" in verdict.description) is not passed


def test_below_the_floor_the_least_ef_search_that_would_do_is_reported():
    curve = [(10, 0.95), (40, 0.8), (80, 0.88), (120, 0.92), (200, 0.97)]
    measurement = index_measurement(0.8, curve=curve)
    assert "Set EMBEDDING_INDEX_EF_SEARCH=120," in index.recall(measurement, 0.9).description
    verdict = index.recall(measurement, 0.99)
    assert "EMBEDDING_INDEX_EF_SEARCH" not in verdict.description
    assert "Raise EMBEDDING_INDEX_M and EMBEDDING_INDEX_EF_CONSTRUCTION" in verdict.description


@pytest.mark.parametrize(
    "judge",
    [
        lambda measurement: index.recall(measurement, 0.9),
        lambda measurement: index.recall_drop(measurement, index_measurement(), CONFIG),
        index.planner_uses_index,
    ],
)
def test_what_was_not_measured_passes_and_says_why(judge):
    verdict = judge(index_measurement(None, uses_index=False))
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
    baseline = index_measurement(before, queries=queries, id=3, measured_at=NOON - timedelta(days=3))
    verdict = index.recall_drop(index_measurement(now, queries=queries), baseline, CONFIG)
    assert (verdict.name, verdict.severity, verdict.passed) == ("recall_drop", "warning", passed)
    assert verdict.numbers["drop"] == pytest.approx(before - now)
    assert "of 2026-11-18" in verdict.description
    assert ("embedding-assets spaces accept-recall space" in verdict.description) is not passed


def test_the_setting_decides_how_large_a_drop_matters():
    baseline, now = index_measurement(0.95, queries=5000, id=3), index_measurement(0.90, queries=5000)
    assert not index.recall_drop(now, baseline, CONFIG).passed
    assert index.recall_drop(now, baseline, IndexConfig(recall_drop=0.06)).passed


def test_what_changed_since_is_reported():
    baseline = index_measurement(0.95, id=3, vectors=1000, ef_search=200)
    verdict = index.recall_drop(index_measurement(0.5), baseline, CONFIG)
    assert "(ef_search was 200 and is 40; there were 1,000 vectors and are 50,000)" in verdict.description
    unchanged = index.recall_drop(index_measurement(0.5), index_measurement(0.95, id=3), CONFIG)
    assert "of 2026-11-21. New or rewritten" in unchanged.description


@pytest.mark.parametrize("baseline", [None, index_measurement(0.95), index_measurement(None, id=3)])
def test_the_first_measurement_and_the_accepted_one_itself_have_not_fallen(baseline):
    verdict = index.recall_drop(index_measurement(0.95), baseline, CONFIG)
    assert verdict.passed
    assert "which later measurements are compared with" in verdict.description


# The rest


@pytest.mark.parametrize(
    ("bloat", "size", "passed"), [(1.5, 2**30, True), (1.51, 2**30, False), (9.0, 2**19, True), (None, 0, True)]
)
def test_bloat(bloat, size, passed):
    verdict = index.bloat(index_measurement(bloat=bloat, size_bytes=size), CONFIG)
    assert (verdict.name, verdict.severity, verdict.passed) == ("bloat", "warning", passed)
    assert ("EMBEDDING_INDEX_BLOAT_CEILING" in verdict.description) is not passed
    assert verdict.numbers.get("bloat") == bloat


@pytest.mark.parametrize(("uses", "vectors", "passed"), [
    (True, 50_000, True), (True, 5, True), (False, 10_000, True), (False, 10_001, False)
])  # fmt: skip
def test_the_planner(uses, vectors, passed):
    verdict = index.planner_uses_index(index_measurement(vectors=vectors, uses_index=uses))
    assert (verdict.name, verdict.passed) == ("planner_uses_index", passed)
    assert verdict.numbers == {"index_is_used": uses, "vectors": vectors}
    assert ("ANALYZE" in verdict.description) is not passed


@pytest.mark.parametrize(
    ("installed", "passed"),
    [("0.8.3", False), ("0.7.4", False), ("0.8.4", True), ("0.8.5", True), ("0.10.0", True), ("1.0", True)],
)
def test_the_version_of_pgvector(installed, passed):
    verdict = index.pgvector_version(installed, RECOMMENDED_PGVECTOR)
    assert (verdict.name, verdict.severity, verdict.passed) == ("pgvector_version", "error", passed)
    assert f"pgvector {installed}" in verdict.description
    assert ("ALTER EXTENSION vector UPDATE" in verdict.description) is not passed


# Real indexes


@pytest.fixture
def crowded(database):
    """A space whose vectors are hard to distinguish."""
    column = register_space(database, FAKE_SPACE)
    vectors = np.repeat(unit_vectors(20, 768), 40, axis=0) + 0.3 * unit_vectors(800, 768, seed=11)
    insert_vectors(database, column, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return column


def test_a_tiny_graph_that_is_hardly_searched_is_below_the_floor_and_a_drop(database, crowded):
    good, tiny = IndexConfig(ef_search=200), IndexConfig(m=2, ef_construction=4, ef_search=1)
    build_vector_index(database, crowded, good)
    first = save_measurement(database, measure_index(database, crowded, good, queries=50))
    assert first.accepted
    assert index.recall(first, 0.9).passed
    assert index.recall_drop(first, baseline_measurement(database, crowded.space.name), good).passed

    build_vector_index(database, crowded, tiny)  # without a word that this was on purpose
    second = save_measurement(database, measure_index(database, crowded, tiny, queries=50))
    assert not second.accepted
    floor = index.recall(second, 0.9)
    assert not floor.passed
    baseline = baseline_measurement(database, crowded.space.name)
    assert baseline.id == first.id
    drop = index.recall_drop(second, baseline, tiny)
    assert not drop.passed
    assert "ef_search was 200 and is 1; m was 16 and is 2" in drop.description

    accept_latest(database, crowded.space.name)
    accepted = baseline_measurement(database, crowded.space.name)
    assert accepted.id == second.id
    assert index.recall_drop(second, accepted, tiny).passed


def test_zero_vectors_in_a_real_table(database, crowded):
    assert unit_norm(measure_vectors(database, crowded), crowded.space).passed
    database.run(lambda c: c.execute("UPDATE knowledge_base SET embedding = array_fill(0, ARRAY[768])::vector "
                                     "WHERE chunk_hash = (SELECT min(chunk_hash) FROM knowledge_base)"))  # fmt: skip
    verdict = unit_norm(measure_vectors(database, crowded), crowded.space)
    assert not verdict.passed
    assert verdict.numbers["zero"] == 1
