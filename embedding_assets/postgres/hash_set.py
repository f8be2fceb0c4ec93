"""Hashes of chunks in little memory: a file may have millions."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Protocol

import numpy as np

_DIGITS = 16
_FEW = 4_096


class Hashes(Protocol):
    """Some hashes, without repetition."""

    def __len__(self) -> int: ...

    def __contains__(self, chunk_hash: object, /) -> bool: ...


class HashSet:
    """Hashes by their first 16 digits, in 8 bytes each where they are many.

    Of ten million, two are the same by these once in a hundred thousand times; a chunk would then be kept that its
    document no longer has, until the document changes.
    """

    def __init__(self) -> None:
        self._few: set[int] = set()
        self._added = array("Q")
        self._sorted = np.empty(0, np.uint64)

    def __len__(self) -> int:
        return len(self._few) or len(self._merged())

    def __contains__(self, chunk_hash: object) -> bool:
        number = int(str(chunk_hash)[:_DIGITS], 16)
        if self._few:
            return number in self._few
        numbers = self._merged()
        place = int(np.searchsorted(numbers, np.uint64(number)))
        return place < len(numbers) and bool(numbers[place] == number)

    def update(self, hashes: Iterable[str]) -> None:
        """Add hashes, in lowercase hex."""
        numbers = (int(chunk_hash[:_DIGITS], 16) for chunk_hash in hashes)
        if self._added or len(self._sorted):
            self._added.extend(numbers)
            return
        self._few.update(numbers)
        if len(self._few) > _FEW:
            self._added.extend(self._few)
            self._few = set()

    def _merged(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        if self._added:
            self._sorted = np.union1d(self._sorted, np.frombuffer(self._added, np.uint64))
            self._added = array("Q")
        return self._sorted
