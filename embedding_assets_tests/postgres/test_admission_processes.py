"""Processes side by side: what all together may spend, send and try, and what one leaves that is killed."""

import multiprocessing
import random
import time
from collections.abc import Callable
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

import pytest

from embedding_assets.config import BudgetConfig, DatabaseConfig
from embedding_assets.errors import BudgetExceededError
from embedding_assets.postgres.admission import Admitted, RateLimits, Wait, admit, presume, release, settle
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.ledger import count_spending, list_costs
from embedding_assets_tests.postgres.test_admission import NO_BUDGET, NO_LIMITS, api_request
from embedding_assets_tests.postgres.test_ledger import assert_sums_are_those_of_the_rows

PROCESSES = 4
Start = Callable[..., tuple[BaseProcess, Pipe]]


def spend(url: str, barrier: Barrier, pipe: Pipe, limit: str) -> None:
    """Send three requests at a time, with all outcomes, to two endpoints, until the limit stops it."""
    generator, budget = random.Random(multiprocessing.current_process().name), BudgetConfig(usd_per_day=Decimal(limit))
    held: list[int] = []
    with Database(url, DatabaseConfig()) as database:
        barrier.wait()
        while True:
            request = api_request(endpoint=generator.choice("ef"), run_id=generator.choice("rs"))
            try:
                verdict = admit(database, request, NO_LIMITS, budget, lifetime_seconds=600)
            except BudgetExceededError:
                break
            if isinstance(verdict, Admitted):
                held.append(verdict.reservation)
            if len(held) == 3 or isinstance(verdict, Wait):
                close_all(database, held, generator)
                time.sleep(0.002 if isinstance(verdict, Wait) else 0)
        close_all(database, held, generator)
    pipe.send("stopped")


def close_all(database: Database, held: list[int], generator: random.Random) -> None:
    while held:
        outcome, reservation = generator.random(), held.pop()
        if outcome < 0.1:
            release(database, reservation)
        elif outcome < 0.2:
            presume(database, reservation)
        else:
            settle(database, reservation, tokens=generator.choice([1000, 2500, 4000]), rates=None)


def send(url: str, barrier: Barrier, pipe: Pipe, limits: RateLimits, tokens: int, requests: int) -> None:
    """Send so many requests as fast as the limits allow."""
    with Database(url, DatabaseConfig()) as database:
        barrier.wait()
        while requests:
            verdict = admit(database, api_request(tokens=tokens), limits, NO_BUDGET, lifetime_seconds=600)
            if isinstance(verdict, Admitted):
                settle(database, verdict.reservation, tokens=tokens, rates=None)
                requests -= 1
            else:
                time.sleep(verdict.seconds)


def ask_once(url: str, barrier: Barrier, pipe: Pipe) -> None:
    with Database(url, DatabaseConfig()) as database:
        barrier.wait()
        verdict = admit(database, api_request(), NO_LIMITS, NO_BUDGET, lifetime_seconds=600)
        pipe.send(verdict.reason if isinstance(verdict, Wait) else "admitted")


def hold(url: str, barrier: Barrier, pipe: Pipe) -> None:
    with Database(url, DatabaseConfig()) as database:
        admit(database, api_request(), NO_LIMITS, NO_BUDGET, lifetime_seconds=600)
        pipe.send("admitted")
        time.sleep(600)


@pytest.fixture
def barrier() -> Barrier:
    """Where the processes and the test wait for each other."""
    return multiprocessing.get_context("spawn").Barrier(PROCESSES + 1, timeout=120)


@pytest.fixture
def start(database_url, barrier):
    """Start a function in a process of its own."""
    context = multiprocessing.get_context("spawn")
    processes = []

    def start(work: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Pipe]:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(database_url, barrier, theirs, *arguments), daemon=True)
        process.start()
        processes.append(process)
        return process, ours

    yield start
    for process in processes:
        process.kill()
        process.join()


def wait_for(process: BaseProcess) -> None:
    process.join(120)
    assert process.exitcode == 0


def ask_at_once(start: Start, barrier: Barrier) -> list[str]:
    started = [start(ask_once) for _ in range(PROCESSES)]
    barrier.wait()
    for process, _ in started:
        wait_for(process)
    return [pipe.recv() for _, pipe in started]


def test_together_they_use_a_dollar_limit_up_and_never_pass_it(database, beside, start, barrier):
    limit = Decimal("0.3")
    started = [start(spend, str(limit)) for _ in range(PROCESSES)]
    most = Decimal(0)
    counted = "SELECT coalesce(sum(CASE state WHEN 'reserved' THEN reserved_usd ELSE usd END), 0) FROM embedding_usage"
    barrier.wait()
    while any(process.is_alive() for process, _ in started):
        [possible] = beside.execute(counted).fetchone()
        most = max(most, possible)
        assert possible <= limit
        time.sleep(0.005)
    for process, pipe in started:
        wait_for(process)
        assert pipe.recv() == "stopped"
    assert most > limit / 2, "nobody looked while they worked"
    spent = count_spending(database, "").day
    # Less is left than one request may cost: four tenths of a cent.
    assert limit - Decimal("0.004") < spent <= limit
    assert beside.execute("SELECT count(*) FROM embedding_usage WHERE state = 'reserved'").fetchone() == (0,)
    assert_sums_are_those_of_the_rows(beside)


@pytest.mark.parametrize(
    ("limits", "tokens"), [(RateLimits(1200, None), 7), (RateLimits(None, 1_200_000), 1000)], ids=["requests", "tokens"]
)
def test_together_they_use_a_rate_limit_up_and_never_pass_it(beside, start, barrier, limits, tokens):
    """As a bucket that is empty at first and gets 20 requests' worth a second allows, by the database's clock."""
    started = [start(send, limits, tokens, 20) for _ in range(PROCESSES)]
    beside.execute("BEGIN")
    beside.execute(
        "INSERT INTO embedding_endpoints (name, corrected_by, refilled_at, requests_available, requests_configured, "
        "tokens_available, tokens_configured) VALUES ('e', 0, now(), %s, %s, %s, %s)",
        [0 if limits.requests_per_minute else None, limits.requests_per_minute,
         0 if limits.tokens_per_minute else None, limits.tokens_per_minute],
    )  # fmt: skip
    barrier.wait()
    query = "UPDATE embedding_endpoints SET refilled_at = clock_timestamp() RETURNING extract(epoch FROM refilled_at)"
    [[opened]] = beside.execute(query).fetchall()
    beside.execute("COMMIT")
    for process, _ in started:
        wait_for(process)
    rows = beside.execute("SELECT extract(epoch FROM created_at)::float8 FROM embedding_usage ORDER BY id").fetchall()
    allowed = [20 * (created - float(opened)) for [created] in rows]
    assert len(allowed) == 20 * PROCESSES
    assert all(count <= most + 1e-3 for count, most in enumerate(allowed, start=1)), "more than allowed"
    # Whoever is late catches up: what is left over does not grow.
    shares = [count / most for count, most in enumerate(allowed, start=1)]
    assert max(shares[-20:]) >= 0.95
    used = beside.execute("SELECT requests_admitted, tokens_admitted FROM embedding_endpoints").fetchone()
    assert used == (20 * PROCESSES, 20 * PROCESSES * tokens)


def test_together_they_send_one_probe(beside, start, barrier):
    beside.execute(
        "INSERT INTO embedding_endpoints (name, corrected_by, outages, failing_since, failed_at, open_until) "
        "VALUES ('e', 1, 5, now() - interval '10 seconds', now() - interval '2 seconds', now() - interval '1 second')"
    )
    assert sorted(ask_at_once(start, barrier)) == ["admitted", "outage", "outage", "outage"]


def test_together_they_send_one_first_request(start, barrier):
    assert sorted(ask_at_once(start, barrier)) == ["admitted", "rate", "rate", "rate"]


def test_what_a_killed_process_held_expires_and_counts_as_likely(database, beside, start):
    process, pipe = start(hold)
    assert pipe.recv() == "admitted"
    process.kill()
    process.join()

    def ask() -> Admitted | Wait:
        budget = BudgetConfig(usd_per_day=Decimal("0.0059"))
        return admit(database, api_request(), NO_LIMITS, budget, lifetime_seconds=600)

    assert ask() == Wait(0.25, "budget", 0.0)
    assert count_spending(database, "r").run == Decimal("0.004")
    assert admit(database, api_request(), NO_LIMITS, NO_BUDGET, lifetime_seconds=600) == Wait(0.1, "rate", 0.0)
    beside.execute("UPDATE embedding_usage SET expires_at = now()")
    assert count_spending(database, "r").run == Decimal("0.001")
    [row] = list_costs(database, by="run")
    assert (row.requests, row.usd, row.presumed_usd) == (0, 0, Decimal("0.001"))
    assert isinstance(ask(), Admitted), "it is no longer in flight"
    states = "SELECT state, usd FROM embedding_usage ORDER BY id"
    assert beside.execute(states).fetchall() == [("presumed", Decimal("0.001")), ("reserved", Decimal("0.001"))]
    assert count_spending(database, "r").run == Decimal("0.005")
