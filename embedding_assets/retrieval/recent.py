"""Values that are read again when they are some seconds old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Recent:
    """Keeps what was read, by a key. May be used by several threads.

    Args:
        seconds: how long a value is kept.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._values: dict[Hashable, tuple[float, Any]] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """The value that was kept, or else what is read now; two threads may read it at the same time."""
        with self._lock:
            kept = self._values.get(key)
        if kept is not None and time.monotonic() < kept[0]:
            value: T = kept[1]
            return value
        value = read()
        with self._lock:
            self._values[key] = (time.monotonic() + self._seconds, value)
        return value

    def peek(self, key: Hashable) -> Any:
        """The value that was kept, however old; None if there is none."""
        with self._lock:
            return self._values.get(key, (0.0, None))[1]

    def forget(self) -> None:
        """Read everything again."""
        with self._lock:
            self._values.clear()

    def renew(self) -> None:
        """In a forked process: a thread of the parent may have held the lock, and is not here."""
        self._lock = threading.Lock()
