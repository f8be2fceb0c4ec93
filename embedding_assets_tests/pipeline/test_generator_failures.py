"""What one bad chunk, batch or answer does to a run, and what becomes of the chunk."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import psycopg
import pytest

from embedding_assets import EmbeddingGenerator, errors
from embedding_assets.config import Settings
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import Failure, list_failures, retry_failures
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks
from embedding_assets_tests.support.generator_runs import Spoil, assert_right, embed, stored, texts, without


def failed(database: Database) -> dict[str, Failure]:
    return {failure.chunk_hash: failure for failure in list_failures(database)}


def at(text: str, change: Callable[[np.ndarray], object]) -> Spoil:
    """Change the vector of one text in place."""

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if text in portion:
            change(batch.vectors[portion.index(text)])
        return batch

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
    beside.execute("UPDATE knowledge_base SET chunk_text = 'corrected'")
    assert embed(settings, database).embedded == 1
    assert_right(database, ["corrected"])


@pytest.mark.parametrize(
    "refusal",
    [
        "ALTER TABLE knowledge_base ADD CHECK (chunk_text <> 'text 7') NOT VALID",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no: %', NEW.chunk_text; END $$; "
        "CREATE TRIGGER refuse BEFORE UPDATE ON knowledge_base FOR EACH ROW WHEN (NEW.chunk_text = 'text 7') "
        "EXECUTE FUNCTION refuse()",
    ],
    ids=["constraint", "trigger"],
)
def test_a_row_that_the_table_refuses_fails_alone_and_is_not_paid_for_again(
    refusal: str, settings: Settings, database: Database, beside: psycopg.Connection, caplog: pytest.LogCaptureFixture
):
    insert_chunks(database, texts(40))
    beside.execute(refusal)
    stats = embed(settings, database, retry_delay_seconds=3600)
    assert (stats.embedded, stats.failed, stats.skipped) == (39, 1, 0)
    assert_right(database, [text for text in texts(40) if text != "text 7"])
    [failure] = list_failures(database)
    assert (failure.chunk_hash, failure.error_code) == (hash_of("text 7"), "refused_by_database")
    assert not failure.quarantined
    assert "text 7" not in caplog.text

    insert_chunks(database, ["due"])
    provider = FakeProvider()
    stats = embed(settings, database, provider, retry_delay_seconds=3600)
    assert (stats.embedded, provider.seen) == (1, ["due"])

    # It comes again when it is due, and is done once nothing is against it.
    beside.execute("DROP TRIGGER IF EXISTS refuse ON knowledge_base")
    beside.execute("ALTER TABLE knowledge_base DROP CONSTRAINT IF EXISTS knowledge_base_chunk_text_check")
    retry_failures(database)
    assert embed(settings, database).embedded == 1
    assert_right(database, [*texts(40), "due"])
    assert list_failures(database) == []


def test_when_the_table_refuses_all_rows_the_run_ends_with_an_error_after_some_tens(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(300))
    beside.execute("ALTER TABLE knowledge_base ADD CHECK (chunk_text = '') NOT VALID")
    with pytest.raises(errors.RowRefusedError, match="knowledge_base_chunk_text_check"):
        embed(settings, database)
    assert len(list_failures(database)) == 64


def test_rows_that_somebody_has_locked_come_with_the_next_run(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    register_space(database, FAKE_SPACE)
    insert_chunks(database, texts(40))
    with beside.transaction():
        beside.execute("UPDATE knowledge_base SET token_count = 1 WHERE chunk_text IN ('text 7', 'text 8')")
        stats = embed(settings, database)
        assert (stats.embedded, stats.skipped, stats.failed) == (38, 2, 0)
    assert embed(settings, database).embedded == 2
    assert_right(database, texts(40))
