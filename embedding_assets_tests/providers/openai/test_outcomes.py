"""What refusals of servers mean, OpenAI's and others'."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from embedding_assets.postgres.usage.endpoints import RateHeaders
from embedding_assets.providers.openai.outcomes import (
    classify_failure,
    classify_refusal,
    classify_success,
    read_rates,
    read_retry_after,
)

CONTEXT = (
    "This model's maximum context length is 8192 tokens, however you requested 10000 tokens (10000 in your prompt; 0 "
    "for the completion). Please reduce your prompt; or completion length."
)

REFUSALS = [
    (429, {"type": "requests", "code": "rate_limit_exceeded"}, "rate_limited"),
    (429, {"type": "tokens", "code": None, "message": "Rate limit reached for text-embedding-3-small"}, "rate_limited"),
    (429, "too many requests", "rate_limited"),
    (429, None, "rate_limited"),
    (429, {"type": "insufficient_quota", "code": None}, "quota"),
    (429, {"type": "x", "code": "credit_balance_exhausted"}, "quota"),
    (429, {"code": "organization_spend_limit_exceeded"}, "quota"),
    (403, {"code": "monthly_usage_limit_exceeded"}, "quota"),
    (400, {"code": "billing_hard_limit_reached"}, "quota"),
    (402, {"message": "Insufficient Balance"}, "quota"),
    (429, {"message": "Request too large for m on tokens per min (TPM): Limit 1000, Requested 2000"}, "too_large"),
    (500, {"type": "server_error"}, "outage"),
    (502, "<html>", "outage"),
    (503, {"code": "server_is_overloaded"}, "outage"),
    (529, {}, "outage"),
    (408, {}, "outage"),
    (409, {}, "outage"),
    (501, {"message": "This server does not support embeddings."}, "denied"),
    (401, {"code": "invalid_api_key"}, "denied"),
    (403, {"code": "unsupported_country_region_territory"}, "denied"),
    (404, {"code": "model_not_found"}, "denied"),
    (405, "Method Not Allowed", "denied"),
    (307, "", "denied"),
    (400, {"code": "max_tokens_per_request", "message": "Requested 310000 tokens, max 300000 tokens per request"},
     "too_large"),
    (400, {"code": "array_above_max_length"}, "too_large"),
    (413, "", "too_large"),
    (422, "batch size 64 > maximum allowed batch size 32", "too_large"),
    (400, {"message": CONTEXT, "code": None}, "too_long"),
    (400, {"message": "Invalid 'input[3]': maximum context length is 8192 tokens."}, "too_long"),
    (400, {"code": "context_length_exceeded"}, "too_long"),
    (413, {"error": "Input validation error: `inputs` must have less than 512 tokens. Given: 612"}, "too_long"),
    (400, {"message": "the input length exceeds the context length"}, "too_long"),
    (500, {"message": "input (600 tokens) is too large to process. increase the physical batch size"}, "too_long"),
    (400, {"type": "exceed_context_size_error", "message": "the request exceeds the available size"}, "too_long"),
    (400, {"message": "Invalid 'input[0]': maximum input length is 8192 tokens."}, "too_long"),
    (400, {"detail": "This model's maximum context length is 512 tokens."}, "too_long"),
    (422, {"detail": {"message": "input is too long for this model"}}, "too_long"),
    (422, {"detail": [{"msg": "input is too long for this model"}]}, "too_long"),
    (400, [{"error": {"code": 400, "message": "at most 100 requests can be in one batch"}}], "too_large"),
    (400, {"message": "total number of texts must be at most 96 - received 97"}, "too_large"),
    (400, {"message": "batch size is invalid, it should not be larger than 10."}, "too_large"),
    (429, [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}], "rate_limited"),
    (400, {"message": "'$.input' is invalid."}, "refused"),
    (400, ["odd"], "refused"),
    (422, {"detail": [{"msg": "odd"}]}, "refused"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), REFUSALS)
def test_refusals(status: int, body: object, kind: str):
    outcome = classify_refusal(status, body, {})
    assert (outcome.kind, outcome.status) == (kind, status)
    assert outcome.reason.startswith(f"status {status}")
    assert bool(outcome.advice) == (kind == "denied")
    assert outcome.answer is None


def test_only_names_are_passed_on():
    body = {
        "message": "canary said this",
        "code": "canary in a sentence",
        "type": ["canary"],
        "param": "input[3]",
    }
    assert classify_refusal(400, body, {}).reason == "status 400, param input[3]"
    assert classify_refusal(400, {"code": "bad_thing", "type": "x" * 65}, {}).reason == "status 400, code bad_thing"
    assert classify_refusal(400, {"code": 400}, {}).reason == "status 400"


@pytest.mark.parametrize(
    ("message", "requested", "allowed"),
    [
        (CONTEXT, 10_000, 8_192),
        ("`inputs` must have less than 512 tokens. Given: 612", 612, 512),
        ("maximum context length is 512 tokens. However, your input resulted in 700 tokens", 700, 512),
        ("input (600 tokens) is too large to process (current batch size: 512)", 600, 512),
        ("the input length exceeds the context length", None, None),
    ],
)
def test_how_much_too_long(message: str, requested: int | None, allowed: int | None):
    outcome = classify_refusal(400, {"message": message}, {})
    assert (outcome.kind, outcome.requested_tokens, outcome.allowed_tokens) == ("too_long", requested, allowed)


@pytest.mark.parametrize(
    ("status", "setting"),
    [(401, "EMBEDDING_OPENAI_API_KEY"), (403, "EMBEDDING_OPENAI_PROJECT"), (404, "EMBEDDING_OPENAI_MODEL"),
     (302, "EMBEDDING_OPENAI_BASE_URL"), (405, "EMBEDDING_OPENAI_BASE_URL")],
)  # fmt: skip
def test_what_to_look_at(status: int, setting: str):
    assert setting in classify_refusal(status, None, {}).advice


def named(name: str) -> BaseException:
    return type(name, (Exception,), {})()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ConnectError", "outage"),
        ("ConnectTimeout", "outage"),
        ("PoolTimeout", "outage"),
        ("ReadTimeout", "timed_out"),
        ("WriteTimeout", "timed_out"),
        ("WriteError", "lost"),
        ("RemoteProtocolError", "lost"),
        ("LocalProtocolError", "denied"),
        ("UnsupportedProtocol", "denied"),
    ],
)
def test_failures_of_the_connection(name: str, kind: str):
    outcome = classify_failure(named(name))
    assert (outcome.kind, outcome.reason, outcome.status) == (kind, name, None)


def test_failures_without_a_cause_and_untrusted_servers():
    assert classify_failure(None).kind == "lost"
    untrusted = named("ConnectError")
    untrusted.__cause__ = named("Other")
    untrusted.__cause__.__context__ = ssl.SSLCertVerificationError()
    outcome = classify_failure(untrusted)
    assert (outcome.kind, outcome.reason) == ("denied", "its certificate cannot be verified")


def test_rates():
    headers = {
        "x-ratelimit-limit-requests": "3000",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-limit-tokens": "1000000",
        "x-ratelimit-remaining-tokens": " 12 ",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert read_rates(headers) == RateHeaders(3000, 0, 1_000_000, 12)
    assert read_rates({"x-ratelimit-remaining-tokens": "5"}) == RateHeaders(None, None, None, 5)
    assert read_rates({}) is None


@pytest.mark.parametrize("value", ["", "-1", "many", "1.5", "9" * 20, "²"])
def test_rates_that_make_no_sense_are_not_reported(value: str):
    assert read_rates({"x-ratelimit-limit-requests": value}) is None
    assert read_rates({"x-ratelimit-limit-requests": "0"}) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None):
    assert read_retry_after(headers) == seconds
    outcome = classify_refusal(429, None, headers)
    assert outcome.retry_after_seconds == seconds
    assert classify_refusal(503, None, headers).retry_after_seconds == seconds
    assert classify_refusal(400, None, headers).retry_after_seconds is None


def test_retry_after_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    seconds = read_retry_after({"retry-after": date})
    assert seconds is not None
    assert 3500 < seconds <= 3600


def test_retry_after_a_date_by_the_servers_clock():
    headers = {"date": "Sun, 01 Nov 2015 08:00:00 GMT", "retry-after": "Sun, 01 Nov 2015 08:00:25 GMT"}
    assert read_retry_after(headers) == 25


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error": {"code": 429, "message": "slow down"}}', "rate_limited"),
        (b'{"error": {"message": "no"}, "data": null}', "refused"),
        (b'{"error": "model not found"}', "refused"),
        (b'{"detail": "Not authenticated"}', "refused"),
        (b'{"object": "error", "message": "busy", "code": 503}', "outage"),
        (b'[{"error": {"code": 402}}]', "quota"),
        (b" <!DOCTYPE html>", "denied"),
        (b"\xef\xbb\xbf\r\n<html>", "denied"),
        (b'{"data": []}', None),
        (b'{"object": "list", "data": [], "message": "fine"}', None),
        (b'{"usage": {"prompt_tokens": 3}}', None),
        (b"{}", None),
        (b"[]", None),
        (b'{"data', None),
    ],
)
def test_errors_with_a_status_of_success(body: bytes, kind: str | None):
    outcome = classify_success(200, body, {})
    assert (outcome.kind if outcome else None) == kind
