"""Memory that inference has freed, given back to the system."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

__all__ = ["trim"]

_KEPT_BYTES: Final = 48 * 2**20
"""Free memory that the heap may keep: about what the next batch wants again."""


class _HeapState(ctypes.Structure):
    # struct mallinfo2 of glibc: free bytes of the heap are its ninth field.
    _fields_ = [(f"field{index}", ctypes.c_size_t) for index in range(10)]


def trim() -> None:
    """Return free heap pages to the kernel once there are many.

    Batches of ever new shapes leave glibc's heap full of holes that it keeps: some 200 MB after a few thousand chunks.
    Elsewhere this does nothing.
    """
    libc = _glibc()
    if libc is not None and libc.mallinfo2().field8 > _KEPT_BYTES:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2") or not hasattr(libc, "malloc_trim"):
        return None
    libc.mallinfo2.restype = _HeapState
    return libc
