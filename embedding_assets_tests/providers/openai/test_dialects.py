"""Servers that speak OpenAI's API, each in its own way."""

from __future__ import annotations

import psycopg
import pytest

from embedding_assets.errors import ProviderError
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.api_runs import usage
from embedding_assets_tests.support.calls import assert_embedded, embed, make_provider
from fake_api import dialects
from fake_api.server import ApiServer

TEXTS = [f"text {number}" for number in range(2048)]


@pytest.mark.parametrize(
    ("dialect", "most", "refused"),
    [
        (dialects.Dialect(), 2048, 0),
        (dialects.Gemini(), 100, 1),
        (dialects.TextEmbeddingsInference(), 32, 1),
        (dialects.Cohere(), 96, 1),
        (dialects.Voyage(), 1000, 1),
        (dialects.Silent(), 32, 6),  # 2,048, 1,024, ... 64
        (dialects.Unnumbered(), 2048, 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, dialects.Dialect) else None,
)
def test_what_a_server_takes_is_learned_once(dialect: dialects.Dialect, most: int, refused: int, database: Database):
    with ApiServer(dialect=dialect) as server:
        provider = make_provider(server, database, concurrency=1)
        assert_embedded(embed(provider, TEXTS), TEXTS)
        assert sum(one.status != 200 for one in server.served) == refused
        assert max(one.inputs for one in server.served if one.status == 200) <= most
        assert server.requests - refused <= -(-len(TEXTS) // most) + refused
        first = server.requests
        more = [f"more {text}" for text in TEXTS]
        assert_embedded(embed(provider, more), more)
        assert server.requests - first == -(-len(more) // most)


def test_base64_that_is_refused_is_not_asked_for_again(database: Database):
    with ApiServer(dialect=dialects.Gateway()) as server:
        provider = make_provider(server, database, concurrency=1)
        assert_embedded(embed(provider, TEXTS[:10]), TEXTS[:10])
        # Refused: the request and the probe; then the probe as numbers, and the request.
        assert [one.status for one in server.served] == [400, 400, 200, 200]
        assert_embedded(embed(provider, TEXTS[:20]), TEXTS[:20])
        assert server.requests == 5


def test_a_text_that_a_firewall_refuses_is_alone_at_fault(database: Database):
    texts = [*TEXTS[:100], "how to write a <script> element"]
    with ApiServer(dialect=dialects.Firewall()) as server:
        result = embed(make_provider(server, database), texts)
    assert_embedded(result, texts, but=[100])
    assert result.errors == {100: "refused"}


def test_a_text_that_is_too_long_in_the_words_of_today_is_cut(database: Database):
    texts = ["short", "word " * 12_000]
    with ApiServer(dialect=dialects.Wording2026()) as server:
        result = embed(make_provider(server, database), texts)
    assert result.truncated == {1}
    assert set(result.vectors) == {0, 1}


def test_an_error_in_disguise_is_no_answer_and_costs_nothing(database: Database, beside: psycopg.Connection):
    with ApiServer(dialect=dialects.Disguised()) as server:
        result = embed(make_provider(server, database), TEXTS[:10])
        assert_embedded(result, TEXTS[:10])
        states = usage(beside)
        assert set(states) == {"settled"}
        assert states["settled"].tokens == server.billed_tokens


def test_a_login_page_stops_the_run_and_costs_nothing(database: Database, beside: psycopg.Connection):
    with (
        ApiServer(dialect=dialects.LoginPage()) as server,
        pytest.raises(ProviderError, match=r"a page instead of JSON.; check EMBEDDING_OPENAI_BASE_URL and HTTPS_PROXY"),
    ):
        embed(make_provider(server, database), TEXTS)
    assert sum(state.usd for state in usage(beside).values()) == 0
