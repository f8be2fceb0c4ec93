"""The private folder of a process for files that it copies, and those that killed processes have left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "embedding-assets-"

_IN_USE: Final = "in-use"
"""File in such a folder, which its process holds a lock on for as long as it lives."""


class TemporaryFolder:
    """A new folder that only its owner can read; folders of processes that are no more are removed first.

    Attributes:
        path: where it is.
    """

    def __init__(self) -> None:
        remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        name = self.path / f"{_IN_USE}.new"
        self._lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with suppress(OSError):  # as on a file system without locks: it may stay behind then
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # No other process sees it before it is locked.
            name.rename(self.path / _IN_USE)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned() -> None:
    """Remove this user's folders whose processes were killed."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with suppress(OSError):
                _remove_abandoned(folder)


def _remove_abandoned(folder: Path) -> None:
    if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
        return
    lock = os.open(folder / _IN_USE, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
