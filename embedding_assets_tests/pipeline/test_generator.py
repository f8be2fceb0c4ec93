"""The embedding loop on the real database, mostly with a provider that needs no model."""

from dataclasses import replace

import numpy as np
import psycopg
import pytest

from embedding_assets import EmbeddingGenerator, PrefixRange, errors
from embedding_assets.config import Settings
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.generator_runs import as_array, assert_right, embed, stored, texts


def test_everything_is_embedded_and_every_vector_is_its_chunks_own(settings: Settings, database: Database):
    expected = texts(150)
    insert_chunks(database, expected)
    insert_chunks(database, ["under a header"], context_header="Part > Chapter")
    progress: list[int] = []
    provider = FakeProvider()
    stats = EmbeddingGenerator(
        settings.with_embedding(window_size=40), database=database, provider=provider, on_progress=progress.append
    ).generate_embeddings_batch()

    assert_right(database, [*expected, "Part > Chapter\nunder a header"])
    assert sorted(provider.seen) == sorted([*expected, "Part > Chapter\nunder a header"])
    assert sum(progress) == 151
    assert (stats.embedded, stats.failed, stats.skipped, stats.truncated) == (151, 0, 0, 0)
    assert stats.tokens == 2 * 150 + 6
    assert stats.space == FAKE_SPACE.name
    assert (stats.device, stats.precision) == ("fake", "exact")
    assert stats.seconds > 0
    assert stats.chunks_per_second > 0
    assert stats.peak_memory_bytes > 10_000_000
    assert sum(prefix.embedded for prefix in stats.prefixes.values()) == 151
    hashes = [hash_of(text) for text in [*expected, "under a header"]]
    for prefix, counts in stats.prefixes.items():
        assert counts.embedded == sum(one.startswith(prefix) for one in hashes)

    run = latest_run(database, FAKE_SPACE.name)
    assert run is not None
    assert (run.embedded, run.tokens, run.device, run.precision) == (151, stats.tokens, "fake", "exact")


def test_what_waits_for_the_first_vectors_happens_once_and_only_then(settings: Settings, database: Database):
    calls: list[int] = []

    def before_writing() -> None:
        calls.append(len(stored(database)))

    def run(provider: FakeProvider) -> None:
        EmbeddingGenerator(
            settings.with_embedding(commit_seconds=0.001, retry_delay_seconds=0),
            database=database,
            provider=provider,
            before_writing=before_writing,
        ).generate_embeddings_batch()

    run(FakeProvider())
    insert_chunks(database, texts(50))
    run(FakeProvider(spoil=lambda _, batch: (batch.vectors.__setitem__(slice(None), 0), batch)[1]))
    assert calls == [], "a run without work, and one in which everything failed"
    run(FakeProvider())
    assert (calls, len(stored(database))) == ([0], 50)


def test_a_run_whose_preparation_fails_writes_nothing(settings: Settings, database: Database):
    insert_chunks(database, texts(5))

    def fail() -> None:
        raise errors.DatabaseError("not dropped")

    with pytest.raises(errors.DatabaseError, match="not dropped"):
        EmbeddingGenerator(
            settings, database=database, provider=FakeProvider(), before_writing=fail
        ).generate_embeddings_batch()
    assert stored(database) == {}


def test_a_second_run_has_nothing_to_do_and_loads_no_model(settings: Settings, database: Database):
    class Unloadable(FakeProvider):
        def load(self) -> float:
            raise AssertionError("loaded for nothing")

    insert_chunks(database, texts(5))
    embed(settings, database)
    provider = Unloadable()
    stats = embed(settings, database, provider)
    assert provider.seen == []
    assert (stats.processed, stats.prefixes, stats.chunks_per_second) == (0, {}, 0.0)


def test_only_added_chunks_are_embedded(settings: Settings, database: Database):
    insert_chunks(database, texts(20))
    embed(settings, database)
    insert_chunks(database, texts(3, "more"))
    provider = FakeProvider()
    assert embed(settings, database, provider).embedded == 3
    assert sorted(provider.seen) == texts(3, "more")
    assert_right(database, texts(20) + texts(3, "more"))


@pytest.mark.parametrize("prefix_length", [1, 2])
def test_statistics_by_prefix(prefix_length: int, settings: Settings, database: Database):
    hashes = insert_chunks(database, texts(60))
    stats = embed(settings, database, prefix_length=prefix_length)
    assert list(stats.prefixes) == sorted({chunk_hash[:prefix_length] for chunk_hash in hashes})


@pytest.mark.parametrize("prefixes", ["3", "0-7", "a8-f", "00-0f", "ff"])
def test_prefix_ranges(prefixes: str, settings: Settings, database: Database):
    buckets = PrefixRange.parse(prefixes).buckets
    inside = [text for text in texts(200) if int(hash_of(text)[:2], 16) in buckets]
    insert_chunks(database, texts(200))
    stats = embed(settings, database, prefixes=prefixes)
    assert stats.embedded == len(inside)
    assert_right(database, inside)


def test_hashes_that_no_partition_reaches_are_left(settings: Settings, database: Database, beside: psycopg.Connection):
    beside.execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('XYZ', 'odd'), ('a', 'short')")
    insert_chunks(database, ["fine"])
    assert embed(settings, database).embedded == 1
    assert count_backlog(database, register_space(database, FAKE_SPACE)).unreachable == 2


@pytest.mark.parametrize("batch_size", [0, -1, 513])
def test_batch_size_is_checked_before_any_work(batch_size: int, settings: Settings):
    class Untouchable:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    generator = EmbeddingGenerator(settings, database=Untouchable(), provider=Untouchable())
    with pytest.raises(errors.ConfigurationError, match="EMBEDDING_BATCH_SIZE"):
        generator.generate_embeddings_batch(batch_size=batch_size)


def test_another_model_is_refused_before_any_work(settings: Settings, database: Database):
    insert_chunks(database, texts(2))
    embed(settings, database)
    insert_chunks(database, ["new"])
    other = FakeProvider(space=replace(FAKE_SPACE, model="fake/other"))
    with pytest.raises(errors.SpaceMismatchError, match="EMBEDDING_MODEL_NAME"):
        embed(settings, database, other)
    assert other.seen == []
    assert_right(database, texts(2))


def test_two_spaces_side_by_side(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(20))
    embed(settings, database)
    other = replace(FAKE_SPACE, model="fake/other", dimensions=32)
    stats = embed(settings, database, FakeProvider(space=other), new_space=True)
    assert (stats.space, stats.embedded) == (other.name, 20)
    column = register_space(database, other)
    rows = beside.execute(f"SELECT chunk_text, {column.name} FROM knowledge_base").fetchall()
    for text, vector in rows:
        np.testing.assert_allclose(as_array(vector), vector_of(text, 32), atol=1e-7)
    assert_right(database, texts(20))


def test_the_real_model_with_settings_alone(settings: Settings, database: Database):
    long = " ".join(f"word{number}" for number in range(10_000))
    insert_chunks(database, [*texts(5), long])
    # Without a database or provider passed in: both come from the environment.
    stats = EmbeddingGenerator(prefixes=PrefixRange("0", "f")).generate_embeddings_batch(batch_size=4)
    assert (stats.embedded, stats.truncated) == (6, 1)
    assert stats.device
    assert stats.space.startswith("local-")
    assert sum(prefix.truncated for prefix in stats.prefixes.values()) == 1
    assert all(abs(np.linalg.norm(vector) - 1) < 1e-4 for vector in stored(database).values())

    # The model stays in memory: a second run spends no time on it, and none is subtracted.
    insert_chunks(database, texts(1, "new"))
    again = EmbeddingGenerator().generate_embeddings_batch()
    assert again.embedded == 1
    assert again.model_load_seconds < 2
    assert again.seconds > 0
