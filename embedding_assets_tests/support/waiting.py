"""Waiting for what another thread, process or server does in its own time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], what: str = "a condition", *, seconds: float = 240, every_seconds: float = 0.05
) -> T:
    """Wait for a condition, and return what it gives; time is short on no machine."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(every_seconds)
    return found
