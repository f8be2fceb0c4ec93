"""Lines in a run's log on how far loading is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_LINE_SECONDS: Final = 10.0


class ProgressLines:
    """Called with the number of chunks just stored; writes a line every ten seconds."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._chunks = 0
        self._last = time.monotonic()

    def __call__(self, chunks: int) -> None:
        self._chunks += chunks
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            self._write(f"{self._chunks:,} chunks stored so far")
