"""Measurements are kept, and compared with the last state that was accepted."""

import time
from dataclasses import replace
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
from embedding_assets_tests.support.measurements import index_measurement
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors

CONFIG = IndexConfig()


def measured(column, recall: float | None, **changes: object) -> IndexMeasurement:
    return index_measurement(recall, space=column.space.name, id=None, **changes)


def test_an_index_is_measured_with_all_that_is_to_be_kept(database, column):
    vectors = unit_vectors(60)
    vectors[5] = 0
    insert_vectors(database, column, vectors)
    insert_chunks(database, ["pending"])
    build_vector_index(database, column, CONFIG)
    measurement = measure_index(database, column, CONFIG, built=True)
    state = describe_index(database, column.index)
    assert (measurement.space, measurement.index, measurement.ef_search) == (column.space.name, state, 40)
    assert measurement.bloat == index_bloat(state, 60, 4 * 8)
    assert (measurement.built, measurement.accepted, measurement.id) == (True, False, None)
    assert datetime.now(UTC) - measurement.measured_at < timedelta(minutes=5)
    search = measurement.search
    assert (search.queries, search.recall, search.recall_high, search.reason) == (59, 1.0, 1.0, "")
    assert 0.9 < search.recall_low < 1
    assert 0 < search.p50_ms <= search.p95_ms
    assert search.exact_p50_ms > 0
    assert search.planner_uses_index is False
    assert [point.ef_search for point in search.curve] == [10, 20, 40, 80, 120, 200, 400]
    assert all(point.recall == 1 for point in search.curve)
    vectors = measurement.vectors
    assert (vectors.count, vectors.zero_share) == (60, pytest.approx(1 / 60))
    assert vectors.table_bytes > 0
    assert list_measurements(database, column.space.name) == []


def test_what_cannot_be_measured_is_kept_too_and_never_accepted(database, column):
    insert_vectors(database, column, unit_vectors(5))
    kept = save_measurement(database, measure_index(database, column, CONFIG, built=True))
    assert (kept.search.recall, kept.bloat, kept.index.size_bytes, kept.accepted) == (None, None, 0, False)
    assert kept.search.reason == "5 vectors are too few"
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
    assert len(read.search.curve) == 7


def test_the_numbers_are_columns_too_for_people_who_look_into_the_table(database, column, execute):
    kept = save_measurement(database, index_measurement(0.9, space=column.space.name, id=None, vectors=70))
    [row] = execute("SELECT index_name, embedded, recall, recall_low, recall_high, p50_ms, p95_ms, exact_p50_ms, "
                    "index_bytes, table_bytes, bloat, built, accepted FROM embedding_index_measurements")  # fmt: skip
    search = kept.search
    assert row == (
        "idx", 70, 0.9, search.recall_low, search.recall_high, 1.5, 2.5, 30.0, 400_000_000, 0, 1.1, False, True
    )  # fmt: skip


def test_what_a_version_before_wrote_is_not_read(database, column, execute):
    """Its process may still run when the table is brought up to date."""
    kept = save_measurement(database, measured(column, 0.9))
    save_measurement(database, measured(column, 0.95))
    execute("UPDATE embedding_index_measurements SET details = '{\"m\": 16}' WHERE recall = 0.95")
    assert list_measurements(database, column.space.name) == [kept]
    assert baseline_measurement(database, column.space.name) == kept


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
    assert (baseline.search.recall, baseline.measured_at) == (0.98, start + timedelta(days=9))
    listed = list_measurements(database, column.space.name)
    assert [m.search.recall for m in listed] == [recall for recall, _, _ in history]
    assert [m.id for m in listed] == sorted(m.id for m in listed)
    assert [m.search.recall for m in list_measurements(database, column.space.name, limit=2)] == [0.98, 0.79]
    assert latest_measurement(database, column.space.name) == listed[-1]


def test_the_latest_can_be_accepted_by_hand(database, column):
    for recall in (0.95, 0.85, None):
        save_measurement(database, measured(column, recall))
    accepted = accept_latest(database, column.space.name)
    assert (accepted.search.recall, accepted.accepted) == (0.85, True)
    assert baseline_measurement(database, column.space.name) == accepted
    assert save_measurement(database, measured(column, 0.86)).accepted
    assert accept_latest(database, column.space.name).search.recall == 0.86


def test_only_the_last_are_kept_and_the_one_that_the_next_is_compared_with(database, column, monkeypatch):
    monkeypatch.setattr(measurements, "_KEPT", 3)
    second = register_space(database, FAKE_SPACE, new_space=True)
    save_measurement(database, measured(second, 0.5))
    for recall in (0.9, 0.95, None, 0.8, 0.81, 0.82, 0.83):
        save_measurement(database, measured(column, recall))
    kept = [m.search.recall for m in list_measurements(database, column.space.name)]
    assert kept == [0.95, 0.81, 0.82, 0.83]
    assert baseline_measurement(database, column.space.name).search.recall == 0.95
    accept_latest(database, column.space.name)
    save_measurement(database, measured(column, 0.7))
    assert [m.search.recall for m in list_measurements(database, column.space.name)] == [0.82, 0.83, 0.7]
    assert [m.search.recall for m in list_measurements(database, second.space.name)] == [0.5]


def test_spaces_have_histories_of_their_own_that_end_with_them(database, column, execute):
    second = register_space(database, FAKE_SPACE, new_space=True)
    save_measurement(database, measured(column, 0.99))
    assert save_measurement(database, measured(second, 0.9)).accepted
    assert baseline_measurement(database, column.space.name).search.recall == 0.99
    assert [m.search.recall for m in list_measurements(database, second.space.name)] == [0.9]
    execute("DELETE FROM embedding_spaces WHERE name = %s", second.space.name)
    assert list_measurements(database, second.space.name) == []
    assert len(list_measurements(database, column.space.name)) == 1


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
    # What the server counts of rows and vacuums, it makes known a little later.
    assert replace(current_measurement(database, column, CONFIG), vectors=kept.vectors) == kept
    execute(change)
    measured_again = current_measurement(database, column, config, queries=15)
    assert (measured_again.id, measured_again.ef_search) == (None, config.ef_search)
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
        """Change rows, and wait until the statistics show it."""
        before = beside.execute(changed).fetchone()[0]
        execute(change.format(count))
        deadline = time.monotonic() + 180
        while beside.execute(changed).fetchone()[0] != before + count:
            assert time.monotonic() < deadline
            execute("SELECT pg_stat_force_next_flush()")

    changed = (
        "SELECT pg_stat_get_tuples_updated('knowledge_base'::regclass) "
        "+ pg_stat_get_tuples_deleted('knowledge_base'::regclass)"
    )
    change_rows(2)
    current = current_measurement(database, column, CONFIG)
    assert (current.id, current.search.recall, current.vectors.count) == (kept.id, kept.search.recall, embedded)

    change_rows(6)
    assert current_measurement(database, column, CONFIG).id is None


def test_a_measurement_ends_when_the_planner_decides_otherwise(database, column, execute, settings):
    insert_vectors(database, column, unit_vectors(400))
    build_vector_index(database, column, CONFIG)
    kept = save_measurement(database, measure_index(database, column, CONFIG))
    assert kept.search.planner_uses_index is False, "the table is small"
    [(name,)] = execute("SELECT current_database()")
    execute(f'ALTER DATABASE "{name}" SET enable_seqscan = off')
    with open_database(settings) as database:
        measured_again = current_measurement(database, column, CONFIG)
    assert (measured_again.id, measured_again.search.planner_uses_index) == (None, True)
