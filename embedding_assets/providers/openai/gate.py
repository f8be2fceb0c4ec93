"""The gate before an API: requests wait there for limits, budget and circuit breaker."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Final, Self, TypeVar

from embedding_assets.errors import (
    BudgetExceededError,
    DatabaseError,
    EmbeddingAssetsError,
    RateLimitExceededError,
)
from embedding_assets.formatting import share
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.admission import Admitted, Wait, admit_all, presume, release, settle
from embedding_assets.postgres.usage.endpoints import RateLimits
from embedding_assets.postgres.usage.ledger import ApiRequest, usd_of
from embedding_assets.providers.openai.account import ApiAccount
from embedding_assets.providers.openai.outcomes import Outcome
from embedding_assets.providers.openai.recording import Recorder
from embedding_assets.providers.openai.texts import ApiText

logger = logging.getLogger(__name__)

T = TypeVar("T")

Probe = Callable[[int], Awaitable[None]]
"""Sends the probe of a reservation, and records its outcome by ``ApiGate.leave``."""

PROBE: Final = ApiText("The quick brown fox jumps over the lazy dog.", 44, ())
"""A text that is known to be good."""

_SETTLING_SECONDS: Final = 60.0
"""Longest time to record an outcome, e.g. while the database is away, before the reservation expires."""

_PRESUMED: Final = ("lost", "timed_out", "garbled", "abandoned")
"""Outcomes of which it is unknown whether they are billed."""

_LOG_SECONDS: Final = 10.0
"""Between two lines about waiting for the same."""

_ASK_SECONDS: Final = 1.0
"""Between two looks whether a server is back that has been given up."""

_UNCOUNTED_PAUSE_SECONDS: Final = 1.0
"""After a failure, where no database knows when the next request may be sent."""

_SHORTEST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 20.0
"""After a refusal for rate that does not say when to come back."""


@dataclass(eq=False, slots=True)
class _Place:
    """A place in the line: what is asked for, and its reservation once another that was before it has got one."""

    request: ApiRequest
    admitted: Admitted | None = None


def tokens_of(outcome: Outcome, likely_tokens: int) -> int:
    """The tokens that a request is billed for, or likely is."""
    if outcome.kind in ("answered", "malformed"):
        return outcome.tokens or likely_tokens
    return likely_tokens if outcome.kind in _PRESUMED else 0


class ApiGate:
    """Lets the requests of one call through, one after the other, and records their outcomes in the database."""

    def __init__(
        self,
        account: ApiAccount,
        database: Database,
        *,
        endpoint: str,
        run_id: str,
        question: bool = False,
        counted: bool = True,
    ) -> None:
        self._account = account
        self._counted = counted
        self._question = question
        self._database = database
        self._endpoint = endpoint
        self._run_id = run_id
        self._limits = RateLimits(account.config.requests_per_minute, account.config.tokens_per_minute)
        config = account.config
        self._lifetime_seconds = config.connect_timeout_seconds + config.timeout_seconds + _SETTLING_SECONDS
        self._recorder = Recorder(account, database, counted=counted)
        # The first in line asks, for those behind it too.
        self._line = asyncio.Lock()
        self._places: dict[_Place, None] = {}
        self._news = asyncio.Event()
        self._exceeded: BudgetExceededError | None = None
        self._affordable_tokens: int | None = None
        self._refusals = 0
        self._refused_until = 0.0
        self._refused_since = math.inf
        self._paused_until = 0.0  # where the database cannot keep that for all

    async def __aenter__(self) -> Self:
        self._recorder.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._recorder.close()

    @property
    def failure(self) -> DatabaseError | None:
        """Why an outcome could not be recorded; nothing more is let through then."""
        return self._recorder.failure

    @property
    def request_tokens(self) -> int:
        """Most likely tokens of a request, by settings and limits, and by the dollars that are left."""
        tokens = self._account.request_tokens
        return tokens if self._affordable_tokens is None else max(1, min(tokens, self._affordable_tokens))

    async def enter(self, texts: Sequence[ApiText], probe: Probe) -> int | None:
        """Wait until a request with these texts may be sent.

        After an outage a probe goes first, and its answer is waited for.

        Args:
            texts: of the request.
            probe: sends `PROBE`.

        Returns:
            Its reservation, for ``leave``; None: it is larger than the limits allow, and must be sent in parts.

        Raises:
            BudgetExceededError: it could pass a limit in dollars, or one before it could.
            ProviderUnavailableError: the server has been failing for too long.
            RateLimitExceededError: it has refused for rate for too long, or the limits leave no room in time.
            DatabaseError: the request, or an outcome of before, cannot be recorded.
        """
        place = _Place(self._describe(texts))
        self._places[place] = None
        try:
            async with self._line:
                admitted = await self._wait_for(place, texts, probe)
        except asyncio.CancelledError:
            if place.admitted is not None:
                await self._recorder.give_back(place.admitted.reservation)
            raise
        finally:
            del self._places[place]
        if admitted is None:
            return None
        # An answer may have named the limits meanwhile.
        if len(texts) > 1 and place.request.tokens > self.request_tokens:
            await self._recorder.give_back(admitted.reservation)
            return None
        self._log_budget(admitted.budget_share)
        return admitted.reservation

    async def _wait_for(self, place: _Place, texts: Sequence[ApiText], probe: Probe) -> Admitted | None:
        request, started = place.request, time.monotonic()
        while place.admitted is None:
            if self._exceeded is not None:
                raise BudgetExceededError(*self._exceeded.args)
            await self._recorder.record_late()
            if len(texts) > 1 and request.tokens > self.request_tokens:
                return None
            self._news.clear()
            try:
                verdict = await self._admit(request, self._behind(place))
            except BudgetExceededError as exceeded:
                if self._may_afford_part_of(texts, exceeded):
                    continue
                self._exceeded = exceeded
                raise
            if isinstance(verdict, Wait) and verdict.reason == "probe":
                verdict = await self._admit(self._describe([PROBE]), probe=True)
                if isinstance(verdict, Admitted):
                    await probe(verdict.reservation)
                    continue
            if isinstance(verdict, Admitted):
                return verdict
            if verdict.reason == "outage" and self._is_given_up(verdict):
                if not self._may_ask_once_more():
                    raise self._account.unavailable(self._failing_seconds(verdict.outage_seconds))
                last = await self._admit(self._describe([PROBE]), probe=True, at_once=True)
                if isinstance(last, Admitted):
                    await probe(last.reservation)
                    continue
            self._check_patience(started, verdict)
            self._log_waiting(verdict)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, verdict.seconds)):
                    await self._news.wait()
        return place.admitted

    def _behind(self, place: _Place) -> list[_Place]:
        """The others in the line who have no reservation yet, and do not ask for too much."""
        most = self.request_tokens
        return [
            other
            for other in self._places
            if other is not place and not other.admitted and (other.request.inputs == 1 or other.request.tokens <= most)
        ]

    def _describe(self, texts: Sequence[ApiText]) -> ApiRequest:
        account = self._account
        return ApiRequest(
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

    def _may_afford_part_of(self, texts: Sequence[ApiText], exceeded: BudgetExceededError) -> bool:
        """True if fewer of these texts fit into what is left; from now on requests are no larger."""
        price = self._account.usd_per_million
        if len(texts) == 1 or not price:
            return False
        tokens = int(exceeded.left_usd * 1_000_000 / price) // 4  # a byte may be a token, and likely is a quarter
        if tokens < min(text.likely_tokens for text in texts):
            return False
        self._affordable_tokens = tokens
        return True

    def _is_given_up(self, verdict: Wait) -> bool:
        return self._failing_seconds(verdict.outage_seconds) >= self._account.config.retry_seconds

    def _may_ask_once_more(self) -> bool:
        """Whether the server is asked before it is given up, which it is not more often than every second."""
        now = time.monotonic()
        if now - self._account.asked_at < _ASK_SECONDS:
            return False
        self._account.asked_at = now
        return True

    def _failing_seconds(self, by_database: float) -> float:
        """How long the server has been failing, of which only what this process has seen tries its patience."""
        now = time.monotonic()
        self._account.failing_since = min(self._account.failing_since, now)
        return min(by_database, now - self._account.failing_since)

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

    async def withdraw(self, reservation: int) -> None:
        """Give a reservation back, whose request is not sent after all."""
        await self._recorder.run(release, reservation, given_up=True)
        self._news.set()

    async def leave(self, reservation: int, outcome: Outcome, *, likely_tokens: int) -> tuple[Decimal, float]:
        """Record the outcome of a request; later, where the database fails, which ``failure`` then says.

        Returns:
            The dollars it cost, or likely did; and for how many seconds this process has seen the server fail, 0 if it
            is not failing.
        """
        # First: as soon as the database knows, the next request may be let through.
        if outcome.rates is not None:
            self._account.requests_per_minute = outcome.rates.limit_requests
            self._account.tokens_per_minute = outcome.rates.limit_tokens
        seconds = await self._recorder.record(self._record_of(reservation, outcome, likely_tokens)) or 0.0
        if outcome.kind in ("outage", *_PRESUMED) and outcome.kind != "abandoned":
            seconds = self._failing_seconds(seconds if self._counted else math.inf)
            self._paused_until = max(self._paused_until, time.monotonic() + _UNCOUNTED_PAUSE_SECONDS)
        elif outcome.kind != "abandoned":
            self._account.failing_since = math.inf
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
            given_up, slow = outcome.kind == "abandoned", outcome.kind == "timed_out"
            return partial(presume, reservation=reservation, given_up=given_up, slow=slow)
        return partial(
            release,
            reservation=reservation,
            rates=outcome.rates,
            retry_after_seconds=self._pause_after(outcome),
            outage=outcome.kind == "outage",
        )

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
        pause = None if pause is None else min(pause, self._account.config.retry_seconds)
        self._paused_until = max(self._paused_until, time.monotonic() + (pause or 0.0))
        return pause

    async def _admit(
        self, request: ApiRequest, behind: Sequence[_Place] = (), *, probe: bool = False, at_once: bool = False
    ) -> Admitted | Wait:
        """Ask for a request and for those behind it, who get their reservations by the way."""
        if not self._counted:
            pause = self._paused_until - time.monotonic()
            return Admitted(0, 0.0) if pause <= 0 else Wait(pause, "rate", 0.0)
        asked = self._recorder.submit(
            admit_all,
            [request, *(place.request for place in behind)],
            self._limits,
            self._account.budget,
            lifetime_seconds=self._lifetime_seconds,
            probe=probe,
            at_once=at_once,
            question=self._question,
        )
        try:
            first, *others = await asyncio.shield(asked)
            await self._hand_out(behind, others)
        except asyncio.CancelledError:
            # The database is being asked all the same, and would keep a reservation that is not used.
            with suppress(EmbeddingAssetsError):
                first, *others = await asked
                await self._hand_out(behind, others)
                if isinstance(first, Admitted):
                    await self._recorder.give_back(first.reservation)
            raise
        return first

    async def _hand_out(self, places: Sequence[_Place], verdicts: Sequence[Admitted | Wait]) -> None:
        for place, verdict in zip(places, verdicts, strict=False):
            if isinstance(verdict, Admitted):
                place.admitted = verdict
                if place not in self._places:  # cancelled meanwhile
                    await self._recorder.give_back(verdict.reservation)

    def _log_budget(self, used: float) -> None:
        if self._account.budget.warns_at(used) and not self._account.budget_told:
            self._account.budget_told = True
            logger.warning(
                "%s of a limit of EMBEDDING_BUDGET_… are used", share(used), extra={"budget_share": round(used, 4)}
            )

    def _log_waiting(self, verdict: Wait) -> None:
        # To be held back by the rate limits is the normal case.
        level = logging.INFO if verdict.reason == "rate" else logging.WARNING
        what = {"rate": "rate limit", "budget": "budget that other requests hold"}.get(
            verdict.reason, "end of an outage"
        )
        self._log_sometimes(level, f"waiting %.1f s for the {what}", verdict.seconds, verdict.reason)

    def _log_sometimes(self, level: int, message: str, seconds: float, reason: str) -> None:
        now = time.monotonic()
        if now - self._account.logged_at.get(reason, -math.inf) >= _LOG_SECONDS:
            self._account.logged_at[reason] = now
            logger.log(level, message, seconds, extra={"reason": reason, "seconds": round(seconds, 3)})
