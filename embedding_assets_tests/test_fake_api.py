"""The fake API server, seen by the official client: what the other tests measure against must itself be right."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Literal

import numpy as np
import openai
import pytest

from fake_api.answers import QUOTA_ERRORS
from fake_api.faults import PASSING, QUOTA, Fault, Faults
from fake_api.limits import Bucket, count_tokens, estimate_tokens, format_duration
from fake_api.server import ApiServer, api_vector_of

SMALL = "text-embedding-3-small"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(server) as client:
        yield client


def client_of(server: ApiServer, **options: object) -> openai.AsyncOpenAI:
    arguments = {"api_key": server.api_key, "base_url": server.url, "max_retries": 0, "timeout": 5.0, **options}
    return openai.AsyncOpenAI(**arguments)


async def test_answers_with_the_texts_vectors_and_bills_them(server: ApiServer, client: openai.AsyncOpenAI):
    texts = ["one", "two words, and more", "größer"]
    answer = await client.embeddings.create(model=SMALL, input=texts, dimensions=768)
    assert [one.index for one in answer.data] == [0, 1, 2]
    for text, one in zip(texts, answer.data, strict=True):
        np.testing.assert_allclose(one.embedding, api_vector_of(text), atol=1e-7)
    tokens = sum(map(count_tokens, texts))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == tokens == server.billed_tokens
    assert server.bill_usd == Decimal(tokens) * Decimal("0.02") / 1_000_000
    assert server.seen == dict.fromkeys(texts, 1)
    assert [one.id for one in (await client.models.list()).data] == list(server.models)


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_both_encodings_say_the_same(server: ApiServer, client: openai.AsyncOpenAI, encoding: str):
    raw = await client.embeddings.with_raw_response.create(model=SMALL, input="text", encoding_format=encoding)
    sent = raw.http_response.json()["data"][0]["embedding"]
    assert isinstance(sent, str if encoding == "base64" else list)
    values = raw.parse().data[0].embedding
    if isinstance(values, str):
        values = np.frombuffer(base64.b64decode(values), dtype="<f4").tolist()
    np.testing.assert_allclose(values, api_vector_of("text", 1536), atol=1e-7)


def test_vectors_are_distinct_and_of_unit_length():
    vectors = np.stack([api_vector_of(f"text {number}", 384) for number in range(500)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    cosines = vectors @ vectors.T
    assert (cosines - np.eye(500)).max() < 0.9


@pytest.mark.parametrize(
    ("request_body", "status", "code", "message"),
    [
        ({"input": []}, 400, None, "none empty"),
        ({"input": ["a", ""]}, 400, None, "none empty"),
        ({"input": [1, 2]}, 400, None, "is invalid"),
        ({"input": ["a"] * 2049}, 400, None, "1 to 2048"),
        ({"input": ["a" * 4000] * 301}, 400, "max_tokens_per_request", "max 300000 tokens per request"),
        ({"input": ["ab " * 8193]}, 400, None, "maximum context length is 8192 tokens, however you requested 8193"),
        ({"input": "a", "model": "nobody"}, 404, "model_not_found", "does not exist"),
        ({"input": "a", "dimensions": 1537}, 400, None, "1 to 1536"),
        ({"input": "a", "dimensions": 768, "model": "text-embedding-ada-002"}, 400, None, "not support specifying"),
    ],
)
async def test_refuses_what_the_api_refuses(
    server: ApiServer,
    client: openai.AsyncOpenAI,
    request_body: dict[str, object],
    status: int,
    code: str | None,
    message: str,
):
    with pytest.raises(openai.APIStatusError) as raised:
        await client.embeddings.create(**{"model": SMALL, **request_body})
    assert raised.value.status_code == status
    assert raised.value.code == code
    assert message in raised.value.message
    assert server.billed_tokens == 0
    assert not server.seen


async def test_limits_that_just_fit(server: ApiServer, client: openai.AsyncOpenAI):
    await client.embeddings.create(model=SMALL, input=["a"] * 2048, dimensions=8)
    await client.embeddings.create(model=SMALL, input=["a" * 4000] * 300, dimensions=8)
    await client.embeddings.create(model=SMALL, input=["ab " * 8192], dimensions=8)
    assert server.requests == 3


async def test_another_key_is_refused(server: ApiServer):
    async with client_of(server, api_key="sk-somebody-elses") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.embeddings.create(model=SMALL, input="a")
    assert [one.status for one in server.served] == [401]


async def test_headers_say_what_is_left_and_early_requests_are_violations():
    with ApiServer(requests_per_minute=60, tokens_per_minute=6000, burst_seconds=2) as server:
        async with client_of(server) as client:
            raw = await client.embeddings.with_raw_response.create(model=SMALL, input="a" * 400, dimensions=8)
            assert raw.headers["x-ratelimit-limit-requests"] == "60"
            assert raw.headers["x-ratelimit-limit-tokens"] == "6000"
            assert raw.headers["x-ratelimit-remaining-requests"] == "1"
            assert 100 <= int(raw.headers["x-ratelimit-remaining-tokens"]) <= 150
            assert raw.headers["x-ratelimit-reset-tokens"].endswith("ms")
            await client.embeddings.create(model=SMALL, input="a", dimensions=8)
            with pytest.raises(openai.RateLimitError) as raised:
                await client.embeddings.create(model=SMALL, input="a", dimensions=8)
    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["retry-after"] == "1"
    assert server.violations == 1


@pytest.mark.parametrize("fault", QUOTA)
async def test_quota_in_each_form(server: ApiServer, client: openai.AsyncOpenAI, fault: Fault):
    server.faults.script.append(fault)
    with pytest.raises(openai.RateLimitError) as raised:
        await client.embeddings.create(model=SMALL, input="a")
    assert (raised.value.type, raised.value.code) == QUOTA_ERRORS[fault]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.RATE_LIMIT, openai.RateLimitError),
        (Fault.SERVER_ERROR, openai.InternalServerError),
        (Fault.BAD_GATEWAY, openai.InternalServerError),
        (Fault.UNAVAILABLE, openai.InternalServerError),
        (Fault.OVERLOADED, openai.InternalServerError),
        (Fault.DROP_BEFORE, openai.APIConnectionError),
        (Fault.DROP_AFTER, openai.APIConnectionError),
        (Fault.TRUNCATED, openai.APIConnectionError),
        (Fault.REFUSED, openai.BadRequestError),
    ],
)
async def test_failures_reach_the_client(
    server: ApiServer, client: openai.AsyncOpenAI, fault: Fault, error: type[openai.APIError]
):
    server.faults.script.append(fault)
    with pytest.raises(error) as raised:
        await client.embeddings.create(model=SMALL, input="a")
    assert bool(server.billed_tokens) is (fault in (Fault.DROP_AFTER, Fault.TRUNCATED))
    [served] = server.served
    assert served.status == getattr(raised.value, "status_code", 0)
    assert served.readable is (fault not in (Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.TRUNCATED))
    await client.embeddings.create(model=SMALL, input="a")


async def test_hangs_until_the_client_gives_up(server: ApiServer):
    server.faults.script.append(Fault.HANG)
    async with client_of(server, timeout=0.2) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.embeddings.create(model=SMALL, input="a")
        await client.embeddings.create(model=SMALL, input="b", timeout=5)
    assert server.seen == {"b": 1}
    assert server.most_in_flight <= 2


@pytest.mark.parametrize(
    ("fault", "indexes", "spoiled"),
    [
        (Fault.NAN, [0, 1, 2], np.isnan),
        (Fault.ZERO, [0, 1, 2], lambda vector: vector == 0),
        (Fault.WRONG_LENGTH, [0, 1, 2], lambda vector: len(vector) == 7),
        (Fault.SHORT, [0, 1], None),
        (Fault.LONG, [0, 1, 2, 3], None),
        (Fault.DUPLICATE_INDEX, [1, 1, 2], None),
        (Fault.SHUFFLED, [2, 1, 0], None),
    ],
)
async def test_wrong_answers_are_sent_and_billed(
    server: ApiServer, client: openai.AsyncOpenAI, fault: Fault, indexes: list[int], spoiled: object
):
    server.faults.script.append(fault)
    answer = await client.embeddings.create(model=SMALL, input=["a", "b", "c"], dimensions=8)
    assert [one.index for one in answer.data] == indexes
    if callable(spoiled):
        assert np.all(spoiled(np.array(answer.data[0].embedding)))
    if fault is Fault.SHUFFLED:
        np.testing.assert_allclose(answer.data[0].embedding, api_vector_of("c", 8), atol=1e-7)
    assert server.billed_tokens == 3


async def test_unusual_answers(server: ApiServer, client: openai.AsyncOpenAI):
    server.faults.script += [Fault.FLOATS, Fault.NO_USAGE, Fault.INVALID_JSON]
    create = client.embeddings.with_raw_response.create
    first = await create(model=SMALL, input="a", encoding_format="base64")
    assert isinstance(first.http_response.json()["data"][0]["embedding"], list)
    second = await create(model=SMALL, input="a")
    assert "usage" not in second.http_response.json()
    third = await create(model=SMALL, input="a")
    with pytest.raises(json.JSONDecodeError):
        third.http_response.json()
    assert server.billed_tokens == 3
    assert [one.readable for one in server.served] == [True, False, False]


async def test_a_text_may_ask_for_its_fault(server: ApiServer, client: openai.AsyncOpenAI):
    for _ in range(2):
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model=SMALL, input=["good", f"bad {Fault.REFUSED.marker}"])
    await client.embeddings.create(model=SMALL, input=["good"])


async def test_the_share_of_faults_is_kept():
    with ApiServer(faults=Faults(share=0.2, kinds=[Fault.SERVER_ERROR], seed=1)) as server:
        async with client_of(server) as client:
            for _ in range(200):
                try:
                    await client.embeddings.create(model=SMALL, input="a", dimensions=8)
                except openai.InternalServerError:
                    continue
    assert 20 < sum(one.status == 500 for one in server.served) < 60


async def test_an_outage_and_a_machine_that_is_down(server: ApiServer, client: openai.AsyncOpenAI):
    server.outage = True
    with pytest.raises(openai.InternalServerError):
        await client.embeddings.create(model=SMALL, input="a")
    server.outage = False
    server.hang_up()
    with pytest.raises(openai.APIConnectionError):
        await client.embeddings.create(model=SMALL, input="a")
    server.listen()
    await client.embeddings.create(model=SMALL, input="a")
    assert server.seen == {"a": 1}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.0111, "12ms"), (1, "1s"), (1.5, "1.5s"), (60, "1m0s"), (360, "6m0s")]
)
def test_durations(seconds: float, text: str):
    assert format_duration(seconds) == text


def test_a_bucket_refills_continuously():
    now = 100.0
    bucket = Bucket(600, 20, lambda: now)
    bucket.take(20)
    assert bucket.wait_seconds(5) == 0.5
    now += 0.5
    assert bucket.level == 5
    assert bucket.reset_seconds == 1.5
    bucket.take(5)
    now += 10
    assert bucket.level == 20
    # What never fits passes when it is full, and is paid off.
    assert bucket.wait_seconds(50) == 0
    bucket.take(50)
    assert bucket.wait_seconds(5) == 3.5


def test_the_share_of_a_limit_that_was_used():
    now = 0.0
    bucket = Bucket(600, 20, lambda: now)
    assert bucket.used_share(after_seconds=0) == 0
    for _ in range(20):
        bucket.take(1)
    for _ in range(50):
        now += 0.2
        bucket.take(1)
    # Ten a second come in, five are taken; with the burst of the first moment it would look like more.
    assert bucket.used_share(after_seconds=0.1) == pytest.approx(0.5)
    assert bucket.used_share(after_seconds=0) > 0.6


def test_the_estimate_is_not_the_tokenizer():
    text = "A sentence of several words, with a remarkable one."
    assert estimate_tokens([text]) != count_tokens(text)
    assert count_tokens(" ") == 1
    # No token is less than a byte.
    assert count_tokens("!?.,") <= 4


def test_every_fault_is_either_passing_or_not():
    assert set(PASSING) | set(QUOTA) | {Fault.REFUSED} == set(Fault)


@pytest.mark.parametrize(("headers_as_of", "remaining"), [("arrival", "4"), ("answer", "5")])
async def test_headers_may_be_as_old_as_the_request(headers_as_of: Literal["arrival", "answer"], remaining: str):
    # Five at once, ten a second: full again before it is answered.
    with ApiServer(
        requests_per_minute=600, burst_seconds=0.5, latency_seconds=0.3, headers_as_of=headers_as_of
    ) as server:
        async with client_of(server) as client:
            raw = await client.embeddings.with_raw_response.create(model=SMALL, input="a", dimensions=8)
    assert raw.headers["x-ratelimit-remaining-requests"] == remaining
