"""The temporary file that something is copied into."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Self

from embedding_assets.formatting import megabytes

KEPT_FREE_BYTES: Final = 200_000_000
"""What is left free on the disk for others."""

_MOST_SUFFIX: Final = 40


def kept_suffix(name: str) -> str:
    """What a file's name ends in, as far as its format is known by that."""
    suffixes = PurePosixPath(name).suffixes[-2:]
    suffix = "".join(suffixes if suffixes and suffixes[-1].lower() == ".gz" else suffixes[-1:])
    return suffix if len(suffix) <= _MOST_SUFFIX and suffix.isascii() else ""


class TemporaryFile:
    """A new file that only its owner can read, with the context; what would fill the disk raises ``OSError``.

    Args:
        path: where; there is nothing yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def restart(self, size: int | None) -> None:
        """Forget what was written: all of it comes now, of this size if that is known."""
        self._file.seek(0)
        self._file.truncate()
        self._check_room(size or 0)

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        self._check_room(len(piece))
        self._file.write(piece)

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self._path.parent).free
        if size + KEPT_FREE_BYTES > free:
            raise OSError(
                errno.ENOSPC,
                f"needs {megabytes(size)} of disk in {self._path.parent.parent}, where {megabytes(free)} are free and "
                f"{megabytes(KEPT_FREE_BYTES)} are left to others; TMPDIR names another folder",
            )
