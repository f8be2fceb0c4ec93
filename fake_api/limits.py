"""What the fake API server allows: sizes of a request and rates, with the headers that name them."""

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
        self.takings: list[tuple[float, float]] = []
        self._clock = clock
        self._level = float(self.burst)
        self._refilled_at = clock()

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
        self._level = self.level - amount
        self.takings.append((self._clock(), amount))

    @property
    def reset_seconds(self) -> float:
        """Seconds until it is full."""
        return self.wait_seconds(self.burst)

    def used_share(self, *, after_seconds: float) -> float:
        """What was taken from then on until the last taking, as a share of what came in meanwhile.

        Args:
            after_seconds: since the first taking; once what it held at first is used up, this cannot stay above 1.
        """
        begin = next((time for time, _ in self.takings), 0.0) + after_seconds
        later = [(time, amount) for time, amount in self.takings if time >= begin]
        if len(later) < 2:
            return 0.0
        seconds = later[-1][0] - later[0][0]
        return sum(amount for _, amount in later[1:]) / (seconds * self.per_minute / 60)


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

    def used_share(self, *, after_seconds: float) -> float:
        """The share that was used of the limit that held the client back; see ``Bucket.used_share``."""
        buckets = [bucket for bucket in (self.requests, self.tokens) if bucket]
        return max((bucket.used_share(after_seconds=after_seconds) for bucket in buckets), default=0.0)

    def headers(self) -> dict[str, str]:
        """``x-ratelimit-…`` as they are now."""
        headers = {}
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket:
                headers[f"x-ratelimit-limit-{name}"] = str(bucket.per_minute)
                headers[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(bucket.level)))
                headers[f"x-ratelimit-reset-{name}"] = format_duration(bucket.reset_seconds)
        return headers
