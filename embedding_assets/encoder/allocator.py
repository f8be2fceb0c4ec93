"""Memory that inference has freed, given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

__all__ = ["trim"]


def trim() -> None:
    """Return free heap pages to the kernel.

    Batches of ever new shapes leave glibc's heap full of holes that it keeps: some 200 MB after a few thousand chunks.
    Elsewhere this does nothing.
    """
    malloc_trim = _malloc_trim()
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
