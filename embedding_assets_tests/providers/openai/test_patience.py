"""What is waited for, and for how long: refusals for rate without end, limits that leave no room, wrong lengths."""

from __future__ import annotations

import time

import pytest

from embedding_assets.config import OpenAIConfig, Settings
from embedding_assets.errors import ProviderError, RateLimitExceededError
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.openai.provider import openai_space
from embedding_assets_tests.support.calls import assert_embedded, embed, make_provider
from fake_api.server import ApiServer, Fault


def test_refusals_for_rate_without_end_are_an_error(server: ApiServer, database: Database):
    server.faults.share, server.faults.kinds = 1.0, (Fault.RATE_LIMIT_MILLISECONDS,)
    provider = make_provider(server, database, retry_seconds=2)
    with pytest.raises(RateLimitExceededError, match=r"refused every request for rate.*EMBEDDING_OPENAI_RETRY_SECONDS"):
        embed(provider, ["text"])
    assert server.requests > 1, "not at once"
    assert server.billed_tokens == 0

    server.faults.share = 0.0
    assert_embedded(embed(provider, ["text"]), ["text"])


def test_tokens_a_minute_are_held_by_what_the_server_counts(database: Database):
    # A quarter of a token a byte is far too little for these.
    texts = [f"{number:03d} " + "! ? " * 100 for number in range(70)]
    with ApiServer() as server:
        server.faults.share, server.faults.kinds = 1.0, (Fault.NO_HEADERS,)
        provider = make_provider(server, database, tokens_per_minute=120_000, max_inputs=5, concurrency=2)
        started = time.monotonic()
        assert_embedded(embed(provider, texts), texts)
        seconds = time.monotonic() - started
    # Five seconds' worth at first, and what is in flight is counted when it is answered.
    assert server.billed_tokens <= 2000 * (5 + seconds) + 2 * server.billed_tokens / len(texts) * 5


def test_a_caller_without_time_does_not_wait_for_room(server: ApiServer, database: Database):
    texts = [f"text {number}" for number in range(4)]
    provider = make_provider(server, database, requests_per_minute=1, max_inputs=1, wait_seconds=3)
    with pytest.raises(RateLimitExceededError, match=r"within 3 s \(EMBEDDING_OPENAI_WAIT_SECONDS\)"):
        embed(provider, texts)
    assert server.requests == 1


def test_a_wrong_length_is_paid_for_twice_at_most(database: Database):
    with ApiServer(shortens=False) as server:
        provider = make_provider(server, database, send_dimensions=False)
        with pytest.raises(ProviderError, match="vectors of 1536"):
            embed(provider, ["text"])
        assert server.requests == 2, "the text, and one that is known to be good"


def test_patience_shortens_and_never_lengthens(settings: Settings):
    patient = settings.model_copy(update={"openai": OpenAIConfig(retry_seconds=2, timeout_seconds=30)})
    config = patient.with_patience(5).openai
    assert (config.retry_seconds, config.timeout_seconds, config.wait_seconds) == (2, 5, 5)
    assert patient.with_patience(1).with_patience(9).openai.wait_seconds == 1


def test_what_stands_behind_one_host_is_kept_apart():
    urls = ["http://host/a/v1", "http://host/b/v1", "http://host:81/v1", "http://host/v1/", "http://host"]
    revisions = [openai_space(OpenAIConfig(base_url=url)).revision for url in urls]
    assert revisions == ["host/a", "host/b", "host:81", "host", "host"]
