"""Admission of requests to an API: dollar limits, rate limits and the circuit breaker of its endpoint.

Each function is one transaction, and the database's clock is the only one: any number of processes hold the limits
together, and one that dies leaves a reservation that expires.
"""

from __future__ import annotations

import logging
from dataclasses import astuple, dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from embedding_assets.errors import BudgetExceededError
from embedding_assets.postgres.usage.endpoints import (
    Endpoint,
    RateHeaders,
    RateLimits,
    ask_endpoint,
    lock_endpoint,
    save_endpoint,
)
from embedding_assets.postgres.usage.ledger import (
    ApiRequest,
    Reservation,
    check_budget,
    close_reservation,
    count_open,
    lock_budget,
    reserve,
    usd_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedding_assets.config import BudgetConfig
    from embedding_assets.postgres.connection import Connection, Database

    _CountEarlier = Callable[[Endpoint], tuple[int, int]]
    """Counts requests and tokens in flight that were admitted before the one that is closed."""

logger = logging.getLogger(__name__)

# How soon to ask again where another answer may change everything.
_FIRST_ANSWER_POLL_SECONDS: Final = 0.1
_BUDGET_POLL_SECONDS: Final = 0.25
_OUTAGE_POLL_SECONDS: Final = 1.0
_RATE_POLL_SECONDS: Final = 5.0

_FIRST_ANSWER_SECONDS: Final = 5.0
"""Longest time for which the first request to an endpoint goes alone: it may hang, or its process be dead."""

_NO_HEADERS: Final = RateHeaders(None, None, None, None)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request may be sent now; its outcome must be recorded by `settle`, `release` or `presume`.

    Attributes:
        reservation: to record it with.
        budget_share: the highest share, 0 to 1, used of any dollar limit, counting likely costs, this request's too.
    """

    reservation: int
    budget_share: float


@dataclass(frozen=True, slots=True)
class Wait:
    """The request may not be sent yet.

    Attributes:
        seconds: when to ask again.
        reason: what is waited for: the rate limit, open reservations of dollars, or the end of an outage. ``probe``:
            the outage may be over, which a short text that is known to be good is to find out.
        outage_seconds: how long the endpoint has been failing; 0 if it is not.
    """

    seconds: float
    reason: Literal["rate", "budget", "outage", "probe"]
    outage_seconds: float


def admit_all(
    database: Database,
    requests: Sequence[ApiRequest],
    limits: RateLimits,
    budget: BudgetConfig,
    *,
    lifetime_seconds: float,
    probe: bool = False,
    at_once: bool = False,
    question: bool = False,
) -> list[Admitted | Wait]:
    """Reserve what requests may cost and take, in their order, until a limit or an outage forbids it for now.

    Args:
        database: where all who share the limits meet.
        requests: what is to be sent, to one endpoint and at one price; at least one.
        limits: the endpoint's, as configured.
        budget: the dollar limits.
        lifetime_seconds: when a reservation expires if no outcome is recorded; longer than a request may take.
        probe: it is the short text that finds out whether an outage is over; after one, nothing else is admitted first.
        at_once: it is sent during the break after a failure as well, since its sender waits no longer.
        question: it is the only text of its call, which does not wait until a larger one has been answered first.

    Returns:
        What became of the first of them, at least of one; only the last may have to wait.

    Raises:
        BudgetExceededError: a dollar limit leaves no room for the first, even when all open requests turn out cheap.
    """
    first = requests[0]
    limited = budget.is_limited and usd_of(first.most_tokens, first.usd_per_million) > 0

    def work(connection: Connection, send: Callable[[], None]) -> list[Admitted | Wait]:
        # Everywhere locks are taken in this order: budget, endpoint, reservation, sums.
        if limited:
            lock_budget(connection)
        locked = ask_endpoint(connection, name=first.endpoint)
        send()
        stored = locked() or lock_endpoint(connection, first.endpoint)
        endpoint = stored.configured(limits)
        probing, wait = endpoint.open_until is not None, None
        reserved: list[tuple[Callable[[], int], float]] = []
        for request in requests:
            try:
                verdict = _judge(
                    connection,
                    send,
                    endpoint,
                    request,
                    budget if limited else None,
                    probe=probe,
                    at_once=at_once,
                    question=question,
                )
            except BudgetExceededError:
                if not reserved:
                    raise
                break
            if isinstance(verdict, Wait):
                wait = verdict
                break
            endpoint = endpoint.admitted(request.tokens)
            expires = endpoint.now + lifetime_seconds
            reserved.append((reserve(connection, request, endpoint, probe=probing, expires=expires), verdict))
        if endpoint != stored:
            save_endpoint(connection, endpoint)
        send()
        return [*(Admitted(read(), share) for read, share in reserved), *([wait] if wait else [])]

    return database.run_pipelined(work)


def settle(database: Database, reservation: int, *, tokens: int, rates: RateHeaders | None) -> Decimal:
    """The request was answered and billed ``tokens``; returns the dollars."""

    def learn(count: _CountEarlier, endpoint: Endpoint, closed: Reservation) -> Endpoint:
        # Without headers too: from the first answer on, more than one request is in flight.
        if _says_something(rates) or endpoint.corrected_by is None:
            endpoint = _corrected(count, endpoint, reservation, closed, rates or _NO_HEADERS)
        if rates is None or rates.remaining_tokens is None or endpoint.tokens.is_ours:
            endpoint = endpoint.charged(tokens - closed.tokens)
        return endpoint.answered()

    outcome = _close(database, reservation, "settled", learn, tokens=tokens)
    if outcome is None:
        logger.warning("a reservation is gone from embedding_usage; %d tokens are not counted", tokens)
        return Decimal(0)
    return outcome[1].usd


def release(
    database: Database,
    reservation: int,
    *,
    rates: RateHeaders | None = None,
    retry_after_seconds: float | None = None,
    outage: bool = False,
    given_up: bool = False,
) -> float:
    """The request was refused or never sent, and nothing was billed.

    Args:
        database: where the reservation is.
        reservation: what `admit_all` gave.
        rates: what the refusal said about the limits.
        retry_after_seconds: how long the endpoint wants no request from anybody.
        outage: the server failed, or could not be reached.
        given_up: it was never sent, by our own choice, which says nothing about the endpoint.

    Returns:
        How many seconds the endpoint has been failing; 0 if it is not.
    """

    def learn(count: _CountEarlier, endpoint: Endpoint, closed: Reservation) -> Endpoint:
        if rates is not None and _says_something(rates):
            endpoint = _corrected(count, endpoint, reservation, closed, rates)
        elif retry_after_seconds is not None and not outage:
            endpoint = endpoint.emptied()
        if retry_after_seconds is not None:
            endpoint = endpoint.blocked(retry_after_seconds)
        if given_up:
            return endpoint.given_up(probe=closed.probe)
        return endpoint.failed(probe=closed.probe) if outage else endpoint.answered()

    outcome = _close(database, reservation, "released", learn)
    return 0.0 if outcome is None else outcome[0].outage_seconds


def presume(database: Database, reservation: int, *, given_up: bool = False, slow: bool = False) -> float:
    """Close a reservation of unknown outcome: it stays counted at its likely cost, and is a sign of an outage.

    Args:
        database: where the reservation is.
        reservation: what `admit_all` gave.
        given_up: we did not wait for the answer, which says nothing about the endpoint.
        slow: the answer did not come in time.

    Returns:
        How many seconds the endpoint has been failing; 0 if it is not.
    """

    def learn(_: _CountEarlier, endpoint: Endpoint, closed: Reservation) -> Endpoint:
        if given_up:
            return endpoint.given_up(probe=closed.probe)
        return endpoint.failed(probe=closed.probe, slow=slow)

    outcome = _close(database, reservation, "presumed", learn)
    return 0.0 if outcome is None else outcome[0].outage_seconds


def _close(
    database: Database,
    reservation: int,
    state: Literal["settled", "presumed", "released"],
    learn: Callable[[_CountEarlier, Endpoint, Reservation], Endpoint],
    *,
    tokens: int = 0,
) -> tuple[Endpoint, Reservation] | None:
    """Close a reservation and store what its endpoint learns from that; None if one of them is gone."""

    def work(connection: Connection, send: Callable[[], None]) -> tuple[Endpoint, Reservation] | None:
        locked = ask_endpoint(connection, reservation=reservation)
        asked = close_reservation(connection, reservation, state, tokens=tokens)
        send()
        endpoint, closed = locked(), asked()
        if endpoint is None or closed is None:
            return None
        count = partial(count_open, connection, before=reservation, send=send)
        endpoint = learn(count, endpoint, closed)
        save_endpoint(connection, endpoint)
        return endpoint, closed

    return database.run_pipelined(work)


def _judge(
    connection: Connection,
    send: Callable[[], None],
    endpoint: Endpoint,
    request: ApiRequest,
    budget: BudgetConfig | None,
    *,
    probe: bool,
    at_once: bool,
    question: bool,
) -> Wait | float:
    """The reason why ``request`` must wait, or the share of the dollar limits that is used with it."""
    if (held_up := _held_up(endpoint, probe=probe, at_once=at_once)) is not None:
        return held_up
    share = check_budget(connection, request, budget, endpoint.now, send) if budget else 0.0
    if share is None:
        return Wait(_BUDGET_POLL_SECONDS, "budget", endpoint.outage_seconds)
    if endpoint.corrected_by is None:
        # One request alone finds out what the endpoint really leaves.
        since = endpoint.now - _FIRST_ANSWER_SECONDS
        if not question and count_open(connection, endpoint, since=since, send=send) != (0, 0):
            return Wait(_FIRST_ANSWER_POLL_SECONDS, "rate", endpoint.outage_seconds)
    elif seconds := endpoint.wait_seconds(request.tokens):
        # An answer may say that more is left than was thought.
        return Wait(min(seconds, _RATE_POLL_SECONDS), "rate", endpoint.outage_seconds)
    return share


def _held_up(endpoint: Endpoint, *, probe: bool, at_once: bool) -> Wait | None:
    """The reason why nothing may be sent to an endpoint, or nothing but a probe."""
    if (seconds := endpoint.open_seconds) and not at_once:
        # A probe may succeed long before it would be given up.
        return Wait(min(seconds, _OUTAGE_POLL_SECONDS), "outage", endpoint.outage_seconds)
    if seconds := endpoint.blocked_seconds:
        return Wait(seconds, "rate", endpoint.outage_seconds)
    if endpoint.open_until is not None and not probe:
        return Wait(0.0, "probe", endpoint.outage_seconds)
    return None


def _corrected(
    count: _CountEarlier, endpoint: Endpoint, reservation: int, closed: Reservation, rates: RateHeaders
) -> Endpoint:
    if reservation <= (endpoint.corrected_by or 0):
        return endpoint  # an answer to a later request was here first
    # What was admitted later had not arrived by then, and what was admitted earlier and is still open may not have.
    earlier = count(endpoint)
    later = (endpoint.requests.admitted - closed.admitted[0], endpoint.tokens.admitted - closed.admitted[1])
    return endpoint.corrected(reservation, rates, (earlier[0] + later[0], earlier[1] + later[1]))


def _says_something(rates: RateHeaders | None) -> bool:
    return rates is not None and any(value is not None for value in astuple(rates))
