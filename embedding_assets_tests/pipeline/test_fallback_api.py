"""An API that goes down and comes back: what the table holds, what a search finds, and what it costs meanwhile."""

import logging
import signal
from decimal import Decimal

import numpy as np
import psycopg
import pytest

from embedding_assets import EmbeddingGenerator, errors, search
from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.usage.ledger import list_costs
from embedding_assets.providers.base import FIRST_TEXT
from embedding_assets_tests.support.api_runs import assert_vectors, configure, sentences, start_run, usage
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.fallbacks import Unsteady, assert_local, names, run, vectors_in
from embedding_assets_tests.support.generator_runs import stored
from embedding_assets_tests.support.waiting import wait_until
from fake_api.answers import api_vector_of
from fake_api.server import ApiServer


def go_down(server: ApiServer, way: str) -> None:
    if way == "answers 503":
        server.outage = True
    else:
        server.hang_up()


def come_back(server: ApiServer, way: str) -> None:
    if way == "answers 503":
        server.outage = False
    else:
        server.listen()


def with_api(monkeypatch: pytest.MonkeyPatch, server: ApiServer, **changes: object) -> Settings:
    """The API with the demo model as the fallback; an outage is waited out for a second."""
    values = {
        "fallback": "local",
        "precision": "float32",
        "commit_seconds": 0.05,
        "openai_max_inputs": 16,
        "openai_concurrency": 2,
        "openai_retry_seconds": 1,
    }
    return configure(monkeypatch, server, **{**values, **changes})


@pytest.mark.parametrize("way", ["answers 503", "refuses connections"])
def test_an_outage_from_its_beginning_to_its_end(
    database: Database,
    beside: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
):
    caplog.set_level(logging.WARNING, "embedding_assets")  # importing the Dagster layer lowers it
    texts = sentences(240, words=(3, 12))
    insert_chunks(database, texts)
    with ApiServer(latency_seconds=0.02) as server:
        settings = with_api(monkeypatch, server)

        def fail_soon(_: int) -> None:
            if server.requests >= 10:
                go_down(server, way)

        stats = EmbeddingGenerator(settings, database=database, on_progress=fail_soon).generate_embeddings_batch()
        by_api, by_fallback = set(stored(database)), set(vectors_in(beside, "local"))
        assert stats.fallback is not None
        assert (stats.embedded, stats.fallback.embedded) == (len(by_api), len(by_fallback))
        assert by_api
        assert by_fallback == set(texts) - by_api
        assert_vectors(database, list(by_api))
        one, other = min(by_api), min(by_fallback)

        # Still down: the fallback's chunks are found, and it is said that others are not.
        results = search(other, k=3, mode="vector", settings=settings, database=database)
        assert results[0].text == other
        assert results[0].score == pytest.approx(1, abs=1e-5)
        assert {result.space for result in results} == {names(database)["local"]}
        assert f"which leaves {len(by_api)} chunks out" in results.notes[0]
        found = search(one, k=300, mode="vector", settings=settings, database=database)
        assert one not in [result.text for result in found]
        # By its words it is.
        assert search(one, k=1, mode="text", settings=settings, database=database)[0].text == one

        # Back: everything is found in the API's space, by whichever provider it was embedded.
        come_back(server, way)
        caplog.clear()
        wait_until(lambda: names(database)["openai"] in spaces_of(search(one, settings=settings, database=database)))
        caplog.clear()
        for text in [*sorted(by_api)[:10], *sorted(by_fallback)[:10]]:
            results = search(text, k=4, mode="vector", settings=settings, database=database)
            assert (results[0].text, results[0].score) == (text, pytest.approx(1, abs=1e-5))
            assert spaces_of(results) == {names(database)["openai"]}
            assert results.notes == ()
        assert caplog.text == ""

        # The next run completes the API's space, and the fallback is not asked any more.
        stats = run(settings, database)
        assert (stats.embedded, stats.fallback) == (len(by_fallback), None)
        assert_vectors(database, texts)
        assert_local(beside, settings, by_fallback)
        for text in (one, other):
            results = search(text, k=2, mode="vector", settings=settings, database=database)
            assert results[0].text == text
            assert spaces_of(results) == {names(database)["openai"]}


def spaces_of(results: list) -> set[str]:
    return {result.space for result in results}


def test_killed_while_the_fallback_embeds(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    texts = sentences(240, words=(3, 12))
    insert_chunks(database, texts)

    def versions() -> dict[str, str]:
        column = local_column(beside)
        query = f"SELECT chunk_text, xmin::text FROM knowledge_base WHERE {column} IS NOT NULL"
        return dict(beside.execute(query).fetchall()) if column else {}

    with ApiServer() as server:
        server.outage = True
        settings = with_api(monkeypatch, server, batch_size=8)
        mine = sessions(beside)
        process = start_run()
        try:
            wait_until(lambda: len(versions()) > 8 or process.poll() is not None, seconds=120)
        finally:
            process.kill()
            _, err = process.communicate(timeout=180)
        assert process.returncode == -signal.SIGKILL, err
        wait_until(lambda: sessions(beside) <= mine)
        before = versions()
        assert 8 < len(before) < 240

        stats = run(settings, database)
        assert stats.fallback is not None
        assert stats.fallback.embedded == 240 - len(before)
        after = versions()
        assert {text: after[text] for text in before} == before
        assert_local(beside, settings, texts)
        assert stored(database) == {}

        server.outage = False
        assert run(with_api(monkeypatch, server, openai_retry_seconds=3600), database).embedded == 240
        assert_vectors(database, texts)
        assert set(vectors_in(beside, "local")) == set(texts)


def local_column(connection: psycopg.Connection) -> str | None:
    row = connection.execute("SELECT column_name FROM embedding_spaces WHERE provider = 'local'").fetchone()
    return str(row[0]) if row else None


def sessions(connection: psycopg.Connection) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    [count] = connection.execute(query).fetchone() or [0]
    return int(count)


def test_a_fallback_that_is_paid_for_keeps_to_the_budget(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    texts = sentences(400)
    insert_chunks(database, texts)
    with ApiServer(usd_per_million_tokens=Decimal(1000)) as server:
        settings = configure(
            monkeypatch,
            server,
            provider="local",
            fallback="openai",
            openai_max_inputs=16,
            openai_concurrency=2,
            commit_seconds=0.05,
            budget_usd_per_run=Decimal(12),
        )
        with pytest.raises(errors.BudgetExceededError, match="EMBEDDING_BUDGET_USD_PER_RUN") as caught:
            run(settings, database, Unsteady(batches=1))
        assert isinstance(caught.value.__cause__, errors.ProviderUnavailableError)
        assert Decimal(6) < server.bill_usd <= Decimal(12)
        found = vectors_in(beside, "openai")
        # Every text that was paid for has its vector, and only those.
        assert {FIRST_TEXT, *found} == set(server.seen)
        assert set(server.seen.values()) == {1}
        for text, vector in found.items():
            np.testing.assert_allclose(vector, api_vector_of(text), atol=1e-6)
        assert not set(found) & set(stored(database))
        assert len(stored(database)) == 16
        recorded = latest_run(database, names(database)["openai"])
        assert recorded is not None
        assert recorded.embedded == len(found)
        first = server.usd(server.served[0].tokens)
        assert recorded.usd == pytest.approx(float(server.bill_usd - first))
        [cost] = list_costs(database, by="run")
        assert cost.usd == server.bill_usd == usage(beside)["settled"].usd


def test_an_outage_is_reported_once_and_texts_never(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    texts = [f"canary {text}" for text in sentences(40)]
    insert_chunks(database, texts)
    with ApiServer() as server:
        server.outage = True
        settings = with_api(monkeypatch, server)
        run(settings, database)
        search("canary question", settings=settings, database=database)
    logged = [record.message for record in caplog.records if "fallback's" in record.message]
    assert len(logged) == 2
    assert not any("canary" in repr(vars(record)) for record in caplog.records if record.name.startswith("embedding"))
    assert server.api_key not in caplog.text
