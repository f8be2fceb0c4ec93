"""What every request to an API passes through: dollar limits, rate limits and the circuit breaker of its endpoint.

Each function is one transaction, and the database's clock is the only one: any number of processes hold the limits
together, and one that dies leaves a reservation that expires.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from embedding_assets.config import BudgetConfig
    from embedding_assets.postgres.connection import Database

__all__ = ["Admitted", "ApiRequest", "RateHeaders", "RateLimits", "Wait", "admit", "presume", "release", "settle"]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request that is about to be sent.

    Attributes:
        endpoint: digest of server, key, organization, project and model: all who share one rate limit.
        space: name of the vector space it is for.
        provider: e.g. ``openai``.
        model: the API's name of the model.
        run_id: the run whose dollar limit it falls under.
        inputs: texts in it.
        tokens: what it likely takes, a quarter of a token a UTF-8 byte; what rate limits count.
        most_tokens: what it cannot exceed: one token a byte, and no more than the model reads of each input.
        usd_per_million: dollars for a million tokens. None: unknown, counted as 0.
    """

    endpoint: str
    space: str
    provider: str
    model: str
    run_id: str
    inputs: int
    tokens: int
    most_tokens: int
    usd_per_million: Decimal | None


@dataclass(frozen=True, slots=True)
class RateLimits:
    """An endpoint's limits as configured; None: not configured."""

    requests_per_minute: int | None
    tokens_per_minute: int | None


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """What one answer said about its endpoint's limits; None: not sent."""

    limit_requests: int | None
    remaining_requests: int | None
    limit_tokens: int | None
    remaining_tokens: int | None


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request may be sent now; its outcome must be told by `settle`, `release` or `presume`.

    Attributes:
        reservation: what to tell it with.
        budget_share: the highest share, 0 to 1, used of any dollar limit, counting likely costs, this request's too.
    """

    reservation: int
    budget_share: float


@dataclass(frozen=True, slots=True)
class Wait:
    """The request may not be sent yet.

    Attributes:
        seconds: when to ask again.
        reason: what is waited for: the rate limit, open reservations of dollars, or the end of an outage.
        outage_seconds: how long the endpoint has been failing; 0 if it is not.
    """

    seconds: float
    reason: Literal["rate", "budget", "outage"]
    outage_seconds: float


def admit(
    database: Database, request: ApiRequest, limits: RateLimits, budget: BudgetConfig, *, lifetime_seconds: float
) -> Admitted | Wait:
    """Reserve what ``request`` may cost and take, unless a limit or an outage forbids it for now.

    Args:
        database: where all who share the limits meet.
        request: what is to be sent.
        limits: the endpoint's, as configured.
        budget: the dollar limits.
        lifetime_seconds: when the reservation expires if nobody tells its outcome; longer than the request may take.

    Raises:
        BudgetExceededError: a dollar limit leaves no room for it, even when all open requests turn out cheap.
    """
    raise NotImplementedError


def settle(database: Database, reservation: int, *, tokens: int, rates: RateHeaders | None) -> Decimal:
    """The request was answered and billed ``tokens``; returns the dollars."""
    raise NotImplementedError


def release(
    database: Database,
    reservation: int,
    *,
    rates: RateHeaders | None = None,
    retry_after_seconds: float | None = None,
    outage: bool = False,
) -> float:
    """The request was refused or never sent, and nothing was billed.

    Args:
        database: where the reservation is.
        reservation: what `admit` gave.
        rates: what the refusal said about the limits.
        retry_after_seconds: how long the endpoint wants no request from anybody.
        outage: the server failed, or could not be reached.

    Returns:
        How many seconds the endpoint has been failing; 0 if it is not.
    """
    raise NotImplementedError


def presume(database: Database, reservation: int) -> float:
    """What became of the request is unknown: it stays counted at its likely cost, and is a sign of an outage.

    Returns:
        How many seconds the endpoint has been failing.
    """
    raise NotImplementedError
