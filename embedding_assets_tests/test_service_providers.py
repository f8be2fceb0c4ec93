"""The service by API and with a fallback: which provider, whose space, what it costs, what it opens and closes."""

import asyncio
import logging
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal

import numpy as np
import psycopg
import pytest

from embedding_assets import EmbeddingCost, EmbeddingService, errors
from embedding_assets.config import Settings, get_settings
from embedding_assets.logs import correlate
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.ledger import list_costs
from embedding_assets_tests.support.api_runs import configure, sentences
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, vector_of
from embedding_assets_tests.support.fallbacks import Unsteady, local_vectors, with_fallback
from fake_api.answers import api_vector_of
from fake_api.server import ApiServer, Fault

TEXTS = [f"text {number}" for number in range(7)]


def assert_by_api(texts: list[str], vectors: list[list[float]]) -> None:
    np.testing.assert_allclose(vectors, [api_vector_of(text) for text in texts], atol=1e-6)


# By API


async def test_the_api_s_vectors_in_order_and_what_they_cost(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    texts = sentences(100)
    with ApiServer(usd_per_million_tokens=Decimal(10)) as server:
        configure(monkeypatch, server, provider="local", openai_max_inputs=8)
        async with EmbeddingService(provider="openai") as service:
            assert service.space.provider == "openai"
            vectors = await service.batch_generate(texts)
            assert_by_api(texts, vectors)
            assert vectors.space == service.space
            vector = await service.generate("one more")
            assert_by_api(["one more"], [vector])
            assert vector.space == service.space
            cost = service.get_cost()
            assert (cost.texts, cost.tokens) == (101, server.billed_tokens)
            assert cost.usd == pytest.approx(float(server.bill_usd))
            assert cost.usd > 0


async def test_many_tasks_at_once(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch):
    with ApiServer(latency_seconds=1.0) as server:
        configure(monkeypatch, server, openai_concurrency=12)
        with EmbeddingService("openai", database=database) as service:
            await service.generate("first")  # by which the limits, here none, are learned
            texts = [f"task {number}" for number in range(40)]
            answers = await asyncio.gather(*(service.batch_generate([text]) for text in texts))
        assert_by_api(texts, [vector for [vector] in answers])
        assert server.most_in_flight > 1
        assert service.get_cost().texts == 41
        assert service.get_cost().tokens == server.billed_tokens


async def test_a_service_s_calls_are_one_run(database: Database, monkeypatch: pytest.MonkeyPatch):
    with ApiServer() as server:
        settings = configure(monkeypatch, server)
        first, second = (EmbeddingService("openai", settings, database) for _ in range(2))
        await first.generate("a b c")
        await first.batch_generate(["d e", "f"])
        await second.generate("g")
        with correlate("of-a-run"):
            await second.generate("h")
    assert sorted(row.requests for row in list_costs(database, by="run")) == [1, 1, 2]
    assert "of-a-run" in [row.key for row in list_costs(database, by="run")]


async def embed_one_by_one(service: EmbeddingService, texts: list[str]) -> None:
    for text in texts:
        await service.generate(text)


async def test_a_service_stops_before_its_limit(database: Database, monkeypatch: pytest.MonkeyPatch):
    with ApiServer(usd_per_million_tokens=Decimal(1000)) as server:
        settings = configure(monkeypatch, server, fallback="local", budget_usd_per_run="0.05")
        service = EmbeddingService("openai", settings, database)
        texts = [f"text {number}" for number in range(100)]
        with pytest.raises(errors.BudgetExceededError, match="EMBEDDING_BUDGET_USD_PER_RUN"):
            await embed_one_by_one(service, texts)
        assert 0.02 < server.bill_usd <= Decimal("0.05")
        assert service.get_cost().usd == pytest.approx(float(server.bill_usd))


async def test_a_refused_text_is_named_by_position_and_is_no_outage(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    with ApiServer() as server:
        settings = configure(monkeypatch, server, fallback="local")
        service = EmbeddingService("openai", settings, database)
        with pytest.raises(errors.ProviderError, match="text 1 of 3 cannot be embedded") as caught:
            await service.batch_generate(["canary", f"canary {Fault.REFUSED.marker}", "canary two"])
        assert "canary" not in str(caught.value)
        assert not isinstance(caught.value, errors.ProviderUnavailableError)
        # Of what was in flight, only the ledger knows.
        assert 0 < service.get_cost().usd <= float(server.bill_usd)
        assert service.get_cost().texts == 0


# Which provider


@pytest.mark.parametrize("name", ["cohere", "", "Local"])
def test_unknown_providers_are_refused(name: str):
    with pytest.raises(errors.ConfigurationError, match="EMBEDDING_PROVIDER"):
        EmbeddingService(name)


def test_the_argument_wins_over_the_settings(monkeypatch: pytest.MonkeyPatch):
    assert EmbeddingService().space.provider == "local"
    assert EmbeddingService("openai").space.provider == "openai"
    monkeypatch.setenv("EMBEDDING_PROVIDER", "openai")
    assert EmbeddingService().space.provider == "openai"
    assert EmbeddingService("local").space.provider == "local"
    assert EmbeddingService(settings=get_settings().with_embedding(provider="local")).space.provider == "local"
    assert EmbeddingService(FakeProvider()).space == FAKE_SPACE


# What it opens and closes


async def test_a_local_service_opens_no_database(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    async with EmbeddingService("local") as service:
        assert len(await service.generate("a")) == 768
        assert service.get_cost() == EmbeddingCost(texts=1, tokens=service.get_cost().tokens, usd=0.0)
        assert service.get_cost().tokens > 0


async def test_an_api_s_database_is_opened_by_the_first_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("EMBEDDING_DATABASE_RETRY_SECONDS", "0")
    monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", "key")
    with EmbeddingService("openai") as service:
        assert await service.batch_generate([]) == []
        with pytest.raises(errors.DatabaseUnavailableError):
            await service.generate("a")


async def test_what_a_service_opened_it_closes_and_nothing_else(
    settings: Settings, database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    def connections() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return int(beside.execute(query).fetchone()[0])

    async def until_none_is_left() -> None:
        async with asyncio.timeout(10):
            while connections():
                await asyncio.sleep(0.02)

    database.close()
    await until_none_is_left()
    with ApiServer() as server:
        configure(monkeypatch, server)
        own = EmbeddingService("openai")
        given = EmbeddingService("openai", database=database)
        assert connections() == 0
        await own.generate("a")
        assert connections() > 0
        own.close()
        own.close()
        await until_none_is_left()
        await given.generate("a")
        given.close()
        assert connections() > 0, "those of the database that it was given"
        for service in (own, given):
            with pytest.raises(RuntimeError, match="is closed"):
                await service.generate("a")


def test_a_service_that_is_not_closed_ends_quietly(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    code = (
        "import asyncio\nfrom embedding_assets import EmbeddingService\n"
        "service = EmbeddingService(provider='openai')\n"
        "print(len(asyncio.run(service.generate('a'))), service.get_cost().texts)"
    )
    with ApiServer() as server:
        configure(monkeypatch, server)
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("768 1", "", 0)


# With a fallback


async def test_an_outage_is_answered_by_the_fallback_in_one_piece(settings: Settings, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING, "embedding_assets")  # importing the Dagster layer lowers it
    caplog.set_level(logging.INFO, "embedding_assets.service")
    settings = with_fallback(settings)
    provider = Unsteady(batch_size=2)
    service = EmbeddingService(provider, settings)
    assert (await service.batch_generate(TEXTS)).space == FAKE_SPACE

    provider.batches = 2
    vectors = await service.batch_generate(TEXTS)
    expected = local_vectors(settings, TEXTS)
    np.testing.assert_allclose(vectors, [expected[text] for text in TEXTS], atol=1e-5)
    assert vectors.space.provider == "local"
    assert {vector.space for vector in vectors} == {vectors.space}
    assert (await service.generate("a")).space == vectors.space
    assert service.space == FAKE_SPACE
    assert [record.message for record in caplog.records] == [
        "fake is down: calls are answered by the fallback, in its own space"
    ]

    provider.batches = None
    vectors = await service.batch_generate(TEXTS)
    np.testing.assert_array_equal(np.array(vectors, dtype=np.float32), [vector_of(text) for text in TEXTS])
    assert vectors.space == FAKE_SPACE
    assert caplog.messages[1:] == ["fake is back: calls are answered by it again"]
    assert service.get_cost().texts == 3 * len(TEXTS) + 1


async def test_without_a_fallback_an_outage_is_an_error(settings: Settings):
    service = EmbeddingService(Unsteady(batches=0), settings)
    with pytest.raises(errors.ProviderUnavailableError):
        await service.generate("a")


@pytest.mark.parametrize("error", [errors.QuotaExceededError("x"), errors.BudgetExceededError("x"), RuntimeError("x")])
async def test_nothing_but_an_outage_is_answered_by_the_fallback(error: Exception, settings: Settings):
    service = EmbeddingService(Unsteady(batches=0, error=error), with_fallback(settings))
    with pytest.raises(type(error)) as caught:
        await service.generate("a")
    assert caught.value is error


async def test_a_fallback_that_fails_too(settings: Settings):
    service = EmbeddingService(Unsteady(batches=0), with_fallback(settings, model_name="someone/missing"))
    with pytest.raises(errors.ModelUnavailableError) as caught:
        await service.generate("a")
    assert isinstance(caught.value.__cause__, errors.ProviderUnavailableError)


async def test_a_fallback_to_itself_does_no_harm_until_it_is_needed(settings: Settings):
    provider = Unsteady(space=replace(FAKE_SPACE, provider="local"))
    service = EmbeddingService(provider, with_fallback(settings))
    await service.generate("a")
    provider.batches = 0
    with pytest.raises(errors.ConfigurationError, match="EMBEDDING_FALLBACK is local too") as caught:
        await service.generate("a")
    assert isinstance(caught.value.__cause__, errors.ProviderUnavailableError)


async def test_an_api_that_is_down_and_comes_back(database: Database, monkeypatch: pytest.MonkeyPatch):
    with ApiServer() as server:
        settings = configure(
            monkeypatch, server, fallback="local", precision="float32", openai_retry_seconds=2, openai_max_inputs=4
        )
        service = EmbeddingService("openai", settings, database)
        first = await service.batch_generate(TEXTS)
        server.faults.script.extend([None, *[Fault.UNAVAILABLE] * 1000])
        # In the middle of a call, and at the beginning of others.
        answers = [await service.batch_generate(TEXTS), *await asyncio.gather(*(service.generate(t) for t in TEXTS))]
        assert {answer.space.provider for answer in answers} == {"local"}
        assert service.get_cost().tokens > server.billed_tokens
        assert service.get_cost().usd == pytest.approx(float(server.bill_usd))
        server.faults.script.clear()
        for _ in range(100):
            again = await service.batch_generate(TEXTS)
            if again.space == service.space:
                break
            await asyncio.sleep(0.1)
        assert again == first
    assert_by_api(TEXTS, again)


async def test_a_fallback_by_api_opens_the_database_when_it_is_needed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    with ApiServer() as server:
        settings = configure(monkeypatch, server, provider="local", fallback="openai")
        provider = Unsteady()
        async with EmbeddingService(provider, settings) as service:
            await service.generate("a")
            assert server.requests == 0
            provider.batches = 0
            vectors = await service.batch_generate(TEXTS)
            assert_by_api(TEXTS, vectors)
            assert vectors.space.provider == "openai"
            assert service.get_cost().usd == pytest.approx(float(server.bill_usd))
