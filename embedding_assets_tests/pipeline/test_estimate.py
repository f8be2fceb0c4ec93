"""What embedding the backlog will take."""

import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.models import EmbeddingStats
from embedding_assets.pipeline.estimate import estimate_backlog, estimate_new_space, measure_tokens_per_second
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.runs import save_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.openai.provider import openai_space
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, insert_chunks


@pytest.fixture
def column(database: Database) -> SpaceColumn:
    return register_space(database, FAKE_SPACE)


def texts(count: int, stem: str = "text") -> list[str]:
    return [f"{stem} {number:03}" for number in range(count)]


def test_nothing_pending(settings: Settings, database: Database, column: SpaceColumn):
    backlog, plan = estimate_backlog(database, column, settings, tokens_per_second=100)
    assert (backlog.due, plan.chunks, plan.tokens, plan.seconds, plan.usd) == (0, 0, 0, 0, 0)
    assert measure_tokens_per_second(database, column, FakeProvider()) is None


def test_tokens_are_counted_or_guessed(settings: Settings, database: Database, column: SpaceColumn):
    insert_chunks(database, texts(10), token_count=7)
    insert_chunks(database, texts(2, "long"), token_count=1000)  # the model reads 256
    insert_chunks(database, texts(5, "uncounted"))  # 13 bytes: a quarter of a token each, rounded up
    _, plan = estimate_backlog(database, column, settings)
    assert (plan.chunks, plan.tokens) == (17, 10 * 7 + 2 * 256 + 5 * 4)
    assert plan.seconds is None
    _, plan = estimate_backlog(database, column, settings, tokens_per_second=100)
    assert plan.seconds == pytest.approx(plan.tokens / 100)


def test_what_chunks_have_in_common_is_counted_once(settings: Settings, database: Database, column: SpaceColumn):
    insert_chunks(database, texts(10), token_count=100)
    more = "SELECT md5(n::text), 'text 007', 100 FROM generate_series(1, 4) n"
    database.run(
        lambda connection: connection.execute(
            f"INSERT INTO knowledge_base (chunk_hash, chunk_text, token_count) {more}"
        )
    )
    _, plan = estimate_backlog(database, column, settings)
    assert (plan.chunks, plan.repeated, plan.tokens) == (14, 4, 1_000)
    _, plan = estimate_backlog(database, column, settings, roughly=True)
    assert (plan.chunks, plan.repeated, plan.tokens) == (14, 0, 1_400)
    plan = estimate_new_space(database, by_api(settings, requests_per_minute=1, max_inputs=10))
    assert (plan.chunks, plan.repeated, plan.tokens, plan.seconds) == (14, 4, 1_000, 60.0)
    assert plan.usd == pytest.approx(1_000 * 0.02 / 1e6)


@pytest.mark.parametrize(("embedded", "seconds", "expected"), [(200, 4.0, 10.0), (99, 4.0, None), (200, 0.0, None)])
def test_the_rate_is_that_of_the_latest_run_of_some_size(
    settings: Settings, embedded: int, seconds: float, expected: float | None, database: Database, column: SpaceColumn
):
    insert_chunks(database, texts(10), token_count=100)
    save_run(database, EmbeddingStats(space=column.space.name, embedded=embedded, tokens=400, seconds=seconds))
    save_run(database, EmbeddingStats(space=column.space.name, embedded=3, tokens=1, seconds=1.0))
    assert estimate_backlog(database, column, settings)[1].seconds == expected


def by_api(settings: Settings, *, budget: dict[str, object] | None = None, **openai: object) -> Settings:
    return (
        settings.with_embedding(provider="openai").with_group("openai", **openai).with_group("budget", **budget or {})
    )


def test_what_an_api_bills_is_its_price_times_the_tokens(settings: Settings, database: Database):
    settings = by_api(settings)
    column = register_space(database, openai_space(settings.openai))
    insert_chunks(database, texts(10), token_count=1000)
    assert estimate_backlog(database, column, settings)[1].usd == pytest.approx(10_000 * 0.02 / 1e6)
    dearer = by_api(settings, usd_per_million_tokens="50")
    assert estimate_backlog(database, column, dearer)[1].usd == pytest.approx(0.5)
    # The space's model, whatever the settings name.
    other = by_api(settings, model="text-embedding-3-large")
    assert estimate_backlog(database, column, other)[1].usd == pytest.approx(10_000 * 0.02 / 1e6)


def test_a_price_that_is_not_known(settings: Settings, database: Database):
    settings = by_api(settings, model="someone/model")
    column = register_space(database, openai_space(settings.openai))
    insert_chunks(database, texts(10), token_count=1000)
    assert estimate_backlog(database, column, settings)[1].usd is None
    with pytest.raises(ConfigurationError, match="EMBEDDING_OPENAI_USD_PER_MILLION_TOKENS"):
        estimate_backlog(database, column, by_api(settings, budget={"usd_per_day": 1}))


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({}, None),
        ({"tokens_per_minute": 5000}, 120.0),
        ({"requests_per_minute": 1}, 60.0),
        ({"requests_per_minute": 1, "max_inputs": 5}, 120.0),
        ({"requests_per_minute": 1, "max_request_tokens": 3000}, 240.0),
        ({"requests_per_minute": 1, "max_inputs": 5, "tokens_per_minute": 1000}, 600.0),
    ],
)
def test_before_the_first_run_an_api_is_as_fast_as_its_limits(
    limits: dict[str, object], seconds: float | None, settings: Settings, database: Database
):
    settings = by_api(settings, **limits)
    column = register_space(database, openai_space(settings.openai))
    insert_chunks(database, texts(10), token_count=1000)
    assert estimate_backlog(database, column, settings)[1].seconds == seconds
    save_run(database, EmbeddingStats(space=column.space.name, embedded=200, tokens=40_000, seconds=4.0))
    assert estimate_backlog(database, column, settings)[1].seconds == 1.0


def test_measuring_embeds_a_few_and_writes_nothing(settings: Settings, database: Database, column: SpaceColumn):
    insert_chunks(database, texts(100))
    provider = FakeProvider()
    rate = measure_tokens_per_second(database, column, provider, chunks=20)
    assert rate is not None
    assert rate > 0
    assert len(provider.seen) == 20
    assert count_backlog(database, column).embedded == 0


def test_failed_chunks_are_not_due(settings: Settings, database: Database, column: SpaceColumn):
    insert_chunks(database, texts(10), token_count=7)
    bad = FakeProvider(spoil=lambda _, batch: (batch.vectors.__setitem__(slice(0, 4), 0), batch)[1])
    EmbeddingGenerator(settings, database=database, provider=bad).generate_embeddings_batch()
    backlog, plan = estimate_backlog(database, column, settings)
    assert (backlog.chunks, backlog.embedded, backlog.pending, backlog.waiting, backlog.due) == (10, 6, 4, 4, 0)
    assert (plan.chunks, plan.tokens) == (0, 0)
