"""How large requests are and how many are in flight: as the server shows that it can answer them in time."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from embedding_assets.config import OpenAIConfig
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.openai.pace import Pace, Slots
from embedding_assets_tests.support.api_runs import usage
from embedding_assets_tests.support.calls import assert_embedded, embed, make_provider
from fake_api.server import ApiServer, Fault

TEXTS = [f"text {number}" for number in range(1500)]
ELSEWHERE = "http://localhost:8080/v1"


def first(**settings: object) -> Pace:
    return Pace.first(OpenAIConfig(**{"base_url": ELSEWHERE, **settings}))


@pytest.mark.parametrize(
    ("settings", "inputs", "in_flight"),
    [
        ({}, 64, 2),
        ({"max_inputs": 8, "concurrency": 1}, 8, 1),
        ({"base_url": "https://api.openai.com/v1"}, 2048, 16),
        ({"base_url": "https://eu.api.openai.com/v1"}, 2048, 16),
        ({"base_url": "https://api.openai.com.example/v1"}, 64, 2),
    ],
)
def test_a_server_is_met_with_small_requests_unless_it_is_openai(
    settings: dict[str, object], inputs: int, in_flight: int
):
    pace = first(**settings)
    assert (pace.inputs, pace.in_flight) == (inputs, in_flight)


def test_a_fast_server_has_all_that_is_configured_within_a_few_answers():
    pace, seen = first(), []
    while (pace.inputs, pace.in_flight) != (2048, 16):
        pace.answered(pace.inputs, 0.0, busy=pace.in_flight)
        seen.append((pace.inputs, pace.in_flight))
    assert seen == [(512, 4), (2048, 8), (2048, 16)]


@pytest.mark.parametrize(
    ("seconds", "inputs", "in_flight"),
    [
        (0.5, 512, 4),
        (3.0, 320, 2),  # all requests of five times the size take a quarter of the time-out
        (14.0, 68, 2),
        (20.0, 64, 2),
        (32.0, 30, 2),
        (59.0, 16, 2),
    ],
)
def test_a_request_stays_well_within_the_time_out(seconds: float, inputs: int, in_flight: int):
    pace = first()
    pace.answered(64, seconds, busy=2)
    assert (pace.inputs, pace.in_flight) == (inputs, in_flight)


def test_what_was_sent_before_the_pace_changed_does_not_change_it():
    pace = first()
    pace.answered(64, 0.01, busy=2)
    pace.answered(64, 5.0, busy=2)
    assert (pace.inputs, pace.in_flight) == (512, 4)


def test_a_question_says_nothing_about_a_batch():
    pace = first()
    pace.answered(1, 0.001, busy=1)
    assert (pace.inputs, pace.in_flight) == (64, 2)


def test_a_time_out_halves_both_once_for_all_that_was_in_flight():
    pace = first(base_url="https://api.openai.com/v1")
    for _ in range(16):
        pace.timed_out(2048)
    assert (pace.inputs, pace.in_flight) == (1024, 8)
    pace.timed_out(1024)
    assert (pace.inputs, pace.in_flight) == (512, 4)
    for _ in range(3):
        pace.timed_out(1)
    assert (pace.inputs, pace.in_flight) == (1, 1)


def test_what_the_server_refuses_is_never_exceeded():
    pace = first()
    pace.refused(64, 32)
    pace.answered(32, 0.0, busy=2)
    assert (pace.inputs, pace.most_inputs, pace.in_flight) == (32, 32, 4)
    pace.refused(32, None)
    assert (pace.inputs, pace.most_inputs) == (16, 16)


async def test_places_in_flight_follow_the_pace():
    pace = first()
    slots = Slots(pace)
    most = 0

    async def use() -> None:
        nonlocal most
        async with slots:
            most = max(most, slots.busy)
            await asyncio.sleep(0)

    await asyncio.gather(*(use() for _ in range(10)))
    assert most == 2
    pace.in_flight = 5
    await asyncio.gather(*(use() for _ in range(20)))
    assert most == 5
    pace.in_flight, most = 1, 0
    await asyncio.gather(*(use() for _ in range(20)))
    await asyncio.gather(*(use() for _ in range(20)))
    assert slots.busy == 0
    most = 0
    await asyncio.gather(*(use() for _ in range(20)))
    assert most == 1


@pytest.mark.parametrize("seconds_a_text", [0.004, 0.02], ids=["slow", "slower than its first request may be"])
def test_a_slow_server_is_no_outage(seconds_a_text: float, database: Database):
    """It computes one request at a time, and goes on with those whose client has gone."""
    texts = TEXTS[: 1500 if seconds_a_text < 0.01 else 300]
    with ApiServer(latency_seconds_per_input=seconds_a_text, one_at_a_time=True) as server:
        provider = make_provider(server, database, timeout_seconds=1.0, retry_seconds=10)
        result = embed(provider, texts)
    assert_embedded(result, texts)
    assert result.errors == {}


def test_after_a_time_out_halves_are_sent(
    server_that_hangs_once: ApiServer, database: Database, beside: psycopg.Connection
):
    provider = make_provider(server_that_hangs_once, database, timeout_seconds=1.0)
    assert_embedded(embed(provider, TEXTS[:40]), TEXTS[:40])
    assert [one.inputs for one in server_that_hangs_once.served] == [40, 1, 20, 20]
    assert usage(beside)["presumed"].requests == 1


@pytest.fixture
def server_that_hangs_once():
    with ApiServer() as server:
        server.faults.script.append(Fault.HANG)
        yield server
