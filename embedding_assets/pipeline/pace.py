"""Progress and speed of a run, as a line now and then, where there is no terminal to draw a bar on."""

from __future__ import annotations

import time
from collections.abc import Callable

from embedding_assets.formatting import duration, rate

_EVERY_SECONDS = 10.0
_EVERY_SHARE = 1 / 60
_AT_LEAST_EVERY_SECONDS = 300.0
"""Between two lines is a sixtieth of the time that a run has taken: some hundred lines in a night."""


class Pace:
    """Called with the number of chunks just finished; writes lines, ten seconds apart and later more."""

    def __init__(self, total: int, write: Callable[[str], None]) -> None:
        self._total, self._write = total, write
        self._done = self._first = 0
        self._begun = self._started = self._last = time.monotonic()

    def __call__(self, chunks: int) -> None:
        if not chunks:
            return
        now = time.monotonic()
        if not self._first:
            # The time before the first chunks went into loading the model.
            self._first, self._started = chunks, now
        complete = self._done < self._total <= self._done + chunks
        self._done += chunks
        if now - self._last < seconds_between_lines(now - self._begun) and not complete:
            return
        self._last = now
        total = max(self._total, self._done)
        speed = (self._done - self._first) / (now - self._started) if now > self._started else 0.0
        pace = f", {rate(speed)} chunks/s, {duration((total - self._done) / speed)} left" if speed else ""
        self._write(f"{self._done:,} of {total:,} chunks{pace}")


def seconds_between_lines(elapsed: float) -> float:
    """How far apart lines on progress are after so many seconds."""
    return min(max(_EVERY_SECONDS, elapsed * _EVERY_SHARE), _AT_LEAST_EVERY_SECONDS)
