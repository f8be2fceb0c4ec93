"""Hashes of chunks in little memory: a file may have millions."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Protocol

import numpy as np

_DIGITS = 16


class Hashes(Protocol):
    """Some hashes, without repetition."""

    def __len__(self) -> int: ...

    def __contains__(self, chunk_hash: object, /) -> bool: ...


class HashSet:
    """Hashes by their first 16 digits, in 8 bytes each.

    Of ten million, two are the same by these once in a hundred thousand times; a chunk would then be kept that its
    document no longer has, until the document changes.
    """

    def __init__(self) -> None:
        self._added = array("Q")
        self._sorted = np.empty(0, np.uint64)

    def __len__(self) -> int:
        return len(self._merged())

    def __contains__(self, chunk_hash: object) -> bool:
        numbers = self._merged()
        number = np.uint64(int(str(chunk_hash)[:_DIGITS], 16))
        place = int(np.searchsorted(numbers, number))
        return place < len(numbers) and bool(numbers[place] == number)

    def update(self, hashes: Iterable[str]) -> None:
        """Add hashes, in lowercase hex."""
        self._added.extend(int(chunk_hash[:_DIGITS], 16) for chunk_hash in hashes)

    def _merged(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        if self._added:
            self._sorted = np.union1d(self._sorted, np.frombuffer(self._added, np.uint64))
            self._added = array("Q")
        return self._sorted
