"""Progress of a run as lines in its log."""

import time
from logging import Logger

__all__ = ["ProgressLog"]

_EVERY_SECONDS = 10.0


class ProgressLog:
    """Called with the number of chunks just finished; writes a line every ten seconds, and one at the end."""

    def __init__(self, log: Logger, total: int) -> None:
        self._log = log
        self._total = total
        self._done = self._first = 0
        self._started = self._last = time.monotonic()

    def __call__(self, chunks: int) -> None:
        now = time.monotonic()
        if not self._first:
            # The time before the first chunks went into loading the model.
            self._first, self._started = chunks, now
        complete = self._done < self._total <= self._done + chunks
        self._done += chunks
        if now - self._last < _EVERY_SECONDS and not complete:
            return
        self._last = now
        total = max(self._total, self._done)
        rate = (self._done - self._first) / (now - self._started) if now > self._started else 0.0
        pace = f", {rate:.1f} chunks/s, {(total - self._done) / rate:.0f} s left" if rate else ""
        self._log.info("%d of %d chunks%s", self._done, total, pace)
