"""Measurements are kept, and compared with the last state that was accepted."""

import dataclasses
import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.index import measurements
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.measurements import (
    IndexMeasurement,
    accept_latest,
    baseline_measurement,
    current_measurement,
    latest_measurement,
    list_measurements,
    measure_index,
    save_measurement,
)
from embedding_assets.postgres.index.size import index_bloat
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors

CONFIG = IndexConfig()


def measured(column, recall: float | None, **changes: object) -> IndexMeasurement:
    values = {
        "space": column.space.name,
        "measured_at": datetime(2026, 11, 1, tzinfo=UTC),
        "index_name": column.index,
        "embedded": 100,
        "recall": recall,
        "recall_low": recall and recall - 0.01,
        "recall_high": recall and recall + 0.005,
        "p50_ms": 1.0,
        "p95_ms": 2.0,
        "exact_p50_ms": 3.0,
        "index_bytes": 8192,
        "table_bytes": 16384,
        "bloat": 1.0,
        "details": {},
    }
    return IndexMeasurement(**{**values, **changes})


def test_an_index_is_measured_with_all_that_is_to_be_kept(database, column):
    vectors = unit_vectors(60)
    vectors[5] = 0
    insert_vectors(database, column, vectors)
    insert_chunks(database, ["pending"])
    build_vector_index(database, column, CONFIG)
    measurement = measure_index(database, column, CONFIG, built=True)
    state = describe_index(database, column.index)
    assert (measurement.space, measurement.index_name) == (column.space.name, column.index)
    assert (measurement.embedded, measurement.recall, measurement.recall_high) == (60, 1.0, 1.0)
    assert 0.9 < measurement.recall_low < 1
    assert 0 < measurement.p50_ms <= measurement.p95_ms
    assert measurement.exact_p50_ms > 0
    assert measurement.index_bytes == state.size_bytes
    assert measurement.table_bytes > 0
    assert measurement.bloat == index_bloat(state, 60, 8)
    assert (measurement.built, measurement.accepted, measurement.id) == (True, False, None)
    assert datetime.now(UTC) - measurement.measured_at < timedelta(minutes=5)
    details = measurement.details
    assert (details["m"], details["ef_search"], details["queries"], details["reason"]) == (16, 40, 59, "")
    assert details["zero_share"] == pytest.approx(1 / 60)
    assert [point.ef_search for point in measurement.curve] == [10, 20, 40, 80, 120, 200, 400]
    assert all(point.recall == 1 for point in measurement.curve)
    assert measurement.planner_uses_index is False
    assert "details" not in repr(measurement)
    assert list_measurements(database, column.space.name) == []


def test_what_cannot_be_measured_is_kept_too_and_never_accepted(database, column):
    insert_vectors(database, column, unit_vectors(5))
    kept = save_measurement(database, measure_index(database, column, CONFIG, built=True))
    assert (kept.recall, kept.bloat, kept.index_bytes, kept.accepted) == (None, None, 0, False)
    assert kept.details["reason"] == "5 vectors are too few"
    assert latest_measurement(database, column.space.name) == kept
    assert baseline_measurement(database, column.space.name) is None
    assert accept_latest(database, column.space.name) is None


def test_what_is_kept_comes_back(database, column):
    insert_vectors(database, column, unit_vectors(30))
    build_vector_index(database, column, CONFIG)
    kept = save_measurement(database, measure_index(database, column, CONFIG))
    assert kept.id is not None
    [read] = list_measurements(database, column.space.name)
    assert read == kept
    assert read.curve == kept.curve
    assert json.loads(json.dumps(read.details)) == read.details


def test_history_of_an_index_that_gets_worse_by_and_by(database, column):
    history = [
        (0.95, {}, True),  # the first
        (0.96, {}, True),
        (0.96, {}, True),
        (0.955, {}, False),
        (0.95, {}, False),
        (None, {}, False),
        (0.945, {}, False),  # each a little worse than the one before, all worse than what was accepted
        (0.97, {}, True),
        (0.80, {"built": True}, False),  # built with less, and found worse
        (0.98, {"built": True}, True),
        (0.79, {}, False),
    ]
    start = datetime(2026, 11, 1, tzinfo=UTC)
    for day, (recall, changes, accepted) in enumerate(history):
        kept = save_measurement(database, measured(column, recall, measured_at=start + timedelta(days=day), **changes))
        assert kept.accepted is accepted, day
    baseline = baseline_measurement(database, column.space.name)
    assert (baseline.recall, baseline.measured_at) == (0.98, start + timedelta(days=9))
    listed = list_measurements(database, column.space.name)
    assert [m.recall for m in listed] == [recall for recall, _, _ in history]
    assert [m.id for m in listed] == sorted(m.id for m in listed)
    assert [m.recall for m in list_measurements(database, column.space.name, limit=2)] == [0.98, 0.79]
    assert latest_measurement(database, column.space.name) == listed[-1]


def test_the_latest_can_be_accepted_by_hand(database, column):
    for recall in (0.95, 0.85, None):
        save_measurement(database, measured(column, recall))
    accepted = accept_latest(database, column.space.name)
    assert (accepted.recall, accepted.accepted) == (0.85, True)
    assert baseline_measurement(database, column.space.name) == accepted
    assert save_measurement(database, measured(column, 0.86)).accepted
    assert accept_latest(database, column.space.name).recall == 0.86


def test_only_the_last_are_kept_and_the_one_that_the_next_is_compared_with(database, column, monkeypatch):
    monkeypatch.setattr(measurements, "_KEPT", 3)
    second = register_space(database, FAKE_SPACE, new_space=True)
    save_measurement(database, measured(second, 0.5))
    for recall in (0.9, 0.95, None, 0.8, 0.81, 0.82, 0.83):
        save_measurement(database, measured(column, recall))
    kept = [m.recall for m in list_measurements(database, column.space.name)]
    assert kept == [0.95, 0.81, 0.82, 0.83]
    assert baseline_measurement(database, column.space.name).recall == 0.95
    accept_latest(database, column.space.name)
    save_measurement(database, measured(column, 0.7))
    assert [m.recall for m in list_measurements(database, column.space.name)] == [0.82, 0.83, 0.7]
    assert [m.recall for m in list_measurements(database, second.space.name)] == [0.5]


def test_spaces_have_histories_of_their_own_that_end_with_them(database, column, execute):
    second = register_space(database, FAKE_SPACE, new_space=True)
    save_measurement(database, measured(column, 0.99))
    assert save_measurement(database, measured(second, 0.9)).accepted
    assert baseline_measurement(database, column.space.name).recall == 0.99
    assert [m.recall for m in list_measurements(database, second.space.name)] == [0.9]
    execute("DELETE FROM embedding_spaces WHERE name = %s", second.space.name)
    assert list_measurements(database, second.space.name) == []
    assert len(list_measurements(database, column.space.name)) == 1


def test_a_measurement_of_before_the_curve_was_kept_has_none(column):
    measurement = measured(column, 0.9)
    assert (measurement.curve, measurement.planner_uses_index) == ([], False)
    assert dataclasses.replace(measurement, details={"planner_uses_index": True}).planner_uses_index


@pytest.mark.parametrize(
    ("change", "config"),
    [
        ("UPDATE embedding_index_measurements SET measured_at = now() - interval '25 hours'", CONFIG),
        ("DROP INDEX idx_knowledge_embedding", CONFIG),
        ("DELETE FROM knowledge_base WHERE chunk_hash = (SELECT min(chunk_hash) FROM knowledge_base)", CONFIG),
        ("SELECT 1", IndexConfig(ef_search=60)),
    ],
    ids=["time", "index", "table", "setting"],
)
def test_a_measurement_is_current_until_something_changes(database, column, execute, change, config):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_vectors(database, column, unit_vectors(30))
    build_vector_index(database, column, CONFIG)
    assert current_measurement(database, column, CONFIG).id is None
    kept = save_measurement(database, measure_index(database, column, CONFIG))
    assert current_measurement(database, column, CONFIG) == kept
    execute(change)
    measured_anew = current_measurement(database, column, config, queries=15)
    assert (measured_anew.id, measured_anew.details["ef_search"]) == (None, config.ef_search)
    assert len(list_measurements(database, column.space.name)) == 1


@pytest.mark.parametrize(
    ("change", "embedded"),
    [
        ("DELETE FROM knowledge_base WHERE chunk_hash IN (SELECT chunk_hash FROM knowledge_base LIMIT {})", 398),
        ("UPDATE knowledge_base SET embedding = embedding + embedding "
         "WHERE chunk_hash IN (SELECT chunk_hash FROM knowledge_base LIMIT {})", 400),
    ],
    ids=["deleted", "written again"],
)  # fmt: skip
def test_a_measurement_holds_while_few_vectors_change(database, column, execute, beside, change, embedded):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_vectors(database, column, unit_vectors(400))
    build_vector_index(database, column, CONFIG)
    # So that sizes and statistics do not change by themselves.
    beside.execute("VACUUM ANALYZE knowledge_base")
    kept = save_measurement(database, measure_index(database, column, CONFIG))

    def change_rows(count):
        """And wait until the statistics tell of it."""
        before = beside.execute(changed).fetchone()[0]
        execute(change.format(count))
        deadline = time.monotonic() + 30
        while beside.execute(changed).fetchone()[0] != before + count:
            assert time.monotonic() < deadline
            execute("SELECT pg_stat_force_next_flush()")

    changed = (
        "SELECT pg_stat_get_tuples_updated('knowledge_base'::regclass) "
        "+ pg_stat_get_tuples_deleted('knowledge_base'::regclass)"
    )
    change_rows(2)
    current = current_measurement(database, column, CONFIG)
    assert (current.id, current.recall, current.embedded) == (kept.id, kept.recall, embedded)

    change_rows(6)
    assert current_measurement(database, column, CONFIG).id is None


def test_a_measurement_ends_when_the_planner_decides_otherwise(database, column, execute, settings):
    insert_vectors(database, column, unit_vectors(400))
    build_vector_index(database, column, CONFIG)
    kept = save_measurement(database, measure_index(database, column, CONFIG))
    assert kept.planner_uses_index is False, "the table is small"
    [(name,)] = execute("SELECT current_database()")
    execute(f'ALTER DATABASE "{name}" SET enable_seqscan = off')
    with open_database(settings) as database:
        measured_anew = current_measurement(database, column, CONFIG)
    assert (measured_anew.id, measured_anew.planner_uses_index) == (None, True)
