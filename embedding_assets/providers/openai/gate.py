"""The gate before an API: requests wait there for limits, budget and circuit breaker."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.errors import (
    BudgetExceededError,
    DatabaseError,
    EmbeddingAssetsError,
    ProviderUnavailableError,
    RateLimitExceededError,
)
from embedding_assets.formatting import share
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.admission import Admitted, Wait, admit, presume, release, settle
from embedding_assets.postgres.usage.endpoints import RateLimits
from embedding_assets.postgres.usage.ledger import ApiRequest, usd_of
from embedding_assets.postgres.usage.sums import sum_up_usage
from embedding_assets.providers.openai.outcomes import Outcome
from embedding_assets.providers.openai.texts import ApiText
from embedding_assets.spaces import VectorSpace

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LEDGER_THREADS: Final = 2
"""Of the pool's connections; the pipeline needs others to fetch and to write."""

_SETTLING_SECONDS: Final = 60.0
"""Longest time to record an outcome, e.g. while the database is away, before the reservation expires."""

_PRESUMED: Final = ("lost", "garbled", "abandoned")
"""Outcomes of which it is unknown whether they are billed."""

_SUMMING_SECONDS: Final = 3600.0
_SUMMING_ON_SECONDS: Final = 5.0
"""Between two times of summing up old requests; the shorter one where many are left."""

_LOG_SECONDS: Final = 10.0
"""Between two lines about waiting for the same."""

_SHORTEST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 20.0
"""After a refusal for rate that does not say when to come back."""


@dataclass(slots=True)
class ApiAccount:
    """Whose requests these are, and what has been learned with them; outlives a call.

    Attributes:
        space: the space the vectors are for.
        config, budget: the limits as configured.
        usd_per_million: dollars a million tokens; None: unknown.
        requests_per_minute, tokens_per_minute: limits that the server has named.
        request_inputs: most texts of a request: as configured, or what the server was seen to take.
        floats: whether the server refuses vectors as base64, so that they are asked for as numbers.
        budget_told: whether it was warned that a dollar limit is near.
        logged_at: for each reason to wait, when a line about it was last logged, by ``time.monotonic``.
        unrecorded: what the database could not be given when it was due; lost with the process, which leaves the
            reservations to expire.
        summing_at: when old requests are summed up next, by ``time.monotonic``.
    """

    space: VectorSpace
    config: OpenAIConfig
    budget: BudgetConfig
    usd_per_million: Decimal | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    request_inputs: int = 0
    floats: bool = False
    budget_told: bool = False
    logged_at: dict[str, float] = field(default_factory=dict)
    unrecorded: list[Callable[[Database], float]] = field(default_factory=list)
    summing_at: float = -math.inf

    def __post_init__(self) -> None:
        self.request_inputs = self.config.max_inputs

    def learn_inputs(self, refused: int, allowed: int | None) -> None:
        """Note that a request of ``refused`` texts was too large for the server, which may say how many it takes."""
        most = allowed if allowed and allowed < refused else max(1, refused // 2)
        if most < self.request_inputs:
            logger.info("requests have at most %d texts from now on", most, extra={"inputs": most})
            self.request_inputs = most

    @property
    def request_tokens(self) -> int:
        """Most likely tokens of a request: what a request may have, but only a part of what a minute may have.

        With a tenth of a minute in each, several are in flight; fewer requests than ten a minute must be larger.
        """
        tokens = _lower(self.config.tokens_per_minute, self.tokens_per_minute)
        requests = _lower(self.config.requests_per_minute, self.requests_per_minute)
        if tokens is None:
            return self.config.max_request_tokens
        return max(1, min(self.config.max_request_tokens, tokens // min(10, requests or 10)))

    def unavailable(self, seconds: float, reason: str = "") -> ProviderUnavailableError:
        """The error of an outage that did not pass."""
        return ProviderUnavailableError(
            f"the embeddings API at {self.space.revision} has been failing for {seconds:.0f} s"
            f"{f' (last: {reason})' if reason else ''}; run again when it is back, raise "
            "EMBEDDING_OPENAI_RETRY_SECONDS, or set EMBEDDING_FALLBACK to embed with another provider meanwhile"
            f"{_through_proxy(self.config.base_url)}"
        )


def tokens_of(outcome: Outcome, likely_tokens: int) -> int:
    """The tokens that a request is billed for, or likely is."""
    if outcome.kind in ("answered", "malformed"):
        return outcome.tokens or likely_tokens
    return likely_tokens if outcome.kind in _PRESUMED else 0


class ApiGate:
    """Lets the requests of one call through, one after the other, and records their outcomes in the database.

    Attributes:
        failure: why an outcome could not be recorded; nothing more is let through then.
    """

    def __init__(self, account: ApiAccount, database: Database, *, endpoint: str, run_id: str) -> None:
        self._account = account
        self._database = database
        self._endpoint = endpoint
        self._run_id = run_id
        self._limits = RateLimits(account.config.requests_per_minute, account.config.tokens_per_minute)
        config = account.config
        self._lifetime_seconds = config.connect_timeout_seconds + config.timeout_seconds + _SETTLING_SECONDS
        self._ledger = ThreadPoolExecutor(_LEDGER_THREADS, "ledger")
        # The first in line asks; the others need not.
        self.failure: DatabaseError | None = None
        self._line = asyncio.Lock()
        self._news = asyncio.Event()
        self._exceeded: BudgetExceededError | None = None
        self._refusals = 0
        self._refused_until = 0.0
        self._refused_since = math.inf

    def __enter__(self) -> Self:
        if time.monotonic() >= self._account.summing_at:
            self._account.summing_at = time.monotonic() + _SUMMING_SECONDS
            self._ledger.submit(copy_context().run, self._sum_up)
        return self

    def __exit__(self, *exception: object) -> None:
        self._ledger.shutdown()

    def _sum_up(self) -> None:
        try:
            if sum_up_usage(self._database):
                self._account.summing_at = time.monotonic() + _SUMMING_ON_SECONDS
        except EmbeddingAssetsError as error:
            logger.info("old requests were not summed up: %s", error)  # the next hour will do

    async def enter(self, texts: Sequence[ApiText]) -> int | None:
        """Wait until a request with these texts may be sent.

        Returns:
            Its reservation, for ``leave``; None: it is larger than the limits allow, and must be sent in parts.

        Raises:
            BudgetExceededError: it could pass a limit in dollars, or one before it could.
            ProviderUnavailableError: the server has been failing for too long.
            RateLimitExceededError: it has refused for rate for too long, or the limits leave no room in time.
            DatabaseError: the request, or an outcome of before, cannot be recorded.
        """
        account = self._account
        request = ApiRequest(
            endpoint=self._endpoint,
            space=account.space.name,
            provider=account.space.provider,
            model=account.space.model,
            run_id=self._run_id,
            inputs=len(texts),
            tokens=sum(text.likely_tokens for text in texts),
            # Not even bounded by what the model reads: a server may read more than the settings say.
            most_tokens=sum(text.size for text in texts),
            usd_per_million=account.usd_per_million,
        )
        started = time.monotonic()
        async with self._line:
            while True:
                if self._exceeded is not None:
                    raise BudgetExceededError(*self._exceeded.args)
                await self._record_late()
                if len(texts) > 1 and request.tokens > account.request_tokens:
                    return None
                self._news.clear()
                verdict = await self._admit(request)
                if isinstance(verdict, Admitted):
                    # An answer may have named the limits meanwhile.
                    if len(texts) > 1 and request.tokens > account.request_tokens:
                        await self._run(release, verdict.reservation, given_up=True)
                        return None
                    self._log_budget(verdict.budget_share)
                    return verdict.reservation
                if verdict.reason == "outage" and verdict.outage_seconds >= account.config.retry_seconds:
                    raise account.unavailable(verdict.outage_seconds)
                self._check_patience(started, verdict)
                self._log_waiting(verdict)
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.01, verdict.seconds)):
                        await self._news.wait()

    def _check_patience(self, started: float, verdict: Wait) -> None:
        """Stop waiting for limits when that makes no sense any more."""
        config, now = self._account.config, time.monotonic()
        where = f"the embeddings API at {self._account.space.revision}"
        if now - self._refused_since >= config.retry_seconds:
            raise RateLimitExceededError(
                f"{where} has refused every request for rate for {now - self._refused_since:.0f} s; run again later, "
                "find out who else uses up the key, or raise EMBEDDING_OPENAI_RETRY_SECONDS"
            )
        longest = math.inf if config.wait_seconds is None or verdict.reason == "outage" else config.wait_seconds
        if now + verdict.seconds - started > longest:
            raise RateLimitExceededError(
                f"the limits of {where} leave no room for a request within {longest:g} s "
                "(EMBEDDING_OPENAI_WAIT_SECONDS)"
            )

    async def leave(self, reservation: int, outcome: Outcome, *, likely_tokens: int) -> tuple[Decimal, float]:
        """Record the outcome of a request; later, where the database fails, which ``failure`` then says.

        Returns:
            The dollars it cost, or likely did; and how many seconds the server has been failing, 0 if it is not.
        """
        # First: as soon as the database knows, the next request may be let through.
        if outcome.rates is not None:
            self._account.requests_per_minute = outcome.rates.limit_requests
            self._account.tokens_per_minute = outcome.rates.limit_tokens
        seconds = 0.0
        try:
            seconds = await self._record(self._record_of(reservation, outcome, likely_tokens))
        except DatabaseError as error:
            self.failure = self.failure or error
            logger.warning("the outcome of a request could not be recorded, which the next call does")
        if outcome.kind == "answered":
            self._refusals, self._refused_since = 0, math.inf
        self._news.set()
        return usd_of(tokens_of(outcome, likely_tokens), self._account.usd_per_million), seconds

    def _record_of(self, reservation: int, outcome: Outcome, likely_tokens: int) -> Callable[[Database], float]:
        """Gives the database an outcome, and returns how many seconds the server has been failing."""
        if outcome.kind in ("answered", "malformed"):
            tokens = outcome.tokens or likely_tokens

            def bill(database: Database) -> float:
                settle(database, reservation, tokens=tokens, rates=outcome.rates)
                return 0.0

            return bill
        if outcome.kind in _PRESUMED:
            return partial(presume, reservation=reservation, given_up=outcome.kind == "abandoned")
        return partial(
            release,
            reservation=reservation,
            rates=outcome.rates,
            retry_after_seconds=self._pause_after(outcome),
            outage=outcome.kind == "outage",
        )

    async def _record_late(self) -> None:
        """Record what could not be before.

        Raises:
            DatabaseError: it still cannot, or an outcome of this call could not.
        """
        if self.failure is not None:
            raise self.failure
        while self._account.unrecorded:
            await self._record(self._account.unrecorded.pop())

    async def _record(self, record: Callable[[Database], float]) -> float:
        """Keep it for later if the database fails, whether or not that is waited for."""

        def keep(recorded: asyncio.Future[float]) -> None:
            if isinstance(recorded.exception(), DatabaseError):
                self._account.unrecorded.append(record)

        recording = self._submit(record)
        recording.add_done_callback(keep)
        return await self._to_the_end(recording)

    def _pause_after(self, outcome: Outcome) -> float | None:
        """Seconds for which nothing is to be sent; doubling, with jitter, where a refusal for rate does not say."""
        pause = outcome.retry_after_seconds
        if outcome.kind == "rate_limited":
            now = time.monotonic()
            self._refused_since = min(self._refused_since, now)
            if pause is None and now >= self._refused_until:
                # What is in flight together is refused together, and is one refusal.
                doubling = min(_LONGEST_PAUSE_SECONDS, 0.5 * 2.0**self._refusals)
                self._refusals += 1
                self._refused_until = now + doubling * random.uniform(0.5, 1.0)  # noqa: S311
            pause = max(_SHORTEST_PAUSE_SECONDS, self._refused_until - now if pause is None else pause)
            self._log_sometimes(logging.WARNING, "refused for rate, nothing is sent for %.1f s", pause, "refused")
        # No server is believed further ahead than an outage is waited out: a fallback would be late.
        return None if pause is None else min(pause, self._account.config.retry_seconds)

    async def _admit(self, request: ApiRequest) -> Admitted | Wait:
        asked = self._submit(
            admit, request, self._limits, self._account.budget, lifetime_seconds=self._lifetime_seconds
        )
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            # The database is being asked all the same, and would keep a reservation that is not used.
            with suppress(EmbeddingAssetsError):
                verdict = await asked
                if isinstance(verdict, Admitted):
                    await self._run(release, verdict.reservation, given_up=True)
            raise
        except BudgetExceededError as exceeded:
            self._exceeded = exceeded
            raise

    async def _run(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Run to the end, even when cancelled: money is concerned."""
        return await self._to_the_end(self._submit(function, *arguments, **options))

    async def _to_the_end(self, running: asyncio.Future[T]) -> T:
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def _submit(self, function: Callable[..., T], *arguments: Any, **options: Any) -> asyncio.Future[T]:
        # In a copy of the context, so that what is logged carries the run's id.
        work = partial(copy_context().run, function, self._database, *arguments, **options)
        return asyncio.get_running_loop().run_in_executor(self._ledger, work)

    def _log_budget(self, used: float) -> None:
        if self._account.budget.warns_at(used) and not self._account.budget_told:
            self._account.budget_told = True
            logger.warning(
                "%s of a limit of EMBEDDING_BUDGET_… are used", share(used), extra={"budget_share": round(used, 4)}
            )

    def _log_waiting(self, verdict: Wait) -> None:
        # To be held back by the rate limits is the normal case.
        level = logging.INFO if verdict.reason == "rate" else logging.WARNING
        what = {"rate": "rate limit", "budget": "budget that other requests hold", "outage": "end of an outage"}
        self._log_sometimes(level, f"waiting %.1f s for the {what[verdict.reason]}", verdict.seconds, verdict.reason)

    def _log_sometimes(self, level: int, message: str, seconds: float, reason: str) -> None:
        now = time.monotonic()
        if now - self._account.logged_at.get(reason, -math.inf) >= _LOG_SECONDS:
            self._account.logged_at[reason] = now
            logger.log(level, message, seconds, extra={"reason": reason, "seconds": round(seconds, 3)})


def _lower(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _through_proxy(url: str) -> str:
    """A hint where requests do not go to the server itself, which is easily forgotten for one on this machine."""
    parts = urlsplit(url)
    if parts.scheme not in getproxies() or proxy_bypass(parts.hostname or ""):
        return ""
    return (
        f"; requests go through the proxy that {parts.scheme.upper()}_PROXY names: if they should not, add "
        f"{parts.hostname} to NO_PROXY"
    )
