"""What a run logs of its commits and failed chunks: all at DEBUG, and as much at other levels as people read."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from embedding_assets.formatting import counted

if TYPE_CHECKING:
    from embedding_assets.postgres.failures import FailedChunk

logger = logging.getLogger(__name__)

COMMITS_SECONDS: Final = 60.0
"""Between two lines on commits. A night of loading has some ten thousand commits, of which Dagster keeps each line."""

MOST_FAILED: Final = 20
"""Chunks that are named of each code of an error; the run's last line counts them all, and the table lists them."""


class RunLines:
    """The lines of one run; for one thread."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._vectors = 0
        self._failed: Counter[str] = Counter()

    def committed(self, vectors: int) -> None:
        """Note that so many vectors were written: at the first and then a minute apart with those since."""
        logger.debug("wrote %s", counted(vectors, "vector"), extra={"embedded": vectors})
        self._vectors += vectors
        now = time.monotonic()
        if not self._vectors or (self._last is not None and now - self._last < COMMITS_SECONDS):
            return
        logger.info("committed %s", counted(self._vectors, "vector"), extra={"embedded": self._vectors})
        self._last, self._vectors = now, 0

    def failed(self, chunk: FailedChunk) -> None:
        """Note a chunk that failed: the first of each code, the others at DEBUG."""
        code = chunk.error_code
        self._failed[code] += 1
        # Of empty texts there may be many, and nothing is wrong with them.
        level = logging.INFO if code == "blank_text" else logging.WARNING
        extra = {"chunk_hash": chunk.chunk_hash, "error_code": code}
        shown = self._failed[code] <= MOST_FAILED
        logger.log(level if shown else logging.DEBUG, "chunk %s failed: %s", chunk.chunk_hash, code, extra=extra)
        if self._failed[code] == MOST_FAILED:
            logger.log(
                level, "further chunks that fail so (%s) are counted, not named", code, extra={"error_code": code}
            )
