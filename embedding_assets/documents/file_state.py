"""What a file held at one moment, and whether that is still so."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_COARSE_NANOSECONDS: Final = 2_000_000_000
"""Within that a file may have changed twice at the same time, as far as any file system can tell."""

_SIZE: Final = 2
"""Its place in a stamp."""

_PART_BYTES: Final = 65_536
"""Most files are no longer; to make room for more takes longer than to read one."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file's bytes at one moment.

    Attributes:
        content: their SHA-256 in hex; empty of a file elsewhere that is not fetched yet.
        stamp: what the file system said of the file.
        taken_at: when, in nanoseconds.
        mark: of a file elsewhere: what is said of its version there, and is another one once its bytes are.
    """

    content: str
    stamp: tuple[int, ...] = ()
    taken_at: int = 0
    mark: str | None = None

    @property
    def size(self) -> int:
        """In bytes; 0 of a file elsewhere."""
        return self.stamp[_SIZE] if self.stamp else 0

    def is_still_that_of(self, path: Path) -> bool:
        """Whether the file is surely the same one and has not changed; False where only reading it again can tell.

        Raises:
            OSError: it is gone.
        """
        return _stamp(path.stat()) == self.stamp and max(self.stamp[-2:]) < self.taken_at - _COARSE_NANOSECONDS


def file_state(path: Path, mark: str | None = None) -> FileState:
    """Read a file for its state; ``mark`` is passed on.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 (once for each of very many files)
        taken_at = time.time_ns()
        stamp = _stamp(os.fstat(stream.fileno()))
        digest = hashlib.sha256()
        while part := stream.read(_PART_BYTES):
            digest.update(part)
        return FileState(digest.hexdigest(), stamp, taken_at, mark)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
