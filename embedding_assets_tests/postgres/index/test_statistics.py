"""Sizes, dead rows, lengths and counts are those of the table."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from embedding_assets.postgres.index import statistics as module
from embedding_assets.postgres.index.statistics import measure_vectors
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors


def test_nothing_is_measured_as_nothing(database, column):
    statistics = measure_vectors(database, column)
    assert (statistics.count, statistics.sampled, statistics.zero) == (0, 0, 0)
    assert (statistics.norm_min, statistics.norm_mean, statistics.norm_max) == (None, None, None)
    assert (statistics.dead_share, statistics.zero_share) == (0.0, 0.0)
    assert statistics.vacuumed_at is None
    assert statistics.pgvector.startswith("0.")


def test_sizes(database, execute):
    column = register_space(database, FAKE_SPACE)
    insert_vectors(database, column, unit_vectors(60, 768))
    statistics = measure_vectors(database, column)
    assert statistics.count == 60
    # 3 kB each, of which only a reference is left in the row.
    assert 60 * 3072 < statistics.toast_bytes < 60 * 3072 * 2
    assert 0 < statistics.heap_bytes < 60 * 3072
    assert [(statistics.heap_bytes, statistics.pending_index_bytes)] == execute(
        "SELECT pg_relation_size('knowledge_base'), pg_relation_size('idx_knowledge_embedding_pending')"
    )
    assert execute("SELECT pg_total_relation_size('knowledge_base') - pg_indexes_size('knowledge_base') "
                   "- pg_table_size('knowledge_base')") == [(0,)]  # fmt: skip
    [(table,)] = execute("SELECT pg_table_size('knowledge_base')")
    assert statistics.table_bytes == pytest.approx(table, abs=5 * 8192)  # but for free space and visibility maps


def test_dead_rows_and_vacuum(database, column, execute, beside):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_vectors(database, column, unit_vectors(40))
    database.close()  # its sessions hand in what they counted
    beside.execute("UPDATE knowledge_base SET embedding = embedding + '[1,0,0,0,0,0,0,0]'")
    beside.execute("SELECT pg_stat_force_next_flush()")
    statistics = measure_vectors(database, column)
    assert (statistics.live_rows, statistics.dead_rows, statistics.dead_share) == (40, 40, 0.5)
    assert statistics.vacuumed_at is None
    database.close()  # nor does any of them see the dead rows still
    beside.execute("VACUUM knowledge_base")
    beside.execute("SELECT pg_stat_force_next_flush()")
    statistics = measure_vectors(database, column)
    assert (statistics.live_rows, statistics.dead_share) == (40, 0)
    assert datetime.now(UTC) - statistics.vacuumed_at < timedelta(minutes=10)


def test_lengths_and_zero_vectors(database, column):
    vectors = unit_vectors(10)
    vectors[0] = 0
    vectors[1] *= 0.5
    vectors[2] *= 3
    insert_vectors(database, column, vectors)
    insert_chunks(database, ["pending"])
    statistics = measure_vectors(database, column)
    assert (statistics.count, statistics.sampled, statistics.zero, statistics.zero_share) == (10, 10, 1, 0.1)
    assert statistics.norm_min == pytest.approx(0.5)
    assert statistics.norm_max == pytest.approx(3)
    assert statistics.norm_mean == pytest.approx((7 + 0.5 + 3) / 9)


def test_faulty_vectors_are_counted(database, column, execute):
    vectors = unit_vectors(6)
    vectors[1] = 0
    vectors[2] *= 1.01
    vectors[3] *= 1.0005
    insert_vectors(database, column, vectors)
    insert_chunks(database, ["pending"])
    found = measure_vectors(database, column)
    assert (found.sampled, found.wrong_dimensions, found.zero, found.not_unit_length) == (6, 0, 1, 1)
    assert found.faulty == 2
    raw = dataclasses.replace(column, space=dataclasses.replace(column.space, normalized=False))
    found = measure_vectors(database, raw)
    assert (found.zero, found.not_unit_length, found.faulty) == (1, None, 1)
    other = dataclasses.replace(column, space=dataclasses.replace(column.space, dimensions=9))
    assert measure_vectors(database, other).wrong_dimensions == 6
    execute("DELETE FROM knowledge_base")
    assert measure_vectors(database, column).sampled == 0


def test_of_a_large_table_a_sample_is_read(database, column, execute, monkeypatch):
    insert_vectors(database, column, unit_vectors(3000))
    execute("ANALYZE knowledge_base")
    monkeypatch.setattr("embedding_assets.postgres.index.statistics._FEW_ROWS", 500)
    statistics = measure_vectors(database, column)
    assert statistics.count == 3000
    assert 0 < statistics.sampled < 1500


def test_thoroughly_each_vector_is_read_unless_that_takes_too_long(database, column, execute, monkeypatch):
    vectors = unit_vectors(3000)
    vectors[1700] = 0
    insert_vectors(database, column, vectors)
    execute("ANALYZE knowledge_base")
    monkeypatch.setattr("embedding_assets.postgres.index.statistics.SAMPLE_ROWS", 500)
    statistics = measure_vectors(database, column, thorough=True)
    assert (statistics.count, statistics.sampled, statistics.zero) == (3000, 3000, 1)

    def slow(connection, *arguments):
        is_whole = "TABLESAMPLE" not in arguments[-1].as_string()
        connection.execute("SELECT pg_sleep(CASE WHEN %s THEN 5 ELSE 0 END)", [is_whole])
        return norms(connection, *arguments)

    norms = module._norms
    monkeypatch.setattr("embedding_assets.postgres.index.statistics._norms", slow)
    monkeypatch.setattr("embedding_assets.postgres.index.statistics._WHOLE_COLUMN_SECONDS", 0.1)
    statistics = measure_vectors(database, column, thorough=True)
    assert statistics.count == 3000
    assert 0 < statistics.sampled < 2000
