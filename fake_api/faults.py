"""How the fake API server fails: by a script, at random, or whenever a text asks for it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from enum import Enum


class Fault(Enum):
    """What happens to a request; the value is what stands in a text's marker."""

    # Nothing is computed and nothing billed.
    RATE_LIMIT = "rate-limit"  # 429 that does not say when to come back
    RATE_LIMIT_SECONDS = "rate-limit-seconds"  # Retry-After: 1
    RATE_LIMIT_MILLISECONDS = "rate-limit-milliseconds"  # retry-after-ms: 100
    QUOTA_TYPE = "quota-type"  # 429, type insufficient_quota
    QUOTA_CREDIT = "quota-credit"  # 429, code credit_balance_exhausted
    QUOTA_SPEND = "quota-spend"  # 429, code project_spend_limit_exceeded
    QUOTA_USAGE = "quota-usage"  # 429, code organization_usage_limit_exceeded
    SERVER_ERROR = "server-error"  # 500
    BAD_GATEWAY = "bad-gateway"  # 502 with a page instead of JSON
    UNAVAILABLE = "unavailable"  # 503
    OVERLOADED = "overloaded"  # 503, code server_is_overloaded
    HANG = "hang"  # never answered
    DROP_BEFORE = "drop-before"  # the connection is closed instead of an answer
    REFUSED = "refused"  # 400
    # Computed and billed, but the answer is lost or cannot be read.
    DROP_AFTER = "drop-after"
    TRUNCATED = "truncated"
    INVALID_JSON = "invalid-json"
    # Computed and billed; the answer is wrong.
    NAN = "nan"
    ZERO = "zero"
    WRONG_LENGTH = "wrong-length"
    SHORT = "short"
    LONG = "long"
    DUPLICATE_INDEX = "duplicate-index"
    # Computed and billed; the answer is unusual, but right.
    SHUFFLED = "shuffled"
    FLOATS = "floats"
    NO_USAGE = "no-usage"
    NO_HEADERS = "no-headers"

    @property
    def marker(self) -> str:
        """A text that contains this has the fault in every request it is part of."""
        return f"[[{self.value}]]"


QUOTA = (Fault.QUOTA_TYPE, Fault.QUOTA_CREDIT, Fault.QUOTA_SPEND, Fault.QUOTA_USAGE)

PASSING = tuple(fault for fault in Fault if fault not in (*QUOTA, Fault.REFUSED))
"""Faults that a client survives: the next attempt, or this one read with care, gives every vector."""

UNREADABLE = (Fault.DROP_AFTER, Fault.TRUNCATED, Fault.INVALID_JSON)
"""Billed, and the client cannot know how much."""

UNANSWERED = (Fault.HANG, Fault.DROP_BEFORE)
"""Not billed, and the client cannot know."""


class Faults:
    """Decides for each request: the script first, then a text's marker, then chance.

    Attributes:
        script: what the next requests meet; None: nothing.
        share: of the requests without either that meet one of ``kinds``, each kind as often as the others.
        spared: of those, the first so many that meet none.
    """

    def __init__(self, *, share: float = 0.0, kinds: Sequence[Fault] = PASSING, seed: int = 0, spared: int = 0) -> None:
        self.script: deque[Fault | None] = deque()
        self.share = share
        self.spared = spared
        self.kinds = tuple(kinds)
        self._chance = random.Random(seed)
        self._dealt: list[Fault] = []

    def choose(self, texts: Sequence[str]) -> tuple[Fault | None, int]:
        """The fault of a request, and which text it hits where it hits one."""
        if self.script:
            return self.script.popleft(), 0
        for position, text in enumerate(texts):
            if "[[" in text:
                for fault in Fault:
                    if fault.marker in text:
                        return fault, position
        if self.spared:
            self.spared -= 1
            return None, 0
        if self._chance.random() < self.share:
            # Dealt like cards, so that every kind has come before one comes again.
            if not self._dealt:
                self._dealt = self._chance.sample(self.kinds, len(self.kinds))
            return self._dealt.pop(), self._chance.randrange(len(texts))
        return None, 0
