"""What came of reading a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from embedding_assets.documents.formats.rows import NO_ROWS
from embedding_assets.documents.rejection import EMPTY, NOTHING, Rejection
from embedding_assets.postgres.hash_set import HashSet

HELD_BACK: Final = 1_000
"""Rejections of a file that are not shown before it is known that it did not change meanwhile."""


@dataclass(slots=True)
class Reading:
    """What came of reading a file.

    Attributes:
        hashes: of its chunks.
        rejections: the first of them.
        rejected: how many there were.
        blank: rows without a text, which are not rejected.
        is_repeatable: whether all of them are of rows or lines, which would be rejected again; what ends the reading of
            a file may have been a disk, or a limit of time.
    """

    hashes: HashSet = field(default_factory=HashSet)
    rejections: list[Rejection] = field(default_factory=list)
    rejected: int = 0
    blank: int = 0
    is_repeatable: bool = True

    @property
    def is_of_nothing(self) -> bool:
        """Whether there is nothing in the file, which is no fault of it."""
        if self.hashes or self.rejected > 1:
            return False
        return all(rejection.reason.startswith((EMPTY, NOTHING, NO_ROWS)) for rejection in self.rejections)

    def reject(self, rejection: Rejection) -> bool:
        """Count a rejection; returns whether it is held back, since the file may have to be read again."""
        self.rejected += 1
        self.is_repeatable = self.is_repeatable and rejection.line is not None
        if len(self.rejections) >= HELD_BACK:
            return False
        self.rejections.append(rejection)
        return True
