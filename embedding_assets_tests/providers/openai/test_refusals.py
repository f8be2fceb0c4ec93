"""Every answer that is not the vectors asked for, and what becomes of the texts."""

from __future__ import annotations

import logging
import time

import psycopg
import pytest

from embedding_assets.errors import ProviderError, ProviderUnavailableError, QuotaExceededError
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.api_runs import usage
from embedding_assets_tests.support.calls import Result, assert_embedded, at_full_pace, embed, make_provider
from fake_api import server as api_server
from fake_api.faults import PASSING, QUOTA, UNANSWERED, UNREADABLE
from fake_api.server import ApiServer, Fault

TEXTS = [f"text {number}" + " and more" * (number % 5) for number in range(300)]

UNUSUAL = (Fault.SHUFFLED, Fault.FLOATS, Fault.NO_USAGE, Fault.NO_HEADERS)
WRONG = (Fault.NAN, Fault.ZERO, Fault.WRONG_LENGTH, Fault.SHORT, Fault.LONG, Fault.DUPLICATE_INDEX)


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.value)
def test_what_passes_costs_no_text(fault: Fault, server: ApiServer, database: Database, beside: psycopg.Connection):
    server.faults.script.extend([None, fault])
    provider = make_provider(server, database, max_inputs=20, timeout_seconds=2 if fault is Fault.HANG else 60)

    result = embed(provider, TEXTS[:100])

    assert_embedded(result, TEXTS[:100])
    assert result.errors == {}
    # A wrong length is asked about once more, by a text that is known to be good, and so is a server that hangs, which
    # is sent halves then.
    hangs = fault is Fault.HANG
    assert server.requests == 5 + (fault not in UNUSUAL) + (fault is Fault.WRONG_LENGTH) + 2 * hangs
    states = usage(beside)
    assert set(states) == ({"settled", "presumed"} if fault in (*UNREADABLE, *UNANSWERED) else {"settled"})
    assert states["settled"].requests == 5 + (fault in WRONG) + (fault is Fault.WRONG_LENGTH) + 2 * hangs
    assert result.usd == pytest.approx(float(sum(state.usd for state in states.values())))
    if fault not in (*UNREADABLE, *UNANSWERED, Fault.NO_USAGE):
        assert states["settled"].tokens == server.billed_tokens


@pytest.mark.parametrize("fault", UNUSUAL, ids=lambda fault: fault.value)
def test_a_server_that_is_always_unusual(fault: Fault, server: ApiServer, database: Database):
    server.faults.share, server.faults.kinds = 1.0, (fault,)
    provider = make_provider(server, database, max_inputs=20)
    result = embed(provider, TEXTS)
    assert_embedded(result, TEXTS)
    likely = sum(-(-len(text) // 4) for text in TEXTS)
    assert sum(result.tokens.values()) == (likely if fault is Fault.NO_USAGE else server.billed_tokens)
    assert server.requests == 15


@pytest.mark.parametrize("fault", QUOTA, ids=lambda fault: fault.value)
def test_a_quota_stops_everything_at_once(
    fault: Fault, server: ApiServer, database: Database, beside: psycopg.Connection
):
    server.faults.script.extend([None, Fault.HANG, Fault.HANG, fault, *[Fault.HANG] * 10])
    provider = make_provider(server, database, max_inputs=10, concurrency=4)
    before = Result()
    started = time.monotonic()

    with pytest.raises(QuotaExceededError, match=r"bills no more to this account \(status 429, code") as caught:
        embed(provider, TEXTS, into=before)

    assert time.monotonic() - started < 20  # the others would hang for a minute
    assert server.requests <= 5
    assert len(before.vectors) == 10
    assert not isinstance(caught.value, ProviderUnavailableError)
    assert caught.value.__context__ is None
    assert usage(beside)["presumed"].requests >= 2


def test_a_refusal_for_rate_is_waited_out(server: ApiServer, database: Database):
    server.faults.script.extend([None, Fault.RATE_LIMIT_SECONDS])
    embed(make_provider(server, database, max_inputs=50, concurrency=1), TEXTS)
    first, refused, again = server.served[:3]
    assert (first.status, refused.status, again.status) == (200, 429, 200)
    assert again.started - refused.started >= 0.95


def test_rate_limits_that_headers_say_are_kept(database: Database):
    with ApiServer(requests_per_minute=1200, burst_seconds=1.0) as server:
        result = embed(make_provider(server, database, max_inputs=5), TEXTS)
        assert_embedded(result, TEXTS)
        assert (server.requests, server.violations) == (60, 0)


def test_rate_limits_that_no_header_names_are_found(database: Database, caplog: pytest.LogCaptureFixture):
    with ApiServer(requests_per_minute=120, burst_seconds=1.0, retry_after=None) as server:
        server.faults.share, server.faults.kinds = 1.0, (Fault.NO_HEADERS,)
        result = embed(make_provider(server, database, max_inputs=40), TEXTS)
        assert_embedded(result, TEXTS)
        assert server.violations > 0
    logged = [record for record in caplog.records if "refused for rate" in record.message]
    assert len(logged) == 1  # within ten seconds


def test_one_bad_text_is_found_by_halving(server: ApiServer, database: Database, caplog: pytest.LogCaptureFixture):
    texts = [*TEXTS[:137], f"bad {Fault.REFUSED.marker}", *TEXTS[137:]]

    result = embed(at_full_pace(make_provider(server, database)), texts)

    assert_embedded(result, texts, but=[137])
    assert result.errors == {137: "refused"}
    # The whole, the probe, and two halves at each of nine levels.
    assert server.requests <= 2 + 2 * 9
    assert all(count == 1 for text, count in server.seen.items())
    assert "halving a request of 301 texts (refused)" in caplog.text
    assert "bad" not in caplog.text


def test_several_bad_texts(server: ApiServer, database: Database):
    bad = {3: Fault.REFUSED, 77: Fault.REFUSED, 200: Fault.NAN}
    texts = [f"{text} {bad[index].marker}" if index in bad else text for index, text in enumerate(TEXTS)]
    result = embed(make_provider(server, database, max_inputs=100), texts)
    assert_embedded(result, texts, but=list(bad))
    assert result.errors == {3: "refused", 77: "refused", 200: "not_finite"}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.REFUSED, "refused"),
        (Fault.NAN, "not_finite"),
        (Fault.ZERO, "zero_vector"),
        (Fault.WRONG_LENGTH, "wrong_dimensions"),
        (Fault.SHORT, "wrong_vector_count"),
        (Fault.LONG, "wrong_vector_count"),
        (Fault.DUPLICATE_INDEX, "wrong_indexes"),
        (Fault.INVALID_JSON, "not_json"),
    ],
    ids=lambda value: getattr(value, "value", None),
)
def test_a_text_that_always_fails_alone(fault: Fault, code: str, server: ApiServer, database: Database):
    texts = ["good", f"bad {fault.marker}", f"bad {fault.marker}", "good too"]
    result = embed(make_provider(server, database), texts)
    assert_embedded(result, texts, but=[1, 2])
    assert result.errors == {1: code, 2: code}
    alone = embed(make_provider(server, database), [texts[1]])
    assert alone.errors == {0: code}


@pytest.mark.parametrize("fault", [Fault.NAN, Fault.ZERO])
def test_vectors_beside_an_odd_one_are_not_paid_for_again(fault: Fault, server: ApiServer, database: Database):
    texts = [*TEXTS[:50], f"bad {fault.marker}", *TEXTS[50:100]]
    result = embed(at_full_pace(make_provider(server, database)), texts)
    assert_embedded(result, texts, but=[50])
    assert all(count == 1 for text, count in server.seen.items() if text in TEXTS)
    assert server.requests == 1 + 2 + 1, "all, twice the odd one alone, a probe"


def test_what_a_text_that_fails_has_cost_is_reported(server: ApiServer, database: Database):
    result = embed(make_provider(server, database), ["good", f"bad {Fault.NAN.marker}"])
    assert result.errors == {1: "not_finite"}
    assert result.usd == pytest.approx(float(server.bill_usd))
    assert server.billed_tokens > sum(result.tokens.values())


def test_a_probe_that_meets_a_fault_is_no_proof(server: ApiServer, database: Database):
    server.faults.script.extend([Fault.REFUSED, Fault.SHORT, Fault.INVALID_JSON, Fault.RATE_LIMIT_MILLISECONDS, None])
    assert embed(make_provider(server, database), ["text"]).errors == {0: "refused"}
    assert server.requests == 5
    server.faults.script.extend([Fault.REFUSED, Fault.UNAVAILABLE])
    assert_embedded(embed(make_provider(server, database), ["text"]), ["text"])
    assert server.requests == 8


@pytest.mark.parametrize("fault", [Fault.WRONG_LENGTH, Fault.SHORT, Fault.INVALID_JSON])
def test_a_probe_that_is_odd_where_the_server_has_answered_rightly(fault: Fault, server: ApiServer, database: Database):
    server.faults.script.extend([None, Fault.WRONG_LENGTH, *[fault] * 5, None])
    result = embed(make_provider(server, database, max_inputs=20), TEXTS[:40])
    assert_embedded(result, TEXTS[:40])
    assert result.errors == {}
    server.faults.script.extend([None, Fault.WRONG_LENGTH, *[Fault.WRONG_LENGTH] * 6])
    with pytest.raises(ProviderError, match="EMBEDDING_OPENAI_DIMENSIONS"):
        embed(make_provider(server, database, max_inputs=20), TEXTS[:40])


@pytest.mark.parametrize(
    ("faults", "message"),
    # Before it gives up it asks for numbers instead of base64.
    [([Fault.QUOTA_TYPE], "bills no more"), ([Fault.REFUSED, Fault.REFUSED], "even a plain")],
)
def test_a_probe_that_is_refused(faults: list[Fault], message: str, server: ApiServer, database: Database):
    server.faults.script.extend([Fault.REFUSED, *faults])
    with pytest.raises(ProviderError, match=message):
        embed(make_provider(server, database), TEXTS[:50])
    assert server.requests == 1 + len(faults)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"send_dimensions": True},
            r"refuses even a plain short text \(status 400, type .*, param dimensions\); check",
        ),
        ({"send_dimensions": False}, "vectors of 1536, but EMBEDDING_OPENAI_DIMENSIONS is 768"),
        ({"model": "unknown"}, r"denies requests \(status 404, code model_not_found, .*EMBEDDING_OPENAI_MODEL"),
        ({"api_key": "wrong-canary"}, r"denies requests \(status 401, code invalid_api_key.*EMBEDDING_OPENAI_API_KEY"),
    ],
)
def test_settings_the_server_does_not_accept_are_no_texts_fault(
    changes: dict[str, object], message: str, database: Database
):
    before = Result()
    with ApiServer(shortens=False) as server:
        with pytest.raises(ProviderError, match=message) as caught:
            embed(make_provider(server, database, **changes), TEXTS[:50], into=before)
        assert server.requests <= 6
    assert type(caught.value) is ProviderError
    assert "canary" not in str(caught.value)
    # Of what was billed in vain, the cost alone is reported.
    assert before == Result(usd=before.usd, batches=int(before.usd > 0))


def test_a_wrong_address(server: ApiServer, database: Database):
    provider = make_provider(server, database, base_url=server.url + "/wrong")
    with pytest.raises(ProviderError, match=r"denies requests \(status 404.*EMBEDDING_OPENAI_BASE_URL"):
        embed(provider, TEXTS)


def test_what_never_answers_with_vectors_is_no_embeddings_api(server: ApiServer, database: Database):
    server.faults.share, server.faults.kinds = 1.0, (Fault.SHORT,)
    with pytest.raises(ProviderError, match=r"answers uselessly to even a plain short text \(status 200, wrong_vector"):
        embed(make_provider(server, database), TEXTS[:50])
    assert server.requests == 6


def test_a_request_the_server_finds_too_large_is_split(
    server: ApiServer, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api_server, "MAX_REQUEST_TOKENS", 500)
    result = embed(make_provider(server, database), TEXTS)
    assert_embedded(result, TEXTS)
    assert result.errors == {}
    assert max(one.estimate for one in server.served if one.status == 200) <= 500


LONG = "a b c d " * 2_500  # 10,000 tokens in 20,000 bytes


def test_a_text_that_is_too_long_is_cut(server: ApiServer, database: Database, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    texts = [*TEXTS[:50], LONG, *TEXTS[50:100]]
    result = embed(make_provider(server, database), texts)
    assert result.errors == {}
    assert result.truncated == {50}
    assert_embedded(Result({index: vector for index, vector in result.vectors.items() if index != 50}), texts, but=[50])
    [sent] = [text for text in server.seen if text.startswith("a b c")]
    assert LONG.startswith(sent)
    assert 7_500 < result.tokens[50] <= 8_192


def test_a_text_that_is_too_long_is_an_error_if_it_should(server: ApiServer, database: Database):
    texts = ["good", LONG, "good too", "word " * 60_000]
    provider = make_provider(server, database, too_long="quarantine", max_request_tokens=50_000)
    result = embed(provider, texts)
    assert result.errors == {1: "too_long", 3: "too_long"}
    assert_embedded(result, texts, but=[1, 3])


def test_a_text_that_may_be_too_long_goes_alone(server: ApiServer, database: Database):
    texts = [*TEXTS[:20], "word " * 10_000, *TEXTS[20:40]]
    result = embed(make_provider(server, database), texts)
    assert result.truncated == {20}
    assert [one.inputs for one in server.served if one.status == 200] == [40, 1]
    assert server.requests == 3


def test_a_text_above_what_a_request_may_hold_is_cut_before(server: ApiServer, database: Database):
    text = "é" * 100_000 + " end"
    result = embed(make_provider(server, database, max_request_tokens=1_000), [text])
    assert (result.errors, result.truncated) == ({}, {0})
    assert server.requests == 1
    [sent] = server.seen
    assert sent == "é" * 2_000


def test_a_server_that_does_not_say_how_much_too_long(
    server: ApiServer, database: Database, monkeypatch: pytest.MonkeyPatch
):
    real = api_server._refuse_size

    def vague(texts: list[str]) -> api_server.Answer | None:
        refused = real(texts)
        return refused and api_server.error(400, "the input length exceeds the context length")

    monkeypatch.setattr(api_server, "_refuse_size", vague)
    result = embed(make_provider(server, database), [LONG])
    assert (result.errors, result.truncated) == ({}, {0})
    assert server.requests <= 4


def test_a_text_that_cannot_be_made_short_enough(
    server: ApiServer, database: Database, monkeypatch: pytest.MonkeyPatch
):
    texts = ["good", "a " * 5_000, " " * 1_000 + "b"]
    provider = make_provider(server, database)
    monkeypatch.setattr(
        api_server, "_refuse_size", lambda texts: api_server.error(400, "too long for the context window")
        if max(map(len, texts)) > 60 else None,
    )  # fmt: skip
    result = embed(provider, texts)
    assert result.errors == {1: "too_long", 2: "too_long"}
    assert_embedded(result, texts, but=[1, 2])


def test_what_a_call_that_fails_has_cost_is_reported_too(
    server: ApiServer, database: Database, beside: psycopg.Connection
):
    server.faults.share, server.faults.kinds = 1.0, (Fault.SHORT,)
    result = Result()
    with pytest.raises(ProviderError):
        embed(make_provider(server, database), TEXTS, into=result)
    assert result.vectors == {}
    assert result.usd == pytest.approx(float(sum(state.usd for state in usage(beside).values())))
    assert result.usd > 0
