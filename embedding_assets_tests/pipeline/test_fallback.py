"""While the provider is down, another one embeds in a column of its own, and the outage over, nothing shows of it."""

import logging
import threading
from dataclasses import replace

import numpy as np
import psycopg
import pytest

from embedding_assets import EmbeddingGenerator, errors
from embedding_assets.config import Settings
from embedding_assets.models import EmbeddingStats
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import list_failures
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.fallbacks import Unsteady, assert_local, names, run, vectors_in, with_fallback
from embedding_assets_tests.support.generator_runs import assert_right, stored, texts, without


def test_an_outage_in_the_middle(
    settings: Settings, database: Database, beside: psycopg.Connection, caplog: pytest.LogCaptureFixture
):
    everything = texts(100)
    insert_chunks(database, everything)
    settings = with_fallback(settings, commit_seconds=600)
    progress: list[int] = []
    provider = Unsteady(batches=2)
    stats = EmbeddingGenerator(
        settings, database=database, provider=provider, on_progress=progress.append
    ).generate_embeddings_batch()

    # What the provider had answered before is kept, though its portion was not complete.
    first, rest = set(provider.seen), set(everything) - set(provider.seen)
    assert (stats.space, stats.embedded, stats.device) == (FAKE_SPACE.name, 32, "fake")
    assert_right(database, list(first))
    assert stats.fallback is not None
    assert (stats.fallback.space, stats.fallback.embedded) == (names(database)["local"], 68)
    assert (stats.fallback.device, stats.fallback.fallback) == ("cpu", None)
    assert_local(beside, settings, rest)
    assert sum(progress) == 100
    assert sum(prefix.embedded for prefix in stats.fallback.prefixes.values()) == 68

    primary, fallback = list_spaces(database)
    assert (primary.serving, fallback.serving) == (True, False)
    assert count_backlog(database, primary).due == 68
    for space, embedded in ((primary, 32), (fallback, 68)):
        recorded = latest_run(database, space.space.name)
        assert recorded is not None
        assert recorded.embedded == embedded
    [logged] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert logged.message.startswith("fake is down: what is pending in space fake-hashing-768")
    assert fallback.space.name in logged.message

    # Still down: nothing is embedded twice, and no model loaded for nothing.
    again = run(settings, database, Unsteady(batches=0))
    assert again.fallback is not None
    assert (again.processed, again.fallback.processed, again.fallback.device) == (0, 0, "")
    insert_chunks(database, ["new"])
    again = run(settings, database, Unsteady(batches=0))
    assert again.fallback is not None
    assert again.fallback.embedded == 1

    # The provider is back.
    provider = Unsteady()
    stats = run(settings, database, provider)
    assert (stats.embedded, stats.fallback) == (69, None)
    assert set(provider.seen) == {*rest, "new"}
    assert_right(database, [*everything, "new"])
    assert_local(beside, settings, {*rest, "new"})


def test_an_outage_before_the_first_chunk(settings: Settings, database: Database, beside: psycopg.Connection):
    class Unloadable(FakeProvider):
        def load(self) -> float:
            raise errors.ProviderUnavailableError("gone for now")

    insert_chunks(database, texts(20))
    insert_chunks(database, ["under a header"], context_header="Part > Chapter")
    settings = with_fallback(settings)
    stats = run(settings, database, Unloadable())
    assert (stats.embedded, stats.seconds) == (0, 0.0)
    assert stats.fallback is not None
    assert stats.fallback.embedded == 21
    assert stored(database) == {}
    assert latest_run(database, FAKE_SPACE.name) is None


def test_nothing_stands_in_unless_asked_to(settings: Settings, database: Database):
    insert_chunks(database, texts(100))
    with pytest.raises(errors.ProviderUnavailableError):
        run(settings.with_embedding(commit_seconds=600), database, Unsteady(batches=2))
    assert len(stored(database)) == 32
    assert list(names(database)) == ["fake"]
    recorded = latest_run(database, FAKE_SPACE.name)
    assert recorded is not None
    assert (recorded.embedded, recorded.failed) == (32, 0)


@pytest.mark.parametrize(
    "error",
    [
        errors.QuotaExceededError("no credit"),
        errors.BudgetExceededError("EMBEDDING_BUDGET_USD_PER_DAY"),
        errors.ProviderError("the key is refused"),
        errors.ConfigurationError("wrong"),
        RuntimeError("unforeseen"),
    ],
)
def test_only_an_outage_leads_to_the_fallback(error: Exception, settings: Settings, database: Database):
    insert_chunks(database, texts(100))
    with pytest.raises(type(error)) as caught:
        run(with_fallback(settings, commit_seconds=600), database, Unsteady(batches=2, error=error))
    assert caught.value is error
    assert list(names(database)) == ["fake"]
    assert list_failures(database) == []
    # A provider that stops has been paid for what it answered; of an error that is unforeseen nothing is concluded.
    kept = 0 if isinstance(error, RuntimeError) else 32
    assert len(stored(database)) == kept
    recorded = latest_run(database, FAKE_SPACE.name)
    assert (recorded.embedded if recorded else 0) == kept


def test_dollars_are_summed_and_what_was_paid_for_is_committed_at_once(settings: Settings, database: Database):
    insert_chunks(database, texts(60))
    committed: list[int] = []

    def bill(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        batch = without("text 7", error="odd")(portion, batch)
        return EmbeddedBatch(batch.indices, batch.vectors, batch.token_counts, batch.truncated, batch.errors, 0.25)

    def count(_: int) -> None:
        committed.append(len(stored(database)))

    provider = Unsteady(batches=3, spoil=bill, error=errors.BudgetExceededError("enough"))
    generator = EmbeddingGenerator(
        settings.with_embedding(commit_seconds=600), database=database, provider=provider, on_progress=count
    )
    with pytest.raises(errors.BudgetExceededError):
        generator.generate_embeddings_batch()
    # The batch before the one before was written while the last was awaited.
    assert committed[-1] >= 15
    recorded = latest_run(database, FAKE_SPACE.name)
    assert recorded is not None
    assert recorded.usd == 0.75


def test_a_batch_of_nothing_but_errors_costs_too(settings: Settings, database: Database):
    insert_chunks(database, texts(3))

    def refuse(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        return EmbeddedBatch([], batch.vectors[:0], [], [], dict.fromkeys(batch.indices, "odd"), 0.5)

    stats = run(settings, database, FakeProvider(spoil=refuse))
    assert (stats.failed, stats.usd) == (3, 0.5)


def test_a_fallback_to_itself_does_no_harm_until_it_is_needed(settings: Settings, database: Database):
    insert_chunks(database, texts(40))
    own = replace(FAKE_SPACE, provider="local")
    with pytest.raises(errors.ConfigurationError, match="EMBEDDING_FALLBACK is local too") as caught:
        run(with_fallback(settings), database, Unsteady(batches=1, space=own))
    assert isinstance(caught.value.__cause__, errors.ProviderUnavailableError)
    assert len(stored(database)) == 16
    assert run(with_fallback(settings), database, Unsteady(space=own)).embedded == 24


def test_when_the_fallback_fails_too_both_are_reported(settings: Settings, database: Database):
    insert_chunks(database, texts(40))
    settings = with_fallback(settings, model_name="someone/missing")
    with pytest.raises(errors.ModelUnavailableError, match="someone/missing") as caught:
        run(settings, database, Unsteady(batches=1))
    assert isinstance(caught.value.__cause__, errors.ProviderUnavailableError)
    assert len(stored(database)) == 16
    assert latest_run(database, FAKE_SPACE.name) is not None


def test_a_local_model_beside_others_still_has_to_be_wanted(settings: Settings, database: Database):
    """A typing error in its name must not start a column during an outage, unnoticed."""
    insert_chunks(database, ["a"])
    register_space(database, FAKE_SPACE)
    other = FAKE_SPACE.__class__("local", "some/other", "1", 768, True, "", 256)
    register_space(database, other, new_space=True)
    with pytest.raises(errors.SpaceMismatchError, match="EMBEDDING_NEW_SPACE"):
        run(with_fallback(settings), database, Unsteady(batches=0))
    stats = run(with_fallback(settings, new_space=True), database, Unsteady(batches=0))
    assert stats.fallback is not None
    assert stats.fallback.embedded == 1


def test_what_the_provider_has_refused_is_not_the_fallback_s(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(40))
    settings = with_fallback(settings, max_attempts=1)
    run(settings, database, Unsteady(batches=2, batch_size=20, spoil=without("text 7", error="odd")))
    insert_chunks(database, ["new"])
    run(settings, database, Unsteady(batches=0))
    assert set(vectors_in(beside, "local")) == {"new"}
    [failure] = list_failures(database)
    assert (failure.chunk_hash, failure.quarantined) == (hash_of("text 7"), True)


def test_a_text_edited_meanwhile_is_pending_in_both(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(10))
    settings = with_fallback(settings)
    done: list[bool] = []

    def edit(chunks: int) -> None:
        # Progress, where the provider is down from the first chunk on, is the fallback's.
        if chunks and not done:
            done.append(True)
            beside.execute("UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_text = 'text 4'")

    stats = EmbeddingGenerator(
        settings, database=database, provider=Unsteady(batches=0), on_progress=edit
    ).generate_embeddings_batch()
    assert stats.fallback is not None
    assert (stats.fallback.embedded, stats.fallback.skipped) == (9, 1)
    assert_local(beside, settings, set(texts(10)) - {"text 4"})
    primary, fallback = list_spaces(database)
    assert (count_backlog(database, primary).due, count_backlog(database, fallback).due) == (10, 1)

    run(settings, database, Unsteady(batches=0))
    assert_local(beside, settings, {*texts(10), "edited"} - {"text 4"})
    beside.execute("UPDATE knowledge_base SET chunk_text = 'edited again' WHERE chunk_text = 'text 5'")
    assert (count_backlog(database, primary).due, count_backlog(database, fallback).due) == (10, 1)


def test_a_failure_in_the_fallback_s_space_is_none_in_the_provider_s(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
):
    insert_chunks(database, texts(3))
    bad = without("text 1", error="odd")
    monkeypatch.setattr(
        "embedding_assets.providers.space_selection.Selection.open_provider",
        lambda selection: (
            selection.provider
            if isinstance(selection.provider, FakeProvider)
            else FakeProvider(space=selection.column.space, spoil=bad)
        ),
    )
    stats = run(with_fallback(settings, max_attempts=1), database, Unsteady(batches=0))
    assert stats.fallback is not None
    assert (stats.failed, stats.fallback.embedded, stats.fallback.failed) == (0, 2, 1)
    assert [failure.space for failure in list_failures(database)] == [names(database)["local"]]
    assert run(settings, database, FakeProvider()).embedded == 3


def test_blank_texts_are_found_without_the_provider(settings: Settings, database: Database, beside: psycopg.Connection):
    beside.execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('aa', ' ')")
    insert_chunks(database, ["fine"])
    stats = run(with_fallback(settings, max_attempts=1), database, Unsteady(batches=0))
    assert stats.fallback is not None
    assert (stats.failed, stats.fallback.embedded, stats.fallback.failed) == (1, 1, 0)
    assert [failure.space for failure in list_failures(database)] == [FAKE_SPACE.name]


def test_a_run_falls_back_in_what_is_its_own(settings: Settings, database: Database, beside: psycopg.Connection):
    """Two at once: what one of them holds, the other leaves to it, in both spaces."""
    insert_chunks(database, texts(200))
    settings = with_fallback(settings)
    meeting = threading.Barrier(2, timeout=60)
    stats: dict[str, EmbeddingStats] = {}

    class Meeting(Unsteady):
        def load(self) -> float:
            meeting.wait()  # both hold what they could get
            return 0.0

    def embed(prefixes: str) -> None:
        stats[prefixes] = run(settings, database, Meeting(batches=0), prefixes)

    threads = [threading.Thread(target=embed, args=[prefixes]) for prefixes in ("0-9", "6-f")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    first, second = stats["0-9"], stats["6-f"]
    assert sorted(first.busy_prefixes + second.busy_prefixes) == ["6", "7", "8", "9"]
    assert first.fallback is not None
    assert second.fallback is not None
    assert first.fallback.busy_prefixes == second.fallback.busy_prefixes == []
    assert not set(first.fallback.prefixes) & set(second.fallback.prefixes)
    assert first.fallback.embedded + second.fallback.embedded == 200
    assert first.fallback.skipped == second.fallback.skipped == 0
    assert_local(beside, settings, texts(200))


def test_prefixes_that_another_run_fills_in_the_fallback_s_space_are_left_to_it(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(60))
    settings = with_fallback(settings)
    started, outcome = threading.Event(), []

    def hold(chunks: int) -> None:
        # The first run has given its locks in the provider's space back, and is at work in the fallback's.
        if chunks and not started.is_set():
            started.set()
            outcome.append(run(settings, database, Unsteady(batches=0)))

    stats = EmbeddingGenerator(
        settings, database=database, provider=Unsteady(batches=0), on_progress=hold
    ).generate_embeddings_batch()
    [other] = outcome
    assert (other.busy_prefixes, other.processed) == ([], 0)
    assert len(other.fallback.busy_prefixes) == 16
    assert other.fallback.processed == 0
    assert stats.fallback is not None
    assert stats.fallback.embedded == 60


def test_the_first_run_over_a_table_may_be_the_fallback_s_and_the_provider_takes_over(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    """Local vectors serve; a provider that is new to the table is down before it has embedded anything."""
    insert_chunks(database, texts(10))
    run(settings, database)
    insert_chunks(database, texts(5, "new"))
    provider = Unsteady(batches=0)
    settings = with_fallback(settings, new_space=True)
    stats = run(settings, database, provider)
    assert stats.fallback is not None
    assert stats.fallback.embedded == 5
    [serving, other] = list_spaces(database)
    assert (serving.space.provider, serving.serving, other.space.provider) == ("local", True, "fake")
    assert count_backlog(database, serving).due == 0
    assert count_backlog(database, other).due == 15
    provider.batches = None
    assert run(settings, database, provider).embedded == 15
    found = vectors_in(beside, "fake")
    assert set(found) == {*texts(10), *texts(5, "new")}
    for text, vector in found.items():
        np.testing.assert_allclose(vector, vector_of(text), atol=1e-7)
