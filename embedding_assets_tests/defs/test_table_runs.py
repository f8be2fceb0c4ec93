"""Dagster's runs of a table."""

import time

from embedding_assets.defs.table_runs import SILENT_SECONDS
from embedding_assets_tests.support.sensor_ticks import add_run, insert, tick


def test_a_run_over_the_index_and_partitions_of_others_fails_no_tick(table, instance, monkeypatch):
    insert(table, ["3"])
    add_run(instance, partition="2026-01-01", job="__ASSET_JOB", assets=["theirs", "pgvector_index_health"])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * SILENT_SECONDS)
    assert tick(instance) == ["3-3"]
