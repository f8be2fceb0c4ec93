"""The pace of requests: as many texts in each, and as many in flight, as the server answers in good time."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from embedding_assets.providers.openai.address import is_openai

if TYPE_CHECKING:
    from embedding_assets.config import OpenAIConfig

logger = logging.getLogger(__name__)

_FIRST_INPUTS: Final = 64
_FIRST_IN_FLIGHT: Final = 2
"""With which a server is met that may be a CPU; OpenAI is known to take all that is configured."""

_INPUTS_GROWTH: Final = 8
_IN_FLIGHT_GROWTH: Final = 2
"""Most by which one answer lets the pace grow."""

_GOOD_SHARE: Final = 0.25
_BAD_SHARE: Final = 0.5
"""Of the time-out: how long an answer is to take at most, and from where on requests become smaller."""


@dataclass(slots=True)
class Pace:
    """How many texts a request has, and how many requests are in flight.

    Attributes:
        inputs: most texts of a request for now.
        in_flight: most requests in flight for now.
        most_inputs: most texts a request may ever have: as configured, or what the server was seen to take.
        most_in_flight: as configured.
        timeout_seconds: longest wait for an answer.
    """

    inputs: int
    in_flight: int
    most_inputs: int
    most_in_flight: int
    timeout_seconds: float
    _changed_at: float = field(default=-math.inf, repr=False)

    @classmethod
    def first(cls, config: OpenAIConfig) -> Self:
        """The pace with which a server is met for the first time."""
        inputs, in_flight = config.max_inputs, config.concurrency
        if not is_openai(config.base_url):
            inputs, in_flight = min(inputs, _FIRST_INPUTS), min(in_flight, _FIRST_IN_FLIGHT)
        return cls(inputs, in_flight, config.max_inputs, config.concurrency, config.timeout_seconds)

    def recall(self, inputs: int, in_flight: int, most_inputs: int | None) -> None:
        """Go on with the pace of another process, as far as the settings allow."""
        self.most_inputs = min(self.most_inputs, most_inputs or self.most_inputs)
        self.inputs = min(inputs, self.most_inputs)
        self.in_flight = min(in_flight, self.most_in_flight)

    def answered(self, inputs: int, seconds: float, *, busy: int) -> None:
        """Note how long an answer took that has just arrived.

        Args:
            inputs: texts of the request.
            seconds: since it was sent.
            busy: requests in flight of this call, that one included.
        """
        if time.monotonic() - seconds < self._changed_at:
            return  # sent under another pace
        # On a server that takes them one by one, twice the requests take twice as long each, as twice the texts do.
        room = self.timeout_seconds * _GOOD_SHARE / max(seconds, 1e-6)
        if seconds > self.timeout_seconds * _BAD_SHARE:
            self._set(max(1, int(inputs * room)), self.in_flight)
            return
        more_inputs, in_flight = self.inputs, self.in_flight
        if 2 * inputs >= self.inputs:
            more_inputs = max(self.inputs, min(self.most_inputs, int(inputs * min(room, _INPUTS_GROWTH))))
            room /= more_inputs / self.inputs
        if busy >= self.in_flight and room >= _IN_FLIGHT_GROWTH:
            in_flight = min(self.most_in_flight, self.in_flight * _IN_FLIGHT_GROWTH)
        self._set(more_inputs, in_flight)

    def timed_out(self, inputs: int) -> None:
        """Note that a request of so many texts was not answered in time."""
        half = max(1, inputs // 2)
        if half < self.inputs or inputs == 1:  # the first of those that were in flight together
            self._set(half, max(1, self.in_flight // 2))
            logger.warning(
                "no answer to %d texts in time: at most %d of them in a request and %d in flight for now",
                *(inputs, self.inputs, self.in_flight),
                extra={"inputs": self.inputs, "in_flight": self.in_flight},
            )

    def refused(self, inputs: int, allowed: int | None) -> None:
        """Note that a request of ``inputs`` texts was too large for the server, which may say how many it takes."""
        most = allowed if allowed and allowed < inputs else max(1, inputs // 2)
        if most < self.most_inputs:
            logger.info("requests have at most %d texts from now on", most, extra={"inputs": most})
            self.most_inputs = most
            self._set(min(self.inputs, most), self.in_flight)

    def _set(self, inputs: int, in_flight: int) -> None:
        if (inputs, in_flight) != (self.inputs, self.in_flight):
            self.inputs, self.in_flight, self._changed_at = inputs, in_flight, time.monotonic()


class Slots:
    """Places for requests in flight, as many as the pace has at the time.

    Attributes:
        busy: how many are taken.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._size = pace.in_flight
        self._free = asyncio.Semaphore(self._size)
        self.busy = 0

    async def __aenter__(self) -> None:
        await self._free.acquire()
        self.busy += 1

    async def __aexit__(self, *exception: object) -> None:
        self.busy -= 1
        if self._size > self._pace.in_flight:
            self._size -= 1
            return
        self._free.release()
        while self._size < self._pace.in_flight:
            self._size += 1
            self._free.release()
