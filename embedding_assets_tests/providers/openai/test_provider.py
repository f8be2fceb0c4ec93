"""The API provider over the wire: what it sends, what it makes of the answers, what it says about them."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from contextlib import closing
from decimal import Decimal

import psycopg
import pytest

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.errors import BudgetExceededError, ConfigurationError
from embedding_assets.logs import correlate
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.openai.provider import OpenAIProvider, endpoint_of, openai_space
from embedding_assets_tests.support.api_runs import usage
from embedding_assets_tests.support.calls import Result, assert_embedded, at_full_pace, embed, make_provider
from fake_api.faults import PASSING
from fake_api.server import ApiServer, Fault

TEXTS = [f"text {number}" + " and more" * (number % 5) for number in range(300)]


def test_vectors_tokens_and_dollars(server: ApiServer, database: Database, beside: psycopg.Connection):
    provider = make_provider(server, database, max_inputs=64, concurrency=1)  # so that they arrive in their order

    result = embed(provider, TEXTS)

    assert_embedded(result, TEXTS)
    assert (result.errors, result.truncated) == ({}, set())
    assert [one.inputs for one in server.served] == [64, 64, 64, 64, 44]
    assert sum(result.tokens.values()) == server.billed_tokens
    assert min(result.tokens.values()) >= 1
    assert result.usd == pytest.approx(float(server.bill_usd))
    assert usage(beside)["settled"].usd == server.bill_usd
    assert set(usage(beside)) == {"settled"}
    assert (provider.device, provider.precision, provider.load()) == ("api", "", 0.0)


@pytest.mark.parametrize(
    ("address", "server"),
    [
        ("https://api.openai.com/v1", "api.openai.com"),
        ("https://API.OpenAI.com:443/v1/", "api.openai.com"),
        ("http://Host:80/v1", "host"),
        ("http://host:443/v1", "host:443"),
        ("https://host:8080/Team/v1", "host:8080/Team"),
        ("http://[::1]:8080/v1", "[::1]:8080"),
    ],
)
def test_one_server_has_one_name(address: str, server: str):
    assert openai_space(OpenAIConfig(base_url=address)).revision == server
    fields = {"user": "search"}
    named = OpenAIConfig(base_url=address, server="gateway", extra_body=fields)
    assert openai_space(named).revision.startswith("gateway?")
    assert openai_space(named) == openai_space(OpenAIConfig(server="gateway", extra_body=fields))
    assert endpoint_of(named) != endpoint_of(OpenAIConfig(base_url="https://elsewhere/v1", server="gateway"))


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:9/v1",
        "http://api.localhost/v1",
        "http://127.8.0.1:9/v1",
        "http://[::1]:9/v1",
        "https://10.0.0.7",
    ],
)
def test_plain_http_stays_on_this_machine(address: str, database: Database):
    OpenAIProvider(OpenAIConfig(base_url=address), BudgetConfig(), database).load()


@pytest.mark.parametrize("host", ["10.0.0.7", "vllm", "api.example.com", "localhost.example.com", "[2001:db8::1]"])
def test_plain_http_to_another_machine_needs_permission(host: str, database: Database):
    address = f"http://{host}:8000/v1"
    with pytest.raises(ConfigurationError, match=r"unencrypted.* use https, or set EMBEDDING_OPENAI_ALLOW_HTTP=true"):
        OpenAIProvider(OpenAIConfig(base_url=address, api_key="canary"), BudgetConfig(), database).load()
    OpenAIProvider(OpenAIConfig(base_url=address, allow_http=True), BudgetConfig(), database).load()


def test_the_space_names_model_server_and_length():
    config = OpenAIConfig(model="m", base_url="http://host:1234/v1", dimensions=384, max_input_tokens=512)
    space = openai_space(config)
    assert (space.provider, space.model, space.revision) == ("openai", "m", "host:1234")
    assert (space.dimensions, space.max_tokens, space.normalized, space.prompt) == (384, 512, True, "")


def test_what_is_sent(server: ApiServer, database: Database):
    embed(make_provider(server, database, organization="org-1", project="proj-1"), ["text"])
    [served] = server.served
    assert (served.headers["openai-organization"], served.headers["openai-project"]) == ("org-1", "proj-1")
    assert served.headers["x-stainless-retry-count"] == "0"


@pytest.mark.parametrize(("dimensions", "sends"), [(256, None), (256, True), (1536, False)])
def test_dimensions(dimensions: int, sends: bool | None, server: ApiServer, database: Database):
    provider = make_provider(server, database, dimensions=dimensions, send_dimensions=sends)
    assert_embedded(embed(provider, ["text"]), ["text"])


def test_a_query_is_embedded_as_a_document(server: ApiServer, database: Database):
    [batch] = make_provider(server, database).embed(["text"], query=True)
    assert batch.indices == [0]
    assert server.seen == {"text": 1}


def test_identical_texts_are_sent_once(server: ApiServer, database: Database):
    texts = ["same", "other", "same", "third", "same"]

    result = embed(make_provider(server, database), texts)

    assert_embedded(result, texts)
    assert server.seen == {"same": 1, "other": 1, "third": 1}
    assert (result.tokens[2], result.tokens[4]) == (0, 0)
    assert sum(result.tokens.values()) == server.billed_tokens


def test_what_cannot_be_sent_is_not(server: ApiServer, database: Database):
    texts = ["", "good", " \n\t", "canary \ud800", ""]
    result = embed(make_provider(server, database), texts)
    assert_embedded(result, texts, but=[0, 2, 3, 4])
    assert result.errors == {0: "blank_text", 2: "blank_text", 3: "invalid_unicode", 4: "blank_text"}
    assert server.seen == {"good": 1}
    assert embed(make_provider(server, database), []) == Result()
    assert embed(make_provider(server, database), [" "]).errors == {0: "blank_text"}
    assert server.requests == 1


def test_requests_are_filled_and_never_above_the_limits(server: ApiServer, database: Database):
    texts = [f"{number} " + "word " * 200 for number in range(400)]

    embed(at_full_pace(make_provider(server, database, max_request_tokens=30_000, max_inputs=150)), texts)

    assert max(one.estimate for one in server.served) <= 30_000
    assert sorted(one.inputs for one in server.served)[1:] == [119] * (len(server.served) - 1)
    assert len(server.served) == 4


def test_requests_take_but_a_part_of_what_a_minute_may(server: ApiServer, database: Database):
    texts = [f"{number} " + "word " * 20 for number in range(40)]
    embed(make_provider(server, database, tokens_per_minute=100_000, requests_per_minute=60_000), texts)
    [whole] = server.served
    assert whole.inputs == 40
    server.served.clear()
    embed(make_provider(server, database, tokens_per_minute=3_000, requests_per_minute=60_000), texts[:20])
    assert max(one.estimate for one in server.served) <= 300


def test_what_the_headers_say_bounds_the_next_requests(database: Database):
    texts = [f"{number} " + "word " * 20 for number in range(60)]
    with ApiServer(tokens_per_minute=6_000) as server:
        provider = make_provider(server, database, max_inputs=25)
        result = embed(provider, texts)
    assert_embedded(result, texts)
    first, *others = server.served
    assert first.inputs == 25
    assert max(one.estimate for one in others) <= 600
    assert provider.window_texts == 400
    assert server.violations == 0


@pytest.mark.parametrize("concurrency", [3, 8])
def test_as_many_requests_are_in_flight_as_may_be(concurrency: int, server: ApiServer, database: Database):
    server.latency_seconds = 1.0
    provider = make_provider(server, database, max_inputs=5, concurrency=concurrency)
    texts = TEXTS[: 5 * (4 * concurrency + 2)]  # the first goes alone, then two, then four
    assert_embedded(embed(provider, texts), texts)
    assert server.most_in_flight == concurrency


@pytest.mark.parametrize(
    ("changes", "texts"),
    [({}, 16_384), ({"max_inputs": 100}, 1600), ({"max_inputs": 100, "concurrency": 2}, 200)],
)
def test_a_window_keeps_the_requests_in_flight_busy(
    changes: dict[str, object], texts: int, server: ApiServer, database: Database
):
    assert make_provider(server, database, **changes).window_texts == texts


def test_runs_are_kept_apart_in_the_ledger(server: ApiServer, database: Database, beside: psycopg.Connection):
    def runs() -> list[str]:
        return [run for (run,) in beside.execute("SELECT run_id FROM embedding_usage ORDER BY id")]

    provider = make_provider(server, database)
    with correlate("run-1"):
        embed(provider, ["a"])
    embed(provider, ["b"])
    embed(provider, ["c"])
    embed(make_provider(server, database), ["d"])
    first, second, third, fourth = runs()
    assert first == "run-1"
    assert second == third != fourth
    assert "" not in runs()


def test_whoever_shares_a_rate_limit_is_one_endpoint(
    server: ApiServer, database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    for _ in range(2):
        embed(make_provider(server, database), ["a"])
    embed(make_provider(server, database, project="other"), ["a"])
    embed(make_provider(server, database, model="text-embedding-3-large"), ["a"])
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
    embed(make_provider(server, database), ["a"])
    endpoints = [row[0] for row in beside.execute("SELECT endpoint FROM embedding_usage ORDER BY id")]
    assert endpoints[0] == endpoints[1]
    assert len(set(endpoints)) == 4
    assert server.served[-1].headers["openai-organization"] == "org-of-the-environment"


def test_a_limit_in_dollars_stops_before_it_is_passed(
    server: ApiServer, database: Database, caplog: pytest.LogCaptureFixture
):
    budget = BudgetConfig(usd_per_run=Decimal("0.00004"))  # 2,000 tokens
    provider = make_provider(server, database, budget=budget, max_inputs=2)
    before = Result()

    with pytest.raises(BudgetExceededError, match="EMBEDDING_BUDGET_USD_PER_RUN"):
        embed(provider, [f"{number} " + "word " * 10 for number in range(500)], into=before)

    assert Decimal("0.00001") < server.bill_usd <= Decimal("0.00004")
    assert before.usd == pytest.approx(float(server.bill_usd))
    assert sum(before.tokens.values()) == server.billed_tokens
    warnings = [record for record in caplog.records if "of a limit of EMBEDDING_BUDGET" in record.message]
    assert len(warnings) == 1


def test_the_last_dollars_are_used_by_smaller_requests(server: ApiServer, database: Database):
    budget = BudgetConfig(usd_per_run=Decimal("0.00004"))  # a byte may be a token: 2,000 bytes, of 27,000
    texts = [f"{number} " + "word " * 10 for number in range(500)]
    before = Result()
    with pytest.raises(BudgetExceededError, match="EMBEDDING_BUDGET_USD_PER_RUN"):
        embed(at_full_pace(make_provider(server, database, budget=budget)), texts, into=before)
    assert Decimal("0.000036") < server.bill_usd <= Decimal("0.00004")
    assert len(before.vectors) == server.seen.total() > 100
    assert server.requests < 40


def test_what_is_in_flight_when_the_limit_is_reached_is_kept(server: ApiServer, database: Database):
    server.latency_seconds = 0.3
    budget = BudgetConfig(usd_per_run=Decimal("0.00004"))
    provider = make_provider(server, database, budget=budget, max_inputs=5)
    before = Result()
    with pytest.raises(BudgetExceededError):
        embed(provider, [f"{number} " + "word " * 10 for number in range(500)], into=before)
    assert server.most_in_flight > 1
    assert len(before.vectors) == sum(one.inputs for one in server.served)


@pytest.mark.parametrize("key", [None, "", "  "])
def test_openai_needs_a_key(key: str | None, database: Database):
    provider = OpenAIProvider(OpenAIConfig(api_key=key), BudgetConfig(), database)
    for action in (provider.load, lambda: embed(provider, ["text"])):
        with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY or EMBEDDING_OPENAI_API_KEY"):
            action()


@pytest.mark.parametrize("key", ["canary\nkey", "canary kéy", "canary key"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(key: str, server: ApiServer, database: Database):
    provider = make_provider(server, database, api_key=key)
    with pytest.raises(ConfigurationError, match="EMBEDDING_OPENAI_API_KEY") as caught:
        provider.load()
    assert "canary" not in str(caught.value)


def test_other_servers_may_need_none(database: Database):
    with ApiServer(api_key="none") as server:
        assert_embedded(embed(make_provider(server, database, api_key=None), ["text"]), ["text"])


def test_a_limit_needs_a_price(server: ApiServer, database: Database):
    provider = make_provider(server, database, model="own", budget=BudgetConfig(usd_per_day=Decimal(1)))
    with pytest.raises(ConfigurationError, match="EMBEDDING_OPENAI_USD_PER_MILLION_TOKENS"):
        provider.load()


def test_neither_key_nor_text_is_logged(server: ApiServer, database: Database, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "embedding_assets")
    server.api_key = "canary-key"
    for fault in PASSING:
        server.faults.script.extend([fault, None])
    texts = [f"canary-text {number}" for number in range(200)]
    bad = [f"canary {Fault.REFUSED.marker}", "canary " * 10_000, "canary " * 40_000]
    provider = make_provider(server, database, max_inputs=4, timeout_seconds=0.5, max_request_tokens=50_000)

    assert_embedded(embed(provider, texts), texts)
    server.faults.script.clear()
    result = embed(provider, bad)

    assert (result.errors, result.truncated) == ({0: "refused"}, {1, 2})
    assert "canary" not in caplog.text
    assert all("canary" not in str(vars(record)) for record in caplog.records)
    assert "canary" not in repr(provider)
    ours = [record for record in caplog.records if record.name.startswith("embedding_assets.providers")]
    answered = [record for record in ours if record.name.endswith("remarks") and "request of" in record.message]
    assert len(answered) == server.requests
    assert {record.levelname for record in answered if vars(record)["outcome"] == "answered"} == {"DEBUG"}
    assert {"inputs", "tokens", "usd", "milliseconds", "status", "outcome"} <= set(vars(answered[0]))
    assert any("trying again" in record.message for record in ours if record.levelname == "WARNING")


def test_importing_it_does_not_import_the_client():
    code = "import sys, embedding_assets.providers.openai.provider; print('openai' in sys.modules, "
    code += "'httpx2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


ABANDON = """
import sys
from embedding_assets.config import get_settings
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.providers.space_selection import create_provider

settings = get_settings()
with open_database(settings) as database:
    batches = create_provider(settings, database).embed([f"text {number}" for number in range(100)])
    print(len(next(batches).indices))
    if sys.argv[1] == "raise":
        raise SystemExit(3)
"""


@pytest.mark.parametrize(("how", "status"), [("leave", 0), ("raise", 3)])
def test_a_program_may_end_in_the_middle(
    how: str, status: int, server: ApiServer, database: Database, monkeypatch: pytest.MonkeyPatch
):
    server.latency_seconds = 1.0
    monkeypatch.setenv("EMBEDDING_PROVIDER", "openai")
    monkeypatch.setenv("EMBEDDING_OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", server.api_key)
    monkeypatch.setenv("EMBEDDING_OPENAI_MAX_INPUTS", "10")
    monkeypatch.setenv("EMBEDDING_OPENAI_CONCURRENCY", "2")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ABANDON, how], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "10\n", "")
    assert server.requests < 10


def test_closing_early_cancels_what_is_in_flight(server: ApiServer, database: Database, beside: psycopg.Connection):
    server.faults.script.extend([None, None, *[Fault.HANG] * 20])
    provider = make_provider(server, database, max_inputs=10, concurrency=4)
    with closing(provider.embed(TEXTS)) as batches:
        next(batches)
        next(batches)
        while server.in_flight < 4:
            time.sleep(0.01)
    states = usage(beside)
    assert {state: one.requests for state, one in states.items()} == {"settled": 2, "presumed": 4}
    assert states["presumed"].usd > 0
    assert server.requests == 6
    assert beside.execute("SELECT outages FROM embedding_endpoints").fetchone() == (0,)  # no fault of the server
    server.faults.script.clear()
    assert_embedded(embed(provider, TEXTS[:50]), TEXTS[:50])
