"""The embedding loop on the real database, mostly with a provider that needs no model."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector

from embedding_assets import EmbeddingGenerator, PrefixRange, errors
from embedding_assets.config import Settings
from embedding_assets.logs import correlate
from embedding_assets.models import EmbeddingStats, embedded_text
from embedding_assets.postgres.chunks import count_backlog
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import Failure, list_failures, retry_failures
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of

Spoil = Callable[[list[str], EmbeddedBatch], EmbeddedBatch]


def texts(count: int, stem: str = "text") -> list[str]:
    return [f"{stem} {number}" for number in range(count)]


def embed(
    settings: Settings,
    database: Database,
    provider: FakeProvider | None = None,
    prefixes: str = "0-f",
    **changes: object,
) -> EmbeddingStats:
    """One run with the fake provider, all failures due again at once unless ``changes`` say otherwise."""
    return EmbeddingGenerator(
        settings.with_embedding(**{"retry_delay_seconds": 0, **changes}),
        prefixes=PrefixRange.parse(prefixes),
        database=database,
        provider=provider or FakeProvider(),
    ).generate_embeddings_batch()


def stored(database: Database) -> dict[str, np.ndarray]:
    """Text → vector of all embedded chunks."""

    def read(connection: psycopg.Connection) -> list[tuple[str, str, object]]:
        return connection.execute(
            "SELECT chunk_text, context_header, embedding FROM knowledge_base WHERE embedding IS NOT NULL"
        ).fetchall()

    return {embedded_text(header, text): as_array(vector) for text, header, vector in database.run(read)}


def as_array(vector: object) -> np.ndarray:
    """What pgvector loads: an array, or since 0.5 an object that holds one."""
    return vector.to_numpy() if hasattr(vector, "to_numpy") else np.asarray(vector)


def assert_right(database: Database, expected: list[str]) -> None:
    found = stored(database)
    assert set(found) == set(expected)
    for text, vector in found.items():
        np.testing.assert_allclose(vector, vector_of(text), atol=1e-7)


def failed(database: Database) -> dict[str, Failure]:
    return {failure.chunk_hash: failure for failure in list_failures(database)}


@pytest.fixture
def beside(database_url: str) -> Iterator[psycopg.Connection]:
    """Somebody else's connection."""
    with closing(psycopg.connect(database_url, autocommit=True)) as connection:
        register_vector(connection)
        yield connection


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
    assert stats.device == "fake"
    assert stats.seconds > 0
    assert stats.chunks_per_second > 0
    assert stats.peak_memory_bytes > 10_000_000
    assert sum(prefix.embedded for prefix in stats.prefixes.values()) == 151
    hashes = [hash_of(text) for text in [*expected, "under a header"]]
    for prefix, counts in stats.prefixes.items():
        assert counts.embedded == sum(one.startswith(prefix) for one in hashes)

    run = latest_run(database, FAKE_SPACE.name)
    assert run is not None
    assert (run.embedded, run.tokens, run.device) == (151, stats.tokens, "fake")


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


def at(text: str, change: Callable[[np.ndarray], object]) -> Spoil:
    """Change the vector of one text in place."""

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if text in portion:
            change(batch.vectors[portion.index(text)])
        return batch

    return spoil


def without(text: str, *, error: str | None) -> Spoil:
    """Leave one text out, or make it an error."""

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if text not in portion:
            return batch
        rows = [row for row, one in enumerate(portion) if one != text]
        return EmbeddedBatch(
            indices=[batch.indices[row] for row in rows],
            vectors=batch.vectors[rows],
            token_counts=[2] * len(rows),
            truncated=[False] * len(rows),
            errors={batch.indices[portion.index(text)]: error} if error else {},
        )

    return spoil


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (at("text 7", lambda v: v.__setitem__(3, np.nan)), "not_finite"),
        (at("text 7", lambda v: v.__setitem__(3, -np.inf)), "not_finite"),
        (at("text 7", lambda v: v.fill(0)), "zero_vector"),
        (at("text 7", lambda v: v.__imul__(2)), "not_unit_length"),
        (without("text 7", error="too_odd"), "too_odd"),
        (without("text 7", error=None), "no_vector"),
    ],
)
def test_one_bad_chunk_fails_alone(spoil: Spoil, code: str, settings: Settings, database: Database):
    insert_chunks(database, texts(40))
    stats = embed(settings, database, FakeProvider(spoil=spoil))
    assert (stats.embedded, stats.failed) == (39, 1)
    assert_right(database, [text for text in texts(40) if text != "text 7"])
    [failure] = list_failures(database)
    assert (failure.chunk_hash, failure.error_code, failure.attempts) == (hash_of("text 7"), code, 1)
    assert not failure.quarantined
    assert sum(prefix.failed for prefix in stats.prefixes.values()) == 1


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda b: replace(b, vectors=b.vectors[:, :100]), "wrong_dimensions"),
        (lambda b: replace(b, vectors=np.pad(b.vectors, ((0, 0), (0, 1)))), "wrong_dimensions"),
        (lambda b: replace(b, vectors=b.vectors[:-1]), "wrong_vector_count"),
        (lambda b: replace(b, vectors=b.vectors[0]), "wrong_vector_count"),
        (lambda b: replace(b, token_counts=[]), "wrong_vector_count"),
    ],
)
def test_a_bad_batch_fails_and_the_others_are_written(
    spoil: Callable[[EmbeddedBatch], EmbeddedBatch], code: str, settings: Settings, database: Database
):
    insert_chunks(database, texts(40))
    spoilt: list[str] = []

    def first_batch(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if spoilt:
            return batch
        spoilt.extend(portion)
        return spoil(batch)

    stats = embed(settings, database, FakeProvider(spoil=first_batch))
    assert (stats.embedded, stats.failed) == (24, 16)
    assert_right(database, [text for text in texts(40) if text not in spoilt])
    assert {failure.error_code for failure in list_failures(database)} == {code}
    assert set(failed(database)) == {hash_of(text) for text in spoilt}
    assert embed(settings, database).embedded == 16
    assert_right(database, texts(40))
    assert list_failures(database) == []


def test_a_provider_that_answers_twice_stops_the_run(settings: Settings, database: Database):
    insert_chunks(database, texts(3))
    provider = FakeProvider(spoil=lambda _, b: replace(b, indices=[0, 0, 1]))
    with pytest.raises(errors.ProviderError, match="answered for a text twice"):
        embed(settings, database, provider)
    assert stored(database) == {}
    assert list_failures(database) == []


def test_blank_texts_of_an_adopted_table_are_recorded(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    beside.execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('aa', ''), ('ab', E' \\n')")
    insert_chunks(database, texts(3))
    progress: list[int] = []
    provider = FakeProvider()
    stats = EmbeddingGenerator(
        settings, database=database, provider=provider, on_progress=progress.append
    ).generate_embeddings_batch()
    assert (stats.embedded, stats.failed, sum(progress)) == (3, 2, 5)
    assert sorted(provider.seen) == texts(3)
    assert {h: f.error_code for h, f in failed(database).items()} == {"aa": "blank_text", "ab": "blank_text"}


def test_a_failed_chunk_waits_for_its_retry(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(3))
    bad = without("text 1", error="odd")
    embed(settings, database, FakeProvider(spoil=bad), retry_delay_seconds=300)
    [failure] = list_failures(database)
    assert 299 <= (failure.retry_at - failure.last_failed_at).total_seconds() <= 301

    provider = FakeProvider()
    assert embed(settings, database, provider).processed == 0
    assert provider.seen == []

    beside.execute("UPDATE embedding_failures SET retry_at = now()")
    embed(settings, database, FakeProvider(spoil=bad), retry_delay_seconds=300)
    [failure] = list_failures(database)
    assert failure.attempts == 2
    assert 599 <= (failure.retry_at - failure.last_failed_at).total_seconds() <= 601

    beside.execute("UPDATE embedding_failures SET retry_at = now()")
    assert embed(settings, database).embedded == 1
    assert list_failures(database) == []
    assert_right(database, texts(3))


def test_a_chunk_that_fails_too_often_is_quarantined(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(2))
    bad = without("text 1", error="odd")
    for attempt in (1, 2, 3):
        stats = embed(settings, database, FakeProvider(spoil=bad), max_attempts=3)
        assert stats.failed == 1
        [failure] = list_failures(database)
        assert (failure.attempts, failure.quarantined) == (attempt, attempt == 3)
    provider = FakeProvider()
    assert embed(settings, database, provider).processed == 0
    assert provider.seen == []
    assert count_backlog(database, register_space(database, FAKE_SPACE)).quarantined == 1

    assert retry_failures(database) == 1
    assert embed(settings, database).embedded == 1
    assert_right(database, texts(2))


def test_an_edit_ends_a_quarantine(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, ["text 1"])
    embed(settings, database, FakeProvider(spoil=without("text 1", error="odd")), max_attempts=1)
    assert list_failures(database)[0].quarantined
    beside.execute("UPDATE knowledge_base SET chunk_text = 'mended'")
    assert embed(settings, database).embedded == 1
    assert_right(database, ["mended"])


def during(connection: psycopg.Connection, statement: str) -> Spoil:
    """Execute a statement while the first batch is being encoded."""
    done: list[bool] = []

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if not done:
            done.append(True)
            connection.execute(statement)  # type: ignore[arg-type]
        return batch

    return spoil


def test_an_edit_during_the_run_is_not_overwritten(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(10))
    edit = "UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_text = 'text 4'"
    stats = embed(settings, database, FakeProvider(spoil=during(beside, edit)))
    assert (stats.embedded, stats.skipped) == (9, 1)
    assert_right(database, [text for text in texts(10) if text != "text 4"])
    assert count_backlog(database, register_space(database, FAKE_SPACE)).pending == 1
    provider = FakeProvider()
    assert embed(settings, database, provider).embedded == 1
    assert provider.seen == ["edited"]


def test_a_failure_is_not_blamed_on_the_text_that_replaced_it(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, ["text 1"])
    edit = during(beside, "UPDATE knowledge_base SET chunk_text = 'edited'")
    provider = FakeProvider(spoil=lambda portion, batch: without("text 1", error="odd")(portion, edit(portion, batch)))
    embed(settings, database, provider, max_attempts=1)
    assert list_failures(database) == []
    assert embed(settings, database).embedded == 1


def test_a_chunk_deleted_during_the_run_is_skipped(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(10))
    delete = "DELETE FROM knowledge_base WHERE chunk_text IN ('text 4', 'text 5')"
    spoil = during(beside, delete)
    bad = without("text 5", error="odd")
    stats = embed(settings, database, FakeProvider(spoil=lambda p, b: bad(p, spoil(p, b))))
    assert (stats.embedded, stats.skipped, stats.failed) == (8, 1, 1)
    assert list_failures(database) == []
    assert_right(database, [text for text in texts(10) if text not in ("text 4", "text 5")])


def test_a_vector_that_is_there_already_is_kept(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(4))
    theirs = vector_of("theirs")
    write = during(beside, "SELECT 1")

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        beside.execute("UPDATE knowledge_base SET embedding = %s WHERE chunk_text = 'text 2'", [theirs])
        return write(portion, batch)

    stats = embed(settings, database, FakeProvider(spoil=spoil))
    assert (stats.embedded, stats.skipped) == (3, 1)
    np.testing.assert_allclose(stored(database)["text 2"], theirs, atol=1e-7)


def test_prefixes_of_another_run_are_left_to_it(settings: Settings, database: Database):
    insert_chunks(database, texts(100))
    record = register_space(database, FAKE_SPACE)
    others = [text for text in texts(100) if hash_of(text)[0] in "3456"]
    with closing(PrefixLocks(database, record.space.name)) as locks:
        locks.acquire(range(0x30, 0x70))
        stats = embed(settings, database)
    assert stats.busy_prefixes == ["3", "4", "5", "6"]
    assert stats.embedded == 100 - len(others)
    assert_right(database, [text for text in texts(100) if text not in others])
    assert embed(settings, database).embedded == len(others)


def test_prefixes_are_given_back_after_a_run_and_after_a_failure(settings: Settings, database: Database):
    insert_chunks(database, texts(3))

    def fail(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        raise errors.ProviderError("gone")

    with pytest.raises(errors.ProviderError):
        embed(settings, database, FakeProvider(spoil=fail))
    stats = embed(settings, database)
    assert (stats.embedded, stats.busy_prefixes) == (3, [])
    assert embed(settings, database).busy_prefixes == []


@pytest.mark.parametrize("batch_size", [0, -1, 513])
def test_batch_size_is_checked_before_any_work(batch_size: int, settings: Settings):
    class Untouchable:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    generator = EmbeddingGenerator(settings, database=Untouchable(), provider=Untouchable())  # type: ignore[arg-type]
    with pytest.raises(errors.ConfigurationError, match="EMBEDDING_BATCH_SIZE"):
        generator.generate_embeddings_batch(batch_size=batch_size)


@pytest.mark.parametrize("failure", [errors.ProviderError("gone"), RuntimeError("unforeseen"), KeyboardInterrupt()])
def test_what_was_committed_before_a_failure_stays(failure: BaseException, settings: Settings, database: Database):
    insert_chunks(database, texts(100))

    def fail_late(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if batch.indices[0] >= 48:
            raise failure
        return batch

    with pytest.raises(type(failure)):
        embed(settings, database, FakeProvider(spoil=fail_late), commit_seconds=1e-6)
    kept = set(stored(database))
    assert len(kept) == 48
    assert list_failures(database) == []

    provider = FakeProvider()
    assert embed(settings, database, provider).embedded == 52
    assert set(provider.seen) == set(texts(100)) - kept
    assert_right(database, texts(100))


def test_nothing_is_open_while_encoding(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(5))
    states: list[str] = []

    def look(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        time.sleep(0.2)  # the next window is fetched meanwhile
        states.extend(
            row[0]
            for row in beside.execute(
                "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        return batch

    embed(settings, database, FakeProvider(spoil=look))
    assert set(states) == {"idle"}


def test_connections_lost_in_the_middle(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(200))
    kill = during(
        beside,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    provider = FakeProvider(spoil=kill)
    with pytest.raises(errors.DatabaseUnavailableError, match="what was committed stays, run again to go on"):
        embed(settings, database, provider, commit_seconds=1e-6, window_size=64)
    # Found out at the first commit, not after a window or more of work that another run may be doing too.
    assert len(provider.seen) <= 2 * 16
    kept = set(stored(database))
    assert kept <= set(provider.seen)
    assert len(kept) == 16

    provider = FakeProvider()
    assert embed(settings, database, provider).embedded == 200 - len(kept)
    assert set(provider.seen) == set(texts(200)) - kept
    assert_right(database, texts(200))


def test_pooled_connections_lost_in_the_middle_are_replaced(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(200))
    kill = during(
        beside,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')",
    )
    assert embed(settings, database, FakeProvider(spoil=kill), window_size=64).embedded == 200
    assert_right(database, texts(200))


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
        assert "canary" not in str(beside.execute(f"SELECT to_jsonb(t) FROM {table} t").fetchall())  # type: ignore[arg-type]
    assert "canary" not in stats.model_dump_json()


def test_failures_are_logged_with_hash_and_code(
    settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
):
    insert_chunks(database, texts(2))
    embed(settings, database, FakeProvider(spoil=without("text 1", error="odd")))
    [record] = [
        record for record in caplog.records if record.name.endswith("generator") and record.levelname == "WARNING"
    ]
    assert vars(record)["chunk_hash"] == hash_of("text 1")
    assert vars(record)["error_code"] == "odd"


def test_what_the_helper_threads_log_carries_the_runs_id(settings: Settings, database: Database):
    from embedding_assets.logs import _run_id

    insert_chunks(database, texts(2))
    seen: list[str] = []
    run = database.run
    database.run = lambda work: (seen.append(_run_id.get()), run(work))[1]  # type: ignore[method-assign]
    with correlate("run-7"):
        embed(settings, database)
    assert set(seen) == {"run-7"}


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
    record = register_space(database, other)
    rows = beside.execute(f"SELECT chunk_text, {record.column} FROM knowledge_base").fetchall()  # type: ignore[arg-type]
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
    assert again.model_load_seconds < 0.5
    assert again.seconds > 0
