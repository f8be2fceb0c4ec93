"""What a run says about itself, and what it never says."""

import logging

import numpy as np
import psycopg
import pytest

from embedding_assets import errors
from embedding_assets.config import Settings
from embedding_assets.logs import correlate
from embedding_assets.models import EmbeddingStats
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.support.fakes import FakeProvider, hash_of, insert_chunks
from embedding_assets_tests.support.generator_runs import embed, texts, without


def test_no_text_leaves_the_table(
    settings: Settings, database: Database, beside: psycopg.Connection, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    canaries = texts(40, "canary-5b1e")
    insert_chunks(database, canaries, context_header="canary-5b1e header")

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        batch.vectors[0] = np.nan
        if batch.indices[0] >= 16:
            raise errors.ProviderError("gone")
        return batch

    with pytest.raises(errors.ProviderError):
        embed(settings, database, FakeProvider(spoil=spoil), commit_seconds=1e-6)
    stats = embed(settings, database)
    assert stats.embedded > 0
    assert any(record.levelno == logging.WARNING for record in caplog.records)
    for record in caplog.records:
        assert "canary" not in repr(vars(record))
        assert "canary" not in record.getMessage()
    tables = "embedding_failures", "embedding_runs", "embedding_spaces"
    for table in tables:
        assert "canary" not in str(beside.execute(f"SELECT to_jsonb(t) FROM {table} t").fetchall())
    assert "canary" not in stats.model_dump_json()


def test_failures_are_logged_with_hash_and_code(
    settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
):
    insert_chunks(database, texts(2))
    embed(settings, database, FakeProvider(spoil=without("text 1", error="odd")))
    [record] = [
        record for record in caplog.records if record.name.endswith("run_lines") and record.levelname == "WARNING"
    ]
    assert vars(record)["chunk_hash"] == hash_of("text 1")
    assert vars(record)["error_code"] == "odd"


def test_what_the_helper_threads_log_carries_the_runs_id(settings: Settings, database: Database):
    from embedding_assets.logs import _run_id

    insert_chunks(database, texts(2))
    seen: list[str] = []
    run = database.run
    database.run = lambda work, **options: (seen.append(_run_id.get()), run(work, **options))[1]
    with correlate("run-7"):
        embed(settings, database)
    assert set(seen) == {"run-7"}


def test_the_end_of_a_run_and_of_a_part_of_one(
    settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    insert_chunks(database, texts(2))
    kept: list[EmbeddingStats] = []
    for keep_stats in (kept.append, None):
        EmbeddingGenerator(
            settings, prefixes=PrefixRange("0", "f"), database=database, provider=FakeProvider(), keep_stats=keep_stats
        ).generate_embeddings_batch()
    messages = [message for message in caplog.messages if " finished: " in message]
    assert messages == [
        f"range 0-f finished: 2 embedded, 0 failed, 0 skipped, {kept[0].chunks_per_second:.1f} chunks/s",
        "run finished: 0 embedded, 0 failed, 0 skipped, 0.0 chunks/s",
    ]
