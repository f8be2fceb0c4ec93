"""Servers that speak OpenAI's API, each in its own way."""

from __future__ import annotations

import psycopg
import pytest

from embedding_assets.config import BudgetConfig, OpenAIConfig, get_settings
from embedding_assets.errors import ProviderError
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.openai import remarks
from embedding_assets.providers.openai.provider import OpenAIProvider, endpoint_of, openai_space
from embedding_assets.reporting.overview import changed_settings
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
        (dialects.Silent(), 32, 1),
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
        assert server.requests - refused <= -(-len(TEXTS) // most) + 2, "after it has started with small ones"
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


def test_a_server_that_wants_to_know_what_a_text_is(database: Database):
    fields = {"extra_body_document": {"input_type": "passage"}, "extra_body_query": {"input_type": "query"}}
    with ApiServer(dialect=dialects.Asymmetric()) as server:
        with pytest.raises(ProviderError, match="refuses even a plain short text"):
            embed(make_provider(server, database), ["text"])
        provider = make_provider(server, database, extra_body={"user": "me"}, **fields)
        assert_embedded(embed(provider, ["text"]), ["text"])
        assert [batch.indices for batch in provider.embed(["text"], query=True)] == [[0]]
    *_, document, question = server.served
    assert (document.fields["input_type"], question.fields["input_type"]) == ("passage", "query")
    assert document.fields["user"] == question.fields["user"] == "me"


def test_headers_and_parameters_are_sent_and_never_shown(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EMBEDDING_OPENAI_HEADERS", '{"api-key": "canary-header"}')
    monkeypatch.setenv("EMBEDDING_OPENAI_QUERY_PARAMETERS", '{"api-version": "canary-parameter"}')
    caplog.set_level("DEBUG")
    with ApiServer() as server:
        provider = make_provider(server, database)
        assert_embedded(embed(provider, ["text"]), ["text"])
    [served] = server.served
    assert (served.headers["api-key"], served.query) == ("canary-header", "api-version=canary-parameter")
    shown = [repr(get_settings()), str(changed_settings(get_settings())), get_settings().model_dump_json(), caplog.text]
    assert not any("canary" in text for text in shown)


def test_what_else_documents_are_asked_with_is_part_of_their_space():
    plain, user, passage = (
        openai_space(OpenAIConfig(**changes))
        for changes in ({}, {"extra_body": {"truncate": "END"}}, {"extra_body_document": {"input_type": "passage"}})
    )
    assert len({plain.revision, user.revision, passage.revision}) == 3
    assert openai_space(OpenAIConfig(extra_body_query={"input_type": "query"})) == plain
    assert plain.revision == "api.openai.com"
    accounts = [{}, {"headers": {"api-key": "a"}}, {"headers": {"api-key": "b"}}]
    assert len({endpoint_of(OpenAIConfig(**changes)) for changes in accounts}) == 3


def test_prompts_are_put_before_documents_and_questions(database: Database):
    with ApiServer() as server:
        config = OpenAIConfig(base_url=server.url, api_key=server.api_key)
        provider = OpenAIProvider(config, BudgetConfig(), database, document_prompt="passage: ", query_prompt="query: ")
        result = embed(provider, ["text", " "])
        assert result.errors == {1: "blank_text"}
        assert [batch.indices for batch in provider.embed(["text"], query=True)] == [[0]]
        assert server.seen == {"passage: text": 1, "query: text": 1}
    assert provider.space.prompt == "passage: "


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({"OPENAI_API_KEY": "general"}, False),
        ({"OPENAI_API_KEY": "general", "EMBEDDING_OPENAI_API_KEY": "general"}, True),
        ({"EMBEDDING_OPENAI_API_KEY": "own", "OPENAI_API_KEY": "general"}, True),
        ({"OPENAI_API_KEY": "general", "OPENAI_BASE_URL": "{url}/"}, True),
        ({"OPENAI_API_KEY": "general", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, False),
    ],
)
def test_the_key_of_all_programs_goes_where_it_was_meant(
    variables: dict[str, str], sent: bool, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("EMBEDDING_OPENAI_API_KEY", raising=False)
    with ApiServer() as server:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(url=server.url))
        config = OpenAIConfig(EMBEDDING_OPENAI_BASE_URL=server.url)
        server.api_key = config.api_key.get_secret_value() if sent else "none"
        provider = OpenAIProvider(config, BudgetConfig(), database)
        assert_embedded(embed(provider, ["text"]), ["text"])


def test_openai_itself_gets_the_key_of_all_programs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("EMBEDDING_OPENAI_API_KEY", raising=False)
    keyless = endpoint_of(OpenAIConfig())
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    assert endpoint_of(OpenAIConfig()) != keyless
    assert endpoint_of(OpenAIConfig(base_url="https://eu.api.openai.com/v1")) != endpoint_of(OpenAIConfig())


def prose(words: int, number: int = 0) -> str:
    return " ".join(f"word{number:03}" for _ in range(words))


def test_texts_that_are_cut_silently_are_counted_and_said_once(database: Database, caplog: pytest.LogCaptureFixture):
    remarks._cutting.clear()
    texts = [prose(40 + 100 * number, number) for number in range(20)]
    with ApiServer(dialect=dialects.Cutting()) as server:
        provider = make_provider(server, database, max_inputs=10)
        result = embed(provider, texts)
        embed(provider, [prose(900)])
        assert_embedded(result, texts)
        # A word is two tokens there, and counts as one: those of 256 to 512 words are cut, and it does not show.
        assert {number for number in range(20) if 40 + 100 * number > 512} - result.truncated <= {5, 6, 7, 8}
        assert min(result.truncated) >= 5
        [record] = [record for record in caplog.records if record.name.endswith("remarks")]
        assert "EMBEDDING_OPENAI_MAX_INPUT_TOKENS" in record.getMessage()
        assert "word00" not in caplog.text


@pytest.mark.parametrize("text", [prose(3000), "1 2 3 4 " * 500, "日本語のテキスト" * 500, "a\n" * 3000, "x" * 9000])
def test_long_texts_that_are_read_whole_are_not_taken_for_cut(
    text: str, database: Database, caplog: pytest.LogCaptureFixture
):
    remarks._cutting.clear()
    with ApiServer() as server:
        result = embed(make_provider(server, database), [text, f"{text}!", "short"])
    assert result.truncated == set()
    assert not [record for record in caplog.records if record.name.endswith("remarks")]


def test_vectors_of_another_length_are_normalized_and_that_is_said_once(
    database: Database, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "embedding_assets")
    remarks.note_other_lengths.cache_clear()
    with ApiServer(dialect=dialects.Unnormalized()) as server:
        for _ in range(2):  # providers
            provider = make_provider(server, database, max_inputs=10)
            assert_embedded(embed(provider, TEXTS[:40]), TEXTS[:40])
    messages = [record.getMessage() for record in caplog.records if record.name.endswith("remarks")]
    assert len(messages) == 1
    assert "not of unit length; they are normalized" in messages[0]
