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
        self._done = 0
        self._started = self._last = time.monotonic()

    def __call__(self, chunks: int) -> None:
        if not self._done:
            self._started = time.monotonic()
        self._done += chunks
        now = time.monotonic()
        if now - self._last < _EVERY_SECONDS and self._done < self._total:
            return
        self._last = now
        rate = self._done / max(now - self._started, 1e-9)
        left = max(self._total - self._done, 0) / rate if rate else 0.0
        self._log.info(
            "%d of %d chunks, %.1f chunks/s, %.0f s left", self._done, max(self._total, self._done), rate, left
        )
