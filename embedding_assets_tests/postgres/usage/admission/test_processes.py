"""Processes side by side: what all together may spend, send and try, and what one leaves that is killed."""

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from embedding_assets.config import BudgetConfig, DatabaseConfig
from embedding_assets.errors import BudgetExceededError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.admission import Admitted, Wait, presume, release, settle
from embedding_assets.postgres.usage.endpoints import RateLimits
from embedding_assets.postgres.usage.ledger import count_spending, list_costs
from embedding_assets_tests.support.admission import (
    NO_BUDGET,
    NO_LIMITS,
    admit,
    api_request,
    assert_sums_are_those_of_the_rows,
)

PROCESSES = 4
CONTEXT = multiprocessing.get_context("spawn")


def spend(database: Database, limit: str) -> str:
    """Send three requests at a time, with all outcomes, until the limit stops it.

    To an endpoint of its own: nothing but the limit in dollars keeps it from going on while others do.
    """
    name = multiprocessing.current_process().name
    generator, budget = random.Random(name), BudgetConfig(usd_per_day=Decimal(limit))
    held: list[int] = []
    while True:
        request = api_request(endpoint=name, run_id=generator.choice("rs"))
        try:
            verdict = admit(database, request, NO_LIMITS, budget, lifetime_seconds=600)
        except BudgetExceededError:
            for reservation in held:
                settle(database, reservation, tokens=1000, rates=None)
            return "stopped"
        if isinstance(verdict, Admitted):
            held.append(verdict.reservation)
        if len(held) == 3 or isinstance(verdict, Wait):
            close_all(database, held, generator)
            time.sleep(0.002 if isinstance(verdict, Wait) else 0)


def close_all(database: Database, held: list[int], generator: random.Random) -> None:
    while held:
        outcome, reservation = generator.random(), held.pop()
        if outcome < 0.1:
            release(database, reservation)
        elif outcome < 0.2:
            presume(database, reservation)
        else:
            settle(database, reservation, tokens=generator.choice([1000, 2500, 4000]), rates=None)


def send(database: Database, limits: RateLimits, tokens: int, requests: int) -> None:
    """Send so many requests as fast as the limits allow."""
    while requests:
        verdict = admit(database, api_request(tokens=tokens), limits, NO_BUDGET, lifetime_seconds=600)
        if isinstance(verdict, Admitted):
            settle(database, verdict.reservation, tokens=tokens, rates=None)
            requests -= 1
        else:
            time.sleep(verdict.seconds)


def ask(database: Database) -> str:
    verdict = admit(database, api_request(), NO_LIMITS, NO_BUDGET, lifetime_seconds=600, probe=True)
    return verdict.reason if isinstance(verdict, Wait) else "admitted"


def serve(barrier: Barrier, pipe: Pipe) -> None:
    """Call what is sent, as soon as all processes are about to; returns what that returns."""
    while True:
        work, url, arguments = pipe.recv()
        with Database(url, DatabaseConfig()) as database:
            barrier.wait()
            try:
                pipe.send(work(database, *arguments))
            except Exception as error:  # noqa: BLE001 (the test fails by it, and the process serves the next one)
                pipe.send(error)


def hold(url: str, pipe: Pipe) -> None:
    with Database(url, DatabaseConfig()) as database:
        pipe.send(ask(database))
        time.sleep(600)


class Team:
    """Processes that do the same at the same time."""

    def __init__(self) -> None:
        self.barrier = CONTEXT.Barrier(PROCESSES + 1, timeout=120)
        self.pipes: list[Pipe] = []
        self.processes = []
        for _ in range(PROCESSES):
            ours, theirs = CONTEXT.Pipe()
            self.pipes.append(ours)
            self.processes.append(CONTEXT.Process(target=serve, args=(self.barrier, theirs), daemon=True))
            self.processes[-1].start()

    def start(self, url: str, work: Callable[..., Any], *arguments: object) -> None:
        for pipe in self.pipes:
            pipe.send((work, url, arguments))
        self.barrier.wait()

    @property
    def is_busy(self) -> bool:
        return not all(pipe.poll() for pipe in self.pipes)

    def finish(self) -> list[Any]:
        """What each returned."""
        assert all(pipe.poll(120) for pipe in self.pipes)
        return [pipe.recv() for pipe in self.pipes]


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """Started once: that takes seconds."""
    team = Team()
    yield team
    for process in team.processes:
        process.kill()
        process.join()


def test_together_they_use_a_dollar_limit_up_and_never_pass_it(database, beside, database_url, team):
    limit, most = Decimal("0.3"), Decimal(0)
    counted = "SELECT coalesce(sum(CASE state WHEN 'reserved' THEN reserved_usd ELSE usd END), 0) FROM embedding_usage"
    team.start(database_url, spend, str(limit))
    while team.is_busy:
        [possible] = beside.execute(counted).fetchone()
        most = max(most, possible)
        assert possible <= limit
        time.sleep(0.005)
    assert team.finish() == ["stopped"] * PROCESSES
    assert most > limit / 2, "no look fell into their work"
    spent = count_spending(database, "").day
    # Less is left than one request may cost: four tenths of a cent.
    assert limit - Decimal("0.004") < spent <= limit
    assert beside.execute("SELECT count(*) FROM embedding_usage WHERE state = 'reserved'").fetchone() == (0,)
    assert_sums_are_those_of_the_rows(beside)


@pytest.mark.parametrize(
    ("limits", "tokens"), [(RateLimits(360, None), 7), (RateLimits(None, 360_000), 1000)], ids=["requests", "tokens"]
)
def test_together_they_use_a_rate_limit_up_and_never_pass_it(beside, database_url, team, limits, tokens):
    """As a bucket that is empty at first and gets six requests' worth a second allows, by the database's clock."""
    beside.execute("BEGIN")
    beside.execute(
        "INSERT INTO embedding_endpoints (name, corrected_by, refilled_at, requests_available, requests_configured, "
        "tokens_available, tokens_configured) VALUES ('e', 0, now(), %s, %s, %s, %s)",
        [0 if limits.requests_per_minute else None, limits.requests_per_minute,
         0 if limits.tokens_per_minute else None, limits.tokens_per_minute],
    )  # fmt: skip
    team.start(database_url, send, limits, tokens, 10)
    query = "UPDATE embedding_endpoints SET refilled_at = clock_timestamp() RETURNING extract(epoch FROM refilled_at)"
    [[opened]] = beside.execute(query).fetchall()
    beside.execute("COMMIT")
    assert team.finish() == [None] * PROCESSES
    rows = beside.execute("SELECT extract(epoch FROM created_at)::float8 FROM embedding_usage ORDER BY id").fetchall()
    allowed = [6 * (created - float(opened)) for [created] in rows]
    assert len(allowed) == 10 * PROCESSES
    assert all(count <= most + 1e-3 for count, most in enumerate(allowed, start=1)), "more than allowed"
    # A late one catches up: what is left over does not grow.
    shares = [count / most for count, most in enumerate(allowed, start=1)]
    assert max(shares[-20:]) >= 0.95
    used = beside.execute("SELECT requests_admitted, tokens_admitted FROM embedding_endpoints").fetchone()
    assert used == (10 * PROCESSES, 10 * PROCESSES * tokens)


def test_together_they_send_one_probe(beside, database_url, team):
    beside.execute(
        "INSERT INTO embedding_endpoints (name, corrected_by, outages, failing_since, failed_at, open_until) "
        "VALUES ('e', 1, 5, now() - interval '10 seconds', now() - interval '2 seconds', now() - interval '1 second')"
    )
    team.start(database_url, ask)
    assert sorted(team.finish()) == ["admitted", "outage", "outage", "outage"]


def test_together_they_send_one_first_request(database, database_url, team):
    team.start(database_url, ask)
    assert sorted(team.finish()) == ["admitted", "rate", "rate", "rate"]


def test_what_a_killed_process_held_expires_and_counts_as_likely(database, database_url, beside):
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=hold, args=(database_url, theirs), daemon=True)
    process.start()
    assert ours.poll(120)
    assert ours.recv() == "admitted"
    process.kill()
    process.join()

    def ask_again() -> Admitted | Wait:
        budget = BudgetConfig(usd_per_day=Decimal("0.0059"))
        return admit(database, api_request(), NO_LIMITS, budget, lifetime_seconds=600)

    assert ask_again() == Wait(0.25, "budget", 0.0)
    assert count_spending(database, "r").run == Decimal("0.004")
    assert admit(database, api_request(), NO_LIMITS, NO_BUDGET, lifetime_seconds=600) == Wait(0.1, "rate", 0.0)
    beside.execute("UPDATE embedding_usage SET expires_at = now()")
    assert count_spending(database, "r").run == Decimal("0.001")
    [row] = list_costs(database, by="run")
    assert (row.requests, row.usd, row.presumed_usd) == (0, 0, Decimal("0.001"))
    assert isinstance(ask_again(), Admitted), "it is no longer in flight"
    states = "SELECT state, usd FROM embedding_usage ORDER BY id"
    assert beside.execute(states).fetchall() == [("presumed", Decimal("0.001")), ("reserved", Decimal("0.001"))]
    assert count_spending(database, "r").run == Decimal("0.005")
