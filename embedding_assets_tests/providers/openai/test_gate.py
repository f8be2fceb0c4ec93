"""The gate that requests to an API have to pass."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import psycopg
import pytest
import pytest_asyncio

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.errors import BudgetExceededError, ProviderUnavailableError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.endpoints import RateHeaders
from embedding_assets.providers.openai.account import ApiAccount
from embedding_assets.providers.openai.gate import ApiGate
from embedding_assets.providers.openai.outcomes import Outcome
from embedding_assets.providers.openai.provider import openai_space
from embedding_assets.providers.openai.texts import ApiText
from embedding_assets_tests.support.api_runs import usage

TEXT = ApiText("x" * 400, 400, (0,))
ANSWERED = Outcome("answered", "status 200", 200, tokens=50)


def account_of(budget: BudgetConfig | None = None, **settings: object) -> ApiAccount:
    config = OpenAIConfig(**settings)
    return ApiAccount(openai_space(config), config, budget or BudgetConfig(), Decimal("0.02"))


async def unused(reservation: int) -> None:
    raise AssertionError(f"a probe was sent as {reservation}")


@pytest_asyncio.fixture
async def gate(database: Database) -> AsyncIterator[ApiGate]:
    async with ApiGate(account_of(), database, endpoint="here", run_id="run") as gate:
        yield gate


async def test_in_and_out(gate: ApiGate, beside: psycopg.Connection):
    reservation = await gate.enter([TEXT], unused)
    assert reservation is not None
    [row] = beside.execute(
        "SELECT endpoint, run_id, inputs, tokens, usd, reserved_usd, expires_at - created_at FROM embedding_usage"
    )
    assert row[:4] == ("here", "run", 1, 100)
    assert row[4:6] == (Decimal("0.000002"), Decimal("0.000008"))
    assert row[6].total_seconds() == pytest.approx(5 + 60 + 60, abs=1)
    assert await gate.leave(reservation, ANSWERED, likely_tokens=100) == (Decimal("0.000001"), 0.0)
    assert usage(beside)["settled"].tokens == 50


@pytest.mark.parametrize(
    ("kind", "usd", "states"),
    [
        ("malformed", Decimal("0.000002"), {"settled"}),
        ("garbled", Decimal("0.000002"), {"presumed"}),
        ("lost", Decimal("0.000002"), {"presumed"}),
        ("outage", Decimal(0), set()),
        ("refused", Decimal(0), set()),
        ("too_long", Decimal(0), set()),
    ],
)
async def test_what_an_outcome_costs(
    kind: str, usd: Decimal, states: set[str], gate: ApiGate, beside: psycopg.Connection
):
    reservation = await gate.enter([TEXT], unused)
    assert reservation is not None
    outcome = Outcome(kind, "")
    assert (await gate.leave(reservation, outcome, likely_tokens=100))[0] == usd
    assert set(usage(beside)) == states


async def until_blocked(beside: psycopg.Connection) -> None:
    while beside.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("limited", [False, True])
async def test_who_gives_up_while_the_database_is_asked_reserves_nothing(
    limited: bool, database: Database, database_url: str, beside: psycopg.Connection
):
    budget = BudgetConfig(usd_per_day=Decimal("0.000001")) if limited else None
    async with ApiGate(account_of(budget), database, endpoint="here", run_id="run") as gate:
        beside.execute("INSERT INTO embedding_endpoints (name) VALUES ('here')")
        with psycopg.connect(database_url) as locking:
            locking.execute("SELECT * FROM embedding_endpoints FOR UPDATE")
            entering = asyncio.create_task(gate.enter([TEXT], unused))
            await until_blocked(beside)
            entering.cancel()
            locking.rollback()
        with pytest.raises(asyncio.CancelledError):
            await entering
    assert usage(beside) == {}


async def test_an_outcome_is_reported_even_when_cancelled(gate: ApiGate, database_url: str, beside: psycopg.Connection):
    reservation = await gate.enter([TEXT], unused)
    assert reservation is not None
    with psycopg.connect(database_url) as locking:
        locking.execute("SELECT * FROM embedding_endpoints FOR UPDATE")
        leaving = asyncio.create_task(gate.leave(reservation, ANSWERED, likely_tokens=100))
        await until_blocked(beside)
        leaving.cancel()
        locking.rollback()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert set(usage(beside)) == {"settled"}


async def test_the_first_in_line_asks_for_all_behind_it(gate: ApiGate, database_url: str, beside: psycopg.Connection):
    first = await gate.enter([TEXT], unused)
    assert first is not None
    await gate.leave(first, ANSWERED, likely_tokens=100)
    with psycopg.connect(database_url) as locking:
        locking.execute("SELECT * FROM embedding_endpoints FOR UPDATE")
        entering = [asyncio.create_task(gate.enter([TEXT], unused)) for _ in range(6)]
        await until_blocked(beside)
        locking.rollback()
    reservations = await asyncio.gather(*entering)
    assert len({*reservations}) == 6
    query = "SELECT count(*) FROM embedding_usage WHERE state = 'reserved' GROUP BY created_at ORDER BY created_at"
    assert beside.execute(query).fetchall() == [(1,), (5,)], "those that came while the first one asked"


async def test_who_leaves_the_line_while_another_asks_for_it_holds_nothing(
    gate: ApiGate, database_url: str, beside: psycopg.Connection
):
    first = await gate.enter([TEXT], unused)
    assert first is not None
    await gate.leave(first, ANSWERED, likely_tokens=100)
    with psycopg.connect(database_url) as locking, psycopg.connect(database_url) as again:
        locking.execute("SELECT * FROM embedding_endpoints FOR UPDATE")
        entering = [asyncio.create_task(gate.enter([TEXT], unused)) for _ in range(3)]
        await until_blocked(beside)
        # Between the one that asks now and the one that asks for the others.
        waiting = asyncio.create_task(asyncio.to_thread(again.execute, "SELECT * FROM embedding_endpoints FOR UPDATE"))
        while beside.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() != (2,):
            await asyncio.sleep(0.01)
        locking.rollback()
        await waiting
        await entering[0]
        await until_blocked(beside)
        entering[2].cancel()
        again.rollback()
    assert await entering[1] is not None
    with pytest.raises(asyncio.CancelledError):
        await entering[2]
    assert usage(beside)["reserved"].requests == 2


async def test_once_a_limit_in_dollars_was_met_nobody_enters(database: Database, beside: psycopg.Connection):
    budget = BudgetConfig(usd_per_run=Decimal("0.000004"))
    small = ApiText("x", 1, (0,))
    async with ApiGate(account_of(budget), database, endpoint="here", run_id="run") as gate:
        for text in (TEXT, small):
            with pytest.raises(BudgetExceededError, match="EMBEDDING_BUDGET_USD_PER_RUN"):
                await gate.enter([text], unused)
    assert usage(beside) == {}


async def test_near_a_limit_in_dollars_it_warns_once(database: Database, caplog: pytest.LogCaptureFixture):
    account = account_of(BudgetConfig(usd_per_day=Decimal("0.00001"), alert_share=0.2))
    for _ in range(2):
        async with ApiGate(account, database, endpoint="here", run_id="run") as gate:
            reservation = await gate.enter([TEXT], unused)
            assert reservation is not None
            await gate.leave(reservation, ANSWERED, likely_tokens=100)
    [warning] = caplog.records
    assert warning.message == "20% of a limit of EMBEDDING_BUDGET_… are used"


async def test_a_request_above_what_a_minute_allows_is_sent_in_parts(database: Database):
    account = account_of()
    async with ApiGate(account, database, endpoint="here", run_id="run") as gate:
        reservation = await gate.enter([TEXT], unused)
        assert reservation is not None
        answered = Outcome("answered", "", tokens=50, rates=RateHeaders(None, None, 1000, 900))
        await gate.leave(reservation, answered, likely_tokens=100)
        assert account.request_tokens == 100
        assert await gate.enter([TEXT, TEXT], unused) is None
        assert await gate.enter([ApiText("x" * 800, 800, (0,))], unused) is not None


@pytest.mark.parametrize(
    ("settings", "given", "tokens"),
    [
        ({}, (None, None), 250_000),
        ({"max_request_tokens": 1000}, (None, None), 1000),
        ({}, (3000, 1_000_000), 100_000),
        ({"tokens_per_minute": 500_000}, (3000, 1_000_000), 50_000),
        ({"tokens_per_minute": 2_000_000}, (3000, 1_000_000), 100_000),
        ({}, (3, 150_000), 50_000),
        ({"requests_per_minute": 2}, (3, 150_000), 75_000),
        ({}, (3, 10_000_000), 250_000),
        ({"requests_per_minute": 3}, (None, None), 250_000),
        ({}, (None, 5), 1),
    ],
)
def test_tokens_of_a_request(settings: dict[str, object], given: tuple[int | None, int | None], tokens: int):
    account = account_of(**settings)
    account.requests_per_minute, account.tokens_per_minute = given
    assert account.request_tokens == tokens


async def test_refusals_for_rate_that_do_not_say_when(gate: ApiGate):
    refused = Outcome("rate_limited", "status 429", 429)
    pauses = []
    for _ in range(8):
        pause = gate._pause_after(refused)
        assert pause is not None
        pauses.append(pause)
        # What is in flight together is refused together: nothing waits any longer for that.
        again = gate._pause_after(refused)
        assert again is not None
        assert 0.1 <= again <= pause
        gate._refused_until = time.monotonic()
    for number, pause in enumerate(pauses):
        most = min(20.0, 0.5 * 2**number)
        assert most / 2 <= pause <= most


@pytest.mark.parametrize(
    ("kind", "given", "pause"),
    [
        ("rate_limited", 3.0, 3.0),
        ("rate_limited", 0.0, 0.1),
        ("rate_limited", 1e9, 120.0),
        ("outage", 3.0, 3.0),
        ("outage", None, None),
        ("refused", None, None),
    ],
)
async def test_pauses(kind: str, given: float | None, pause: float | None, gate: ApiGate):
    assert gate._pause_after(Outcome(kind, "", retry_after_seconds=given)) == pause


async def test_waiting_is_reported_but_not_all_the_time(database: Database, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "embedding_assets")
    account = account_of(requests_per_minute=60)
    async with ApiGate(account, database, endpoint="here", run_id="run") as gate:
        for _ in range(8):  # five at once, then one a second
            reservation = await gate.enter([TEXT], unused)
            assert reservation is not None
            await gate.leave(reservation, ANSWERED, likely_tokens=100)
    [waiting] = caplog.records
    assert waiting.levelname == "INFO"
    assert waiting.message.endswith("s for the rate limit")


async def test_an_outage_that_others_have_waited_out_is_not_waited_out_again_but_asked_about(database: Database):
    down = Outcome("outage", "status 503", 503)
    asked = []

    async def ask(reservation: int) -> None:
        asked.append(reservation)
        await gate.leave(reservation, down, likely_tokens=10)

    async with ApiGate(account_of(retry_seconds=0), database, endpoint="here", run_id="run") as gate:
        for _ in range(5):
            reservation = await gate.enter([TEXT], unused)
            assert reservation is not None
            await gate.leave(reservation, down, likely_tokens=100)
        with pytest.raises(ProviderUnavailableError, match=r"api.openai.com has been failing for 0 s; run again"):
            await gate.enter([TEXT], ask)
        assert len(asked) == 1
        with pytest.raises(ProviderUnavailableError):
            await gate.enter([TEXT], unused)  # not so soon again


@pytest.mark.parametrize(
    ("variables", "hint"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "HTTP_PROXY names: if they should not, add localhost to NO_PROXY"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, None),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "localhost"}, None),
    ],
)
def test_an_outage_behind_a_proxy_names_it(
    variables: dict[str, str], hint: str | None, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = OpenAIConfig(base_url="http://localhost:8080/v1")
    message = str(ApiAccount(openai_space(config), config, BudgetConfig()).unavailable(5.0))
    assert ("PROXY" in message) == (hint is not None)
    assert hint is None or hint in message
