"""The whole pipeline against an API that fails in every way it knows, and against one that is down."""

import logging
from collections.abc import Callable
from decimal import Decimal

import psycopg
import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.errors import DatabaseError, ProviderUnavailableError, QuotaExceededError
from embedding_assets.models import EmbeddingStats
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import list_failures
from embedding_assets.providers.base import FIRST_TEXT
from embedding_assets_tests.support.api_runs import Usage, assert_vectors, configure, sentences, usage
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.generator_runs import stored
from embedding_assets_tests.support.ledger_failures import unsettleable
from embedding_assets_tests.support.selecting import select_unasked
from fake_api.faults import PASSING, QUOTA, UNANSWERED, UNREADABLE, Fault, Faults
from fake_api.limits import estimate_tokens
from fake_api.server import ApiServer

# An answer without usage is left out: what the server does not say, the ledger cannot hold to the cent.
MIXED = tuple(fault for fault in PASSING if fault is not Fault.NO_USAGE)
CENT = Decimal("0.01")


def run(settings: Settings, database: Database, on_progress: Callable[[int], None] | None = None) -> EmbeddingStats:
    return EmbeddingGenerator(settings, database=database, on_progress=on_progress).generate_embeddings_batch()


@pytest.mark.uncovered
def test_ten_thousand_chunks_through_every_fault(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    texts = sentences(10_000)
    refused = {number: f"{texts[number]} {Fault.REFUSED.marker}" for number in range(100, 10_000, 500)}
    never_right = {number: f"{texts[number]} {Fault.NAN.marker}" for number in (77, 5077)}
    for number, text in (refused | never_right).items():
        texts[number] = text
    insert_chunks(database, texts)
    # At this price a token more or less is seen in the cents.
    # Of a server that has never answered rightly, vectors of another length end the run.
    faults = Faults(share=0.2, kinds=MIXED, seed=4, spared=8)
    with ApiServer(faults=faults, usd_per_million_tokens=Decimal(20_000)) as server:
        settings = configure(
            monkeypatch, server, max_attempts=1, openai_max_inputs=64, openai_timeout_seconds=6, openai_retry_seconds=60
        )
        select_unasked(settings, database)
        stats = run(settings, database)

        bad = [*refused.values(), *never_right.values()]
        assert (stats.embedded, stats.failed) == (len(texts) - len(bad), len(bad))
        assert_vectors(database, [text for text in texts if text not in set(bad)])
        failures = list_failures(database)
        assert {one.chunk_hash for one in failures} == set(map(hash_of, bad))
        assert all(one.quarantined and one.attempts == 1 for one in failures)
        assert {fault for fault in MIXED if not any(one.fault is fault for one in server.served)} == set()

        # The ledger is the server's bill; where they differ, it is by requests whose outcome no client can know.
        unknown = [one for one in server.served if one.fault in (*UNREADABLE, *UNANSWERED)]
        given = [one for one in server.served if one.readable and one.tokens]
        ledger = usage(beside)
        assert set(ledger) == {"settled", "presumed"}
        assert ledger["settled"].requests == len(given)
        assert ledger["settled"].tokens == sum(one.tokens for one in given)
        assert ledger["settled"].usd.quantize(CENT) == server.usd(sum(one.tokens for one in given)).quantize(CENT)
        presumed = sum(one.estimate for one in unknown)
        assert ledger["presumed"] == Usage(len(unknown), presumed, server.usd(presumed))
        untold = sum(one.tokens for one in unknown)
        assert (server.bill_usd - ledger["settled"].usd).quantize(CENT) == server.usd(untold).quantize(CENT)
        assert stats.usd == pytest.approx(float(ledger["settled"].usd + ledger["presumed"].usd))

        before = server.requests
        assert run(settings, database).embedded == 0
        assert server.requests == before
    assert server.api_key not in caplog.text
    assert not any(text in caplog.text for text in texts)


@pytest.mark.parametrize("down", ["answers 503", "refuses connections"])
def test_an_outage_stops_the_run_and_costs_no_chunk_an_attempt(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, down: str
):
    texts = sentences(600)
    insert_chunks(database, texts)
    with ApiServer(latency_seconds=0.02) as server:
        settings = configure(
            monkeypatch, server, openai_max_inputs=16, openai_concurrency=2, openai_retry_seconds=1, commit_seconds=0.05
        )

        def fail_soon(_: int) -> None:
            if server.requests >= 10:
                if down == "answers 503":
                    server.outage = True
                else:
                    server.hang_up()

        with pytest.raises(ProviderUnavailableError):
            run(settings, database, fail_soon)
        embedded = len(stored(database))
        assert 0 < embedded < len(texts)
        assert list_failures(database) == []
        with pytest.raises(ProviderUnavailableError):
            run(settings, database)
        assert list_failures(database) == []
        assert len(stored(database)) == embedded

        server.outage = False
        if down == "refuses connections":
            server.listen()
        stats = run(configure(monkeypatch, server, openai_retry_seconds=120), database)
        assert (stats.embedded, stats.failed) == (len(texts) - embedded, 0)
        assert_vectors(database, texts)
        assert list_failures(database) == []
        # What was in flight when the server hung up may have been computed.
        ledger = {"presumed": Usage(), **usage(beside)}
        assert set(ledger) == {"settled", "presumed"}
        assert ledger["presumed"].requests <= (0 if down == "answers 503" else 2)
        computed = len([one for one in server.served if one.tokens])
        assert ledger["settled"].requests <= computed <= ledger["settled"].requests + ledger["presumed"].requests


@pytest.mark.parametrize("fault", QUOTA)
def test_without_quota_the_run_stops_at_once(database: Database, monkeypatch: pytest.MonkeyPatch, fault: Fault):
    texts = sentences(400)
    insert_chunks(database, texts)
    with ApiServer(latency_seconds=0.02) as server:
        settings = configure(monkeypatch, server, openai_max_inputs=8, openai_concurrency=4, commit_seconds=0.05)
        server.faults.script.extend([None] * 5)
        server.faults.script.extend([fault] * 1000)
        with pytest.raises(QuotaExceededError):
            run(settings, database)
        # Those that were in flight, but no further one and no second attempt.
        assert server.requests <= 5 + 4
        assert list_failures(database) == []
        server.faults.script.clear()
        run(settings, database)
        assert_vectors(database, texts)


def test_texts_too_long_are_cut_or_set_apart(database: Database, monkeypatch: pytest.MonkeyPatch):
    # Within the estimate, beyond the tokenizer: only the server knows.
    long = "a b c d e f " * 1500
    texts = [*sentences(50), long]
    assert estimate_tokens([long]) < 8192
    insert_chunks(database, texts)
    with ApiServer() as server:
        settings = configure(monkeypatch, server, max_attempts=1, openai_too_long="quarantine")
        stats = run(settings, database)
        assert (stats.embedded, stats.failed) == (50, 1)
        [failure] = list_failures(database)
        assert (failure.chunk_hash, failure.quarantined) == (hash_of(long), True)
        assert_vectors(database, texts[:-1])


def test_a_long_text_is_cut_by_default(database: Database, monkeypatch: pytest.MonkeyPatch):
    long = "a b c d e f " * 1500
    texts = [*sentences(50), long]
    insert_chunks(database, texts)
    with ApiServer() as server:
        stats = run(configure(monkeypatch, server), database)
        assert (stats.embedded, stats.failed, stats.truncated) == (51, 0, 1)
        assert set(stored(database)) == set(texts)
        cut = [text for text in server.seen if long.startswith(text)]
        assert len(cut) == 1
        assert len(cut[0]) > len(long) / 4


def test_identical_texts_are_paid_once(database: Database, monkeypatch: pytest.MonkeyPatch):
    texts = sentences(40)
    insert_chunks(database, texts)
    again = """
        INSERT INTO knowledge_base (chunk_hash, chunk_text)
        SELECT encode(sha256(chunk_hash::bytea), 'hex'), chunk_text FROM knowledge_base
    """
    database.run(lambda connection: connection.execute(again))
    with ApiServer() as server:
        assert run(configure(monkeypatch, server), database).embedded == 80
        assert server.seen == dict.fromkeys([FIRST_TEXT, *texts], 1)
        assert_vectors(database, texts)


def test_what_is_paid_for_is_written_though_the_ledger_fails(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    texts = sentences(40)
    insert_chunks(database, texts)
    with ApiServer() as server:
        settings = configure(monkeypatch, server, openai_max_inputs=10, openai_usd_per_million_tokens=0)
        select_unasked(settings, database)
        with unsettleable(beside), pytest.raises(DatabaseError):
            run(settings, database)
        paid = sum(one.inputs for one in server.served)
        assert len(stored(database)) == paid >= 10
        run(settings, database)
        assert_vectors(database, texts)
        assert sum(one.inputs for one in server.served) == len(texts)
