"""What runs did can be looked up."""

import pytest

from embedding_assets.models import EmbeddingStats
from embedding_assets.postgres.runs import latest_run, save_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE


def stats(column, **fields) -> EmbeddingStats:
    return EmbeddingStats(space=column.space.name, device="fake", precision="exact", **fields)


def test_the_latest_run_of_some_size(database, column, execute):
    other = register_space(database, FAKE_SPACE, new_space=True)
    assert latest_run(database, column.space.name) is None
    save_run(database, stats(column))
    assert execute("SELECT count(*) FROM embedding_runs") == [(0,)]

    save_run(
        database,
        stats(column, embedded=300, failed=1, skipped=2, truncated=3, tokens=10**10, seconds=1.5,
              model_load_seconds=0.5, peak_memory_bytes=10**10, threads=4, streams=2, usd=0.015),
    )  # fmt: skip
    save_run(database, stats(other, embedded=999, seconds=1))
    save_run(database, stats(column, embedded=2, seconds=0))
    save_run(database, stats(column, failed=1, seconds=9))

    assert latest_run(database, column.space.name).embedded == 2
    assert latest_run(database, column.space.name).chunks_per_second == 0
    assert latest_run(database, column.space.name).usd == 0
    run = latest_run(database, column.space.name, at_least=100)
    assert (run.embedded, run.failed, run.skipped, run.truncated) == (300, 1, 2, 3)
    assert (run.tokens, run.peak_memory_bytes, run.device, run.precision) == (10**10, 10**10, "fake", "exact")
    assert (run.threads, run.streams) == (4, 2)
    assert (run.usd, type(run.usd)) == (0.015, float)
    assert (run.seconds, run.model_load_seconds, run.chunks_per_second) == (1.5, 0.5, pytest.approx(200))
    assert latest_run(database, column.space.name, at_least=301) is None


def test_the_oldest_of_very_many_runs_are_deleted(database, column, execute, monkeypatch):
    monkeypatch.setattr("embedding_assets.postgres.runs._KEPT_RUNS", 3)
    other = register_space(database, FAKE_SPACE, new_space=True)
    save_run(database, stats(other, embedded=7))
    for embedded in range(1, 6):
        save_run(database, stats(column, embedded=embedded))
    kept = execute("SELECT embedded FROM embedding_runs WHERE space = %s ORDER BY id", column.space.name)
    assert kept == [(3,), (4,), (5,)]
    assert latest_run(database, other.space.name).embedded == 7
