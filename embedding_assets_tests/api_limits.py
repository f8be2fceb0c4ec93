"""What the fake API server allows: sizes of a request and rates, with the headers that tell of them."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 8192
MAX_REQUEST_TOKENS = 300_000

_PIECE = re.compile(r"\w{1,6}|[^\w\s]+")


def count_tokens(text: str) -> int:
    """Tokens of a text as the server bills them: pieces of words, which no estimate by bytes foresees."""
    return max(1, len(_PIECE.findall(text)))


def estimate_tokens(texts: Sequence[str]) -> int:
    """Tokens of a request as the server limits them: a quarter of a token a UTF-8 byte."""
    return math.ceil(sum(len(text.encode()) for text in texts) / 4)


def format_duration(seconds: float) -> str:
    """``0.012`` as ``12ms``, ``1`` as ``1s``, ``360`` as ``6m0s``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return (f"{int(minutes)}m" if minutes else "") + f"{rest:.3f}".rstrip("0").rstrip(".") + "s"


class Bucket:
    """A limit a minute that refills continuously.

    Args:
        per_minute: the limit.
        burst: how much it holds; default: a minute's worth.
    """

    def __init__(
        self, per_minute: int, burst: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_minute = per_minute
        self.burst = per_minute if burst is None else burst
        self.taken = 0.0
        self._clock = clock
        self._level = float(self.burst)
        self._refilled_at = clock()
        self._first: float | None = None
        self._last = 0.0

    @property
    def level(self) -> float:
        """What may be taken now."""
        now = self._clock()
        self._level = min(self.burst, self._level + (now - self._refilled_at) * self.per_minute / 60)
        self._refilled_at = now
        return self._level

    def wait_seconds(self, amount: float) -> float:
        """Seconds until that much may be taken; what never fits passes when the bucket is full."""
        return max(0.0, (min(amount, self.burst) - self.level) * 60 / self.per_minute)

    def take(self, amount: float) -> None:
        now = self._clock()
        self._first = now if self._first is None else self._first
        self._last = now
        self._level = self.level - amount
        self.taken += amount

    @property
    def reset_seconds(self) -> float:
        """Seconds until it is full."""
        return self.wait_seconds(self.burst)

    @property
    def used_share(self) -> float:
        """What was taken, as a share of what could have been between the first and the last taking."""
        if self._first is None:
            return 0.0
        return self.taken / (self.burst + (self._last - self._first) * self.per_minute / 60)


@dataclass
class RateLimits:
    """Both limits of an account; None: no such limit, and no headers about it.

    Attributes:
        counted: whether the tokens a minute are estimated as those of a request, or counted as they are billed.
    """

    requests: Bucket | None = None
    tokens: Bucket | None = None
    counted: Literal["estimate", "tokens"] = "estimate"
    violations: int = field(default=0, init=False)

    def admit(self, texts: Sequence[str]) -> float:
        """Take what the request needs and return 0; or the seconds after which it would have fitted."""
        amount = estimate_tokens(texts) if self.counted == "estimate" else sum(map(count_tokens, texts))
        wait = self.requests.wait_seconds(1) if self.requests else 0.0
        if self.tokens:
            wait = max(wait, self.tokens.wait_seconds(amount))
        if self.requests and self.requests.level >= 1:
            # A refused request counts too.
            self.requests.take(1)
        if wait:
            self.violations += 1
        elif self.tokens:
            self.tokens.take(amount)
        return wait

    @property
    def used_share(self) -> float:
        """Share that was used of the limit that held the client back."""
        return max((bucket.used_share for bucket in (self.requests, self.tokens) if bucket), default=0.0)

    def headers(self) -> dict[str, str]:
        """``x-ratelimit-…`` as they are now."""
        headers = {}
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket:
                headers[f"x-ratelimit-limit-{name}"] = str(bucket.per_minute)
                headers[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(bucket.level)))
                headers[f"x-ratelimit-reset-{name}"] = format_duration(bucket.reset_seconds)
        return headers
