"""What was fetched some time ago is looked at again before it is encoded or sent; texts are held window by window."""

import tracemalloc

import psycopg
import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.postgres.backlog import count_backlog, fetch_pending, still_due
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.support.api_runs import configure
from embedding_assets_tests.support.fakes import FAKE_SPACE, AskingProvider, FakeProvider, hash_of, insert_chunks
from embedding_assets_tests.support.generator_runs import assert_right, embed, stored, texts
from embedding_assets_tests.support.selecting import select_unasked
from fake_api.server import ApiServer

EDITED = [f"text {number}" for number in range(0, 100, 10)]


@pytest.fixture
def ages_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("embedding_assets.pipeline.windows._FRESH_SECONDS", 0.0)


def edit(connection: psycopg.Connection, portion: list[str]) -> None:
    """Somebody edits texts, but for those that are being encoded."""
    connection.execute(
        "UPDATE knowledge_base SET chunk_text = 'new ' || chunk_text WHERE chunk_text = ANY(%s)",
        [[text for text in EDITED if text not in portion]],
    )


@pytest.mark.usefixtures("ages_at_once")
def test_texts_edited_in_the_window_are_not_encoded(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(100))
    portions: list[list[str]] = []

    def note(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if not portions:
            edit(beside, portion)
        portions.append(portion)
        return batch

    progress: list[int] = []
    stats = EmbeddingGenerator(
        settings, database=database, provider=AskingProvider(spoil=note), on_progress=progress.append
    ).generate_embeddings_batch()
    left = set(EDITED) - set(portions[0])
    assert left
    assert set().union(*portions) == set(texts(100)) - left
    assert (stats.embedded, stats.skipped, sum(progress)) == (100 - len(left), len(left), 100)
    assert count_backlog(database, register_space(database, FAKE_SPACE)).pending == len(left)
    assert embed(settings, database).embedded == len(left)
    assert_right(database, [f"new {text}" if text in left else text for text in texts(100)])


@pytest.mark.usefixtures("ages_at_once")
def test_a_window_fetched_long_ago_is_looked_at_before_a_provider_that_does_not_ask(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(100))
    done: list[bool] = []

    def change(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if not done:
            done.append(True)
            edit(beside, texts(0))
        return batch

    provider = FakeProvider(spoil=change)
    stats = embed(settings, database, provider, window_size=16)
    assert stats.embedded + stats.skipped == 100
    assert stats.skipped
    late = [text for text in EDITED if hash_of(text) > sorted(map(hash_of, texts(100)))[15]]
    assert late
    assert not set(late) & set(provider.seen)


@pytest.mark.usefixtures("ages_at_once")
def test_texts_edited_in_the_window_are_not_sent(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    insert_chunks(database, texts(100))
    with ApiServer() as server:
        settings = configure(monkeypatch, server, openai_max_inputs=4, openai_concurrency=1)
        select_unasked(settings, database)
        done: list[bool] = []

        def change(_: int) -> None:
            if len(done) == 1:
                beside.execute("UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_hash > '8'")
            done.append(True)

        stats = EmbeddingGenerator(settings, database=database, on_progress=change).generate_embeddings_batch()
        sent = sum(one.inputs for one in server.served)
    edited = sum(hash_of(text) > "8" for text in texts(100))
    assert stats.skipped == edited
    assert stats.embedded == sent == 100 - edited
    reserved = beside.execute("SELECT state, count(*) FROM embedding_usage GROUP BY state").fetchall()
    assert dict(reserved).keys() == {"settled"}, "what was not sent is not billed"


def test_what_is_due_still(settings: Settings, database: Database, beside: psycopg.Connection):
    column = register_space(database, FAKE_SPACE)
    insert_chunks(database, texts(6))
    chunks = fetch_pending(database, column, range(256), after="", limit=9)
    assert still_due(database, column, chunks) == {hash_of(text) for text in texts(6)}
    beside.execute("UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_text = 'text 1'")
    beside.execute("DELETE FROM knowledge_base WHERE chunk_text = 'text 2'")
    embedded = hash_of("text 3")
    beside.execute(
        "UPDATE knowledge_base SET embedding = %s::vector WHERE chunk_hash = %s", [str([1] + [0] * 767), embedded]
    )
    assert still_due(database, column, chunks) == {hash_of(f"text {number}") for number in (0, 4, 5)}
    assert still_due(database, column, []) == set()


def test_long_texts_are_held_for_a_few_windows_only(settings: Settings, database: Database):
    megabyte = 2**20
    long = [f"{number} " + "word " * (megabyte // 5) for number in range(40)]
    for text in long:
        insert_chunks(database, [text])
    expected = {hash_of(text) for text in long}
    del long
    tracemalloc.start()
    try:
        provider = FakeProvider(batch_size=2)
        provider.seen = _Forgetful()
        stats = embed(settings, database, provider, window_size=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stats.embedded == len(expected) == len(stored(database))
    # A window of 2 MB: one is encoded, one fetched ahead, one written; the driver holds what it receives twice.
    assert peak < 20 * megabyte


class _Forgetful(list):
    def __iadd__(self, _):  # type: ignore[no-untyped-def]
        return self
