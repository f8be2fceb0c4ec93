"""The account with an API: whose requests they are, and what has been learned with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.errors import ProviderError, ProviderUnavailableError, QuotaExceededError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.learned import Learned
from embedding_assets.providers.openai.outcomes import Outcome
from embedding_assets.providers.openai.pace import Pace
from embedding_assets.spaces import VectorSpace


@dataclass(slots=True)
class ApiAccount:
    """Whose requests these are, and what has been learned with them; outlives a call.

    Attributes:
        space: the space the vectors are for.
        config, budget: the limits as configured.
        usd_per_million: dollars a million tokens; None: unknown.
        requests_per_minute, tokens_per_minute: limits that the server has named.
        pace: how large requests are, and how many are in flight.
        floats: whether the server refuses vectors as base64, so that they are asked for as numbers.
        failing_since: when this process first saw the server fail that has answered nothing since; infinite: it works.
        asked_at: when the server was last asked, by ``time.monotonic``, before it would have been given up.
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
    pace: Pace = field(init=False)
    floats: bool = False
    failing_since: float = math.inf
    asked_at: float = -math.inf
    budget_told: bool = False
    logged_at: dict[str, float] = field(default_factory=dict)
    unrecorded: list[Callable[[Database], float]] = field(default_factory=list)
    summing_at: float = -math.inf
    _recalled: tuple[int, int, int, bool] = field(init=False, repr=False)
    _kept: tuple[int, int, int, bool] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.recall(None)

    def recall(self, learned: Learned | None) -> None:
        """Start with what was learned of the server before; None: with nothing."""
        self.pace = Pace.first(self.config)
        self.floats = learned.floats if learned else False
        if learned:
            self.pace.recall(learned.inputs, learned.in_flight, learned.most_inputs)
        self._recalled = self._kept = self._state

    def newly_learned(self) -> Learned | None:
        """What was learned since ``recall``; None: nothing that has not been kept.

        Limits are part of it only if the server was seen to have them since: what is merely passed on from one process
        to the next would never be forgotten.
        """
        if self._state == self._kept:
            return None
        pace, (_, _, most_inputs, floats) = self.pace, self._recalled
        limit = pace.most_inputs if pace.most_inputs < most_inputs else None
        return Learned(pace.inputs, pace.in_flight, limit, floats=self.floats and not floats)

    def note_kept(self) -> None:
        """Note that what is newly learned was kept."""
        self._kept = self._state

    @property
    def _state(self) -> tuple[int, int, int, bool]:
        return self.pace.inputs, self.pace.in_flight, self.pace.most_inputs, self.floats

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

    def denied(self, outcome: Outcome) -> ProviderError:
        """The error of a key, an account or an address that the server does not accept."""
        server = f"the embeddings API at {self.space.revision}"
        if outcome.kind == "quota":
            return QuotaExceededError(
                f"{server} bills no more to this account ({outcome.reason}); add credit or raise its own limit there, "
                "then run again"
            )
        return ProviderError(f"{server} denies requests ({outcome.reason}); {outcome.advice}")

    def misconfigured(self, outcome: Outcome) -> ProviderError:
        """The error when not even the probe works: something about every request is wrong."""
        server, model = f"the embeddings API at {self.space.revision}", self.config.model
        if outcome.dimensions is not None:
            return ProviderError(
                f"{server} answers with vectors of {outcome.dimensions}, but EMBEDDING_OPENAI_DIMENSIONS is "
                f"{self.config.dimensions}; set it to what model {model} makes, or EMBEDDING_OPENAI_SEND_DIMENSIONS"
            )
        what = "answers uselessly to" if outcome.kind in ("malformed", "garbled") else "refuses"
        return ProviderError(
            f"{server} {what} even a plain short text ({outcome.reason}); check EMBEDDING_OPENAI_MODEL, "
            "EMBEDDING_OPENAI_DIMENSIONS, EMBEDDING_OPENAI_SEND_DIMENSIONS and EMBEDDING_OPENAI_BASE_URL"
        )


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
